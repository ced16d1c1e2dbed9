"""A set that is drawn in the background: what is on a node's wires, written down as a plan."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...adapters.host import hooks
from ...adapters.host.motion_module import motion_patcher, refuse_longer
from ...common import interrupt
from ...common.errors import UserError
from ...training.drawing import handover
from ...training.drawing.sampling import conditioning_of
from ...training.sets.encoders import Encoder, HostEncoder
from ...training.sets.plan import Plan, Words, write_plan
from ...training.sets.store import SET_FILE
from ..shared import baking, merged, places
from .cached import CachedSet, encoder_of

_MARKS = re.compile(r"[()\\]|embedding:")  # of what means something else to sampling


def planned_set(
    model: Any, clip: Any, vae: Any, prompts: list[str], negative: str, **how: Any
) -> CachedSet:
    """The set that a job draws first; one that is drawn already is found, by what is drawn.

    how: the plan's numbers, of a Generate node. Raises NotData where it takes this ComfyUI itself,
    and UserError for what drawing or encoding would refuse.
    """
    handover.check_model(model)
    handover.check_vae(vae)
    handover.check_sampler(how["sampler_name"], how["scheduler"])
    sampling, tables = handover.sampling_data(model)
    module: Any = motion_patcher(model)
    if module is not None:
        refuse_longer(module, how["frames"])
    encoder = encoder_of(vae, clip)
    plan = Plan(
        prompts=tuple(prompts),
        negative=negative,
        model="",  # the largest files: written when all else is found right
        base=hooks.layout_of(model)[1],
        sampling=sampling,
        motion_module="",
        motion_hash="" if module is None else module.model.file_hash,
        vae="",
        vae_dtype=str(vae.vae_dtype).removeprefix("torch."),
        encoder=encoder.id,
        sections=(),
        host=handover.this_host(),
        **how,
    )
    _ = plan.options  # refuses sizes
    words = _words_of(plan, clip, encoder, tables)
    count = getattr(encoder, "sections", lambda _text: 1)
    motion = None if module is None else merged.motion_file(module.model.parts)
    files = [baking.bake(model), baking.bake_vae(vae)]
    named = {name: str(file or "") for name, file in zip(("model", "vae"), files, strict=True)}
    named["motion_module"] = str(motion.path) if motion else ""
    plan = replace(plan, sections=tuple(map(count, plan.texts)), **named)
    made = motion.made if motion else ()
    return _kept(plan, words, tuple(file for file in (*files, *made) if file))


def _words_of(plan: Plan, clip: Any, encoder: Encoder, tables: tuple[Any, Any]) -> Words:
    read: list[Any] = []
    captions: list[Any] = []
    for text in plan.texts:
        interrupt.check()
        read.append(handover.words_data(conditioning_of(clip, text)))
        if isinstance(encoder, HostEncoder) and not _MARKS.search(text):
            captions.append(read[-1][0][0].float().clone())  # CLIP would say the same again
            continue
        try:
            captions.append(encoder.encode_prompt(text))
        except UserError as error:
            subject = f"prompts, the one with number {plan.prompts.index(text) + 1}"
            raise UserError(subject, error.found, error.expected, error.next_move) from error
    read.append(handover.words_data(conditioning_of(clip, plan.negative)))
    conditioning, pooled = zip(*read, strict=True)
    return Words(conditioning, pooled, tuple(captions), *tables)


def _kept(plan: Plan, words: Words, files: tuple[Path, ...]) -> CachedSet:
    """Write the plan where its set belongs, unless that is there."""
    key = plan.key(words)
    folder, pictures = places.sets() / key, places.pictures() / key
    plan = replace(plan, pictures=str(pictures))
    cached = CachedSet(
        folder, plan.kind, len(plan.prompts), plan.frames, plan.file(0), plan.options, pictures,
        files=files,
    )  # fmt: skip  # where, what, whence
    if (folder / SET_FILE).is_file():
        return cached
    write_plan(folder, plan, words)
    left = len(plan.prompts) - plan.drawn()
    what = f"{left} {plan.noun if left == 1 else plan.nouns}"
    return replace(cached, notes=(f"The job draws {what} first, in the background.",))
