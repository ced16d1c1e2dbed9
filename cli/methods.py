"""``train customize-a-video | vmc | newmove | invert``: motion from reference clips."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(actions, add_job) -> None:
    """add_job: adds what every job is asked."""
    custom = actions.add_parser(
        "customize-a-video",
        help="the motion of one clip, as a motion LoRA (Customize-A-Video)",
        description="First absorbers take up the clip's look from its single frames, then "
        "temporal LoRA learns its motion. Only that is the result.",
    )
    add_job(custom)
    custom.add_argument("--clip", type=Path, required=True, help="cached set of the one clip")
    custom.add_argument("--caption", default="", help="instead of the clip's own")
    custom.add_argument("--appearance", default="", help="the caption without its motion")
    custom.add_argument(
        "--absorber",
        choices=("lora", "words", "both", "file", "none"),
        default="lora",
        help="what takes up the look: LoRA, textual inversion, both, --absorber-file, nothing",
    )
    custom.add_argument("--absorber-file", type=Path, help="a LoRA for images of the same look")
    custom.add_argument("--words", nargs="+", default=(), help="2 to 6, from both captions")
    custom.add_argument("--appearance-steps", type=int, default=0, help="of the first stage")
    custom.set_defaults(run=run_customize)

    vmc = actions.add_parser("vmc", help="the motion of one clip, by its residuals (VMC)")
    add_job(vmc)
    vmc.add_argument("--clip", type=Path, required=True, help="cached set of the one clip")
    vmc.add_argument(
        "--prompt",
        default="",
        help="what moves and how, without look and place: 'a cat is roaring' (default: the "
        "clip's caption)",
    )
    losses = ("residual_cosine", "residual_official", "residual_l2", "epsilon_mse")
    vmc.add_argument("--loss", choices=losses, default=losses[0], help="the paper's is the first")
    vmc.add_argument("--lora", action="store_true", help="instead of full weights: small cards")
    vmc.add_argument("--backward", action="store_true", help="learn the clip from last to first")
    vmc.set_defaults(run=run_vmc)

    new = actions.add_parser("newmove", help="a motion that several clips share (NewMove)")
    add_job(new)
    new.add_argument("--clips", type=Path, required=True, help="cached set, 5 to 10 clips")
    new.add_argument("--token", required=True, help="a rare word for the motion, such as pll")
    new.add_argument("--prompt", default="", help="for every clip: 'a person doing the pll'")
    new.add_argument("--regularization", type=Path, help="cached set of other, real clips")
    new.add_argument("--no-regularization", action="store_true", help="the paper's ablation")
    new.add_argument("--no-keys-values", action="store_true", help="temporal layers alone")
    new.set_defaults(run=run_newmove)

    for parser in (custom, vmc):
        parser.add_argument("--comfyui", type=Path, help="folder, to read prompts and words with")
    new.add_argument("--comfyui", type=Path, help="folder, to read --prompt with")
    for parser in (custom, vmc, new):
        parser.add_argument("--any-caption", action="store_true", help="do not check captions")
    _add_invert(actions)


def _add_invert(actions) -> None:
    invert = actions.add_parser(
        "invert",
        help="a cached clip as start latents that a deterministic sampler makes it from",
    )
    invert.add_argument("clip", type=Path, help="cached set; its first clip is taken")
    invert.add_argument("out", type=Path, help="safetensors file to write")
    invert.add_argument("--checkpoint", type=Path, required=True, help="SD1.5 file")
    invert.add_argument("--motion-module", type=Path, required=True, help="AnimateDiff file")
    invert.add_argument("--motion-weights", type=Path, help="result of vmc or newmove")
    invert.add_argument("--frames", type=int, default=16)
    invert.add_argument("--steps", type=int, default=50, help="of DDIM; generate with the same")
    invert.add_argument("--refine", type=int, default=5, help="rounds a step; 0: plain inversion")
    invert.add_argument(
        "--drop-colours", action="store_true", help="for new clips, whose prompts decide them"
    )
    invert.add_argument("--text", choices=("empty", "caption"), default="empty")
    invert.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    invert.set_defaults(run=run_invert)


def run_customize(options: argparse.Namespace) -> int:
    from ..common.errors import UserError
    from ..training.recipes.methods import customize_a_video

    given = options.absorber_file is not None
    if given != (options.absorber == "file"):
        raise UserError(
            "--absorber-file",
            str(options.absorber_file) if given else "nothing",
            "a file with --absorber file, and only then",
            "Name a LoRA for images, or choose another absorber.",
        )
    made = _recipe(
        options,
        customize_a_video,
        appearance=options.appearance,
        caption=options.caption,
        absorber=options.absorber,
        words=tuple(options.words),
        appearance_steps=options.appearance_steps,
    )
    adapters = {"appearance": options.absorber_file} if given else {}
    return _start(options, made, {"appearance": options.clip, "clip": options.clip}, adapters)


def run_vmc(options: argparse.Namespace) -> int:
    from ..training.recipes.methods import vmc

    made = _recipe(
        options,
        vmc,
        prompt=options.prompt,
        sites="temporal.qkv" if options.lora else "temporal.qkv.full",
        loss=options.loss,
        backward=options.backward,
    )
    return _start(options, made, {"clip": options.clip}, {})


def run_newmove(options: argparse.Namespace) -> int:
    from ..common.errors import UserError
    from ..training.recipes.methods import newmove

    if (options.regularization is None) != options.no_regularization:
        raise UserError(
            "--regularization",
            "nothing" if options.regularization is None else "a set beside --no-regularization",
            "one of the two",
            "Name a set of other clips, or say --no-regularization (related motions are lost).",
        )
    made = _recipe(
        options,
        newmove,
        token=options.token,
        prompt=options.prompt,
        regularization=options.regularization is not None,
        keys_values=not options.no_keys_values,
    )
    sets = {"motion": options.clips}
    if options.regularization is not None:
        sets["regularization"] = options.regularization
    return _start(options, made, sets, {})


def _recipe(options: argparse.Namespace, method, **chosen):
    from .train import overrides, recipe_file

    if options.any_caption:
        chosen["check_captions"] = False
    return recipe_file(options) or method(**chosen, **overrides(options))


def _start(options: argparse.Namespace, made, sets: dict, adapters: dict) -> int:
    """Check what can be checked and say what it needs, before there is a job."""
    from ..adapters.files.checkpoint import read_unet
    from ..adapters.files.motion_module import read_motion_module
    from ..training.checks.budget import budget
    from ..training.checks.captions import check_recipe
    from ..training.checks.device import pick_device, pick_dtype
    from ..training.sets.store import load_set
    from .train import refuse_missing, start

    refuse_missing(options, sets, adapters)
    used = {source.set for stage in made.stages for source in stage.sources}
    sets = {name: path for name, path in sets.items() if name in used}
    check_recipe(made, {name: load_set(path) for name, path in sets.items()})
    if not options.json:
        files = read_unet(options.checkpoint), read_motion_module(options.motion_module)
        dtype = pick_dtype(made.dtype, pick_device(options.device))
        for index, stage in enumerate(made.stages):
            print(f"{stage.name}: {budget(*files, made, index, dtype)}", file=sys.stderr)
    return start(options, made, sets, adapters, tokenizer=_tokenizer(options))


def _tokenizer(options: argparse.Namespace) -> str:
    """Folder of CLIP's words; none where no ComfyUI is named or around."""
    from ..common.errors import UserError
    from ..training.sets.encoders import find_comfyui

    try:
        return str(find_comfyui(options.comfyui) / "comfy" / "sd1_tokenizer")
    except UserError:
        if options.comfyui is not None:
            raise
        return ""


