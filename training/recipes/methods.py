"""Motion from reference clips: Customize-A-Video, VMC and NewMove as recipes.

Each is data for the same trainer. What the papers' texts leave open is named where it is chosen.
Only the standard library.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

from ...common.errors import UserError
from .recipe import Loss, Noise, Recipe, Source, Stage, override
from .sites import SITES, SiteName

# None of the three shares noise between frames: that is Still-Moving's.
_NOISE = Noise(0.0)
Absorber = Literal["lora", "words", "both", "file", "none"]
# What a first stage trains to absorb the appearance; it has none for the other two absorbers.
_ABSORBED: dict[Absorber, SiteName] = {
    "lora": "spatial.qkv",
    "words": "words",
    "both": "spatial.qkv+words",
}


def customize_a_video(
    *,
    appearance: str = "",
    caption: str = "",
    absorber: Absorber = "lora",
    words: tuple[str, ...] = (),
    steps: int = 500,
    rank: int = 4,
    lr: float = 1e-4,
    appearance_steps: int = 0,
    appearance_rank: int = 1,
    appearance_lr: float = 1e-4,
    words_lr: float = 5e-3,
    crop: float = 0.5,
    frames: int = 16,
    **overrides: Any,
) -> Recipe:
    """Customize-A-Video (arXiv:2402.14780): the motion of one clip, as a motion LoRA.

    First absorbers take up the clip's appearance from its single frames, with time bypassed and
    ``appearance``, the part of the caption that names no motion; then temporal LoRA learns from
    the whole clip and ``caption``, over the absorbers. Only the temporal LoRA is the result. Empty
    prompts take the captions of the sets "appearance" and "clip".

    absorber: "lora" (q, k, v of spatial attention), "words" (textual inversion of ``words``, 2 to
    6 that describe the clip and stand in both captions), "both" (the paper's best), "file" (a
    LoRA for images that the job names "appearance"), "none" (the ablation; or the job's
    checkpoint is customized already).
    appearance_steps: 0 chooses 150 for LoRA alone, 300 with words. Ranks are the paper's (4 and 1);
    rates, steps and the range of crops are lost from its text and chosen here.
    """
    frame = Source("appearance", "frame", prompt=appearance, crop=crop, single=True)
    absorbing = _absorbing_stages(
        absorber, frame, words, appearance_steps, appearance_rank, appearance_lr, words_lr
    )
    clip = Source("clip", "clip", {"motion": 1.0}, prompt=caption, single=True, says="motion")
    use = () if absorber == "none" else ("appearance",)
    motion = Stage(
        "motion", "temporal.qkv", (clip,), steps=steps, rank=rank, lr=lr, use=use, noise=_NOISE
    )
    recipe = Recipe("customize-a-video", (*absorbing, motion), frames=frames)
    return override(recipe, overrides)


def _absorbing_stages(
    absorber: Absorber,
    frame: Source,
    words: tuple[str, ...],
    steps: int,
    rank: int,
    lr: float,
    words_lr: float,
) -> tuple[Stage, ...]:
    """The stage that takes up the appearance, or none; steps: 0 chooses."""
    site = _ABSORBED.get(absorber)
    if site is None:
        return ()
    with_words = SITES[site].words
    if with_words and not words:
        raise UserError("words", "none", "2 to 6 that describe the clip", "Name some, or use lora.")
    stage = Stage(
        name="appearance",
        train=site,
        sources=(frame,),
        steps=steps or (300 if with_words else 150),
        rank=rank,
        lr=lr,
        noise=_NOISE,
        words=words if with_words else (),
        words_lr=words_lr,
    )
    return (stage,)


def vmc(
    *,
    prompt: str = "",
    sites: Literal["temporal.qkv.full", "temporal.qkv", "spatial.qkv"] = "temporal.qkv.full",
    loss: Loss = "residual_cosine",
    backward: bool = False,
    frames: int = 16,
    **overrides: Any,
) -> Recipe:
    """VMC (arXiv:2312.00845): the motion of one clip, by what changes from frame to frame.

    prompt: appearance-invariant, "a cat is roaring" for "a ginger cat is roaring on a sofa": who
    or what moves how, without look and place (section 3.2); empty takes the caption of the set
    "clip". loss: the paper's (eq. 17), "residual_official" (its code), "residual_l2" (eq. 16), or
    "epsilon_mse". sites: "temporal.qkv" is LoRA, for small cards (rate 1e-4 there, too).
    backward: learn the clip from last to first.
    Steps, rate and AdamW are those of the published code. Start generation from the latents to
    which the trained network inverts the clip, as that code does: the base's hold what it cannot
    move by itself, and that stands in the new clip as a ghost.
    """
    scales = {"motion": 1.0} if SITES[sites].trains_motion_adapter else {}
    view = "backward" if backward else "clip"
    source = Source("clip", view, scales, prompt=prompt, single=True, says="motion")
    stage = Stage(
        name="motion", train=sites, sources=(source,), steps=400, lr=1e-4, loss=loss, noise=_NOISE
    )
    return override(Recipe("vmc", (stage,), frames=frames), overrides)


def newmove(
    *,
    motion_word: str,
    prompt: str = "",
    regularization: bool = True,
    keys_values: bool = True,
    full: bool = True,
    coarse: float = 0.5,
    frames: int = 16,
    **overrides: Any,
) -> Recipe:
    """NewMove (arXiv:2312.04966): a motion that a few clips share, called by a rare word.

    prompt: for all clips of the set "motion", "a person doing the pll dance"; empty takes their
    captions; both must have the motion word, whose embedding is not trained. The set
    "regularization" holds other clips with captions, best real ones of the same kind: one beside
    each (batch 2).
    The ablations of section 4.2: no regularization; ``keys_values=False``, temporal layers alone;
    ``full=False``, LoRA of rank 32 on temporal q, k, v; ``coarse=0``, even timesteps.
    coarse is ReVersion's 0.5; rate and steps, in a missing appendix, are chosen here.
    """
    train = "temporal.all+kv" if keys_values else "temporal.all"
    scales = {} if full else {"motion": 1.0}
    sources = [Source("motion", "clip", scales, prompt=prompt, says="token")]
    if regularization:
        sources.append(Source("regularization", "clip", scales))
    stage = Stage(
        name="motion",
        train=cast(SiteName, train) if full else "temporal.qkv",
        sources=tuple(sources),
        steps=800,
        rank=32,
        lr=1e-5 if full else 1e-4,
        coarse=coarse,
        noise=_NOISE,
    )
    recipe = Recipe("newmove", (stage,), frames=frames, batch=len(sources), token=motion_word)
    return override(dataclasses.replace(recipe, save_every=100), overrides)


METHODS = {"customize-a-video": customize_a_video, "vmc": vmc, "newmove": newmove}