def run_invert(options: argparse.Namespace) -> int:
    from ..adapters.files.tensors import file_hash
    from ..training.checks.clips import check_lengths
    from ..training.checks.device import pick_device
    from ..training.network import inversion
    from ..training.recipes.recipe import Source
    from ..training.sets.store import load_set
    from ..training.stage.views import view

    item = load_set(options.clip).items[0]
    check_lengths(Source("clip", "clip"), (item,), options.frames)
    unet, text = _network(options, pick_device(options.device), item)
    network = inversion.network_of(unet, text)
    clip = view(item.latents, "clip", 0.0, options.frames)
    start = inversion.invert(network, clip, options.steps, options.refine)
    error = inversion.round_trip_error(network, clip, start, options.steps)
    if options.drop_colours:
        start = inversion.without_colours(start)
    facts = {"steps": options.steps, "refine": options.refine, "round_trip_error": error}
    facts["colours"] = "dropped" if options.drop_colours else "kept"
    facts |= {"source": item.source, "checkpoint": file_hash(options.checkpoint)}
    inversion.save_start(options.out, start[0], {k: str(v) for k, v in facts.items()})
    print(f"{options.out}: with its colours it comes back with a relative error of {error:.2g}")
    return 0


def _network(options: argparse.Namespace, device, item):
    """(UNet, text to read), with motion weights where they are named."""
    import torch

    from ..adapters.files.checkpoint import read_unet
    from ..adapters.files.motion_module import read_motion_module
    from ..adapters.files.motion_weights import load_motion_weights
    from ..training.network.inversion import with_motion
    from ..training.network.unet import build_unet
    from ..training.text.learned_words import open_text_model

    weights, motion = read_unet(options.checkpoint), read_motion_module(options.motion_module)
    text = item.text
    if options.text == "empty":
        text = open_text_model(weights.base, options.checkpoint, None).encode([], {})
    if options.motion_weights is not None:
        learned = load_motion_weights(options.motion_weights)
        weights, motion = with_motion(weights, motion, learned, options.motion_weights.name)
    return build_unet(weights, motion, torch.float32, device), text
