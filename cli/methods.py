"""``train customize-a-video | vmc | newmove``: motion from reference clips."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .jobs import add_job, overrides, recipe_file, refuse_missing, start


def add(actions) -> None:
    _add_customize(actions)
    _add_vmc(actions)
    _add_newmove(actions)


def _add_customize(actions) -> None:
    parser = actions.add_parser(
        "customize-a-video",
        help="the motion of one clip, as a motion LoRA (Customize-A-Video)",
        description="First absorbers take up the clip's look from its single frames, then "
        "temporal LoRA learns its motion. Only that is the result.",
    )
    add_job(parser)
    parser.add_argument("--clip", type=Path, required=True, help="cached set of the one clip")
    parser.add_argument("--caption", default="", help="instead of the clip's own")
    parser.add_argument("--appearance", default="", help="the caption without its motion")
    parser.add_argument(
        "--absorber",
        choices=("lora", "words", "both", "file", "none"),
        default="lora",
        help="what takes up the look: LoRA, textual inversion, both, --absorber-file, nothing",
    )
    parser.add_argument("--absorber-file", type=Path, help="a LoRA for images of the same look")
    parser.add_argument("--words", nargs="+", default=(), help="2 to 6, from both captions")
    parser.add_argument("--appearance-steps", type=int, default=0, help="of the first stage")
    parser.add_argument("--comfyui", type=Path, help="folder, to read prompts and words with")
    parser.add_argument("--any-caption", action="store_true", help="do not check captions")
    parser.set_defaults(run=run_customize)


def _add_vmc(actions) -> None:
    parser = actions.add_parser("vmc", help="the motion of one clip, by its residuals (VMC)")
    add_job(parser)
    parser.add_argument("--clip", type=Path, required=True, help="cached set of the one clip")
    parser.add_argument(
        "--prompt",
        default="",
        help="what moves and how, without look and place: 'a cat is roaring' (default: the "
        "clip's caption)",
    )
    losses = ("residual_cosine", "residual_official", "residual_l2", "epsilon_mse")
    parser.add_argument(
        "--loss", choices=losses, default=losses[0], help="the paper's is the first"
    )
    parser.add_argument("--lora", action="store_true", help="instead of full weights: small cards")
    parser.add_argument("--backward", action="store_true", help="learn the clip from last to first")
    parser.add_argument("--comfyui", type=Path, help="folder, to read prompts and words with")
    parser.add_argument("--any-caption", action="store_true", help="do not check captions")
    parser.set_defaults(run=run_vmc)


def _add_newmove(actions) -> None:
    parser = actions.add_parser("newmove", help="a motion that several clips share (NewMove)")
    add_job(parser)
    parser.add_argument("--clips", type=Path, required=True, help="cached set, 5 to 10 clips")
    parser.add_argument("--token", required=True, help="a rare word for the motion, such as pll")
    parser.add_argument("--prompt", default="", help="for every clip: 'a person doing the pll'")
    parser.add_argument("--regularization", type=Path, help="cached set of other, real clips")
    parser.add_argument("--no-regularization", action="store_true", help="the paper's ablation")
    parser.add_argument("--no-keys-values", action="store_true", help="temporal layers alone")
    parser.add_argument("--comfyui", type=Path, help="folder, to read --prompt with")
    parser.add_argument("--any-caption", action="store_true", help="do not check captions")
    parser.set_defaults(run=run_newmove)


def run_customize(options: argparse.Namespace) -> int:
    from ..adapters.files.image_lora import read_image_lora
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
    recipe = _recipe(
        options,
        customize_a_video,
        appearance=options.appearance,
        caption=options.caption,
        absorber=options.absorber,
        words=tuple(options.words),
        appearance_steps=options.appearance_steps,
    )
    adapters = {"appearance": options.absorber_file} if given else {}
    for note in read_image_lora(options.absorber_file).notes if given else ():
        print(f"note: {note}")
    return _start(options, recipe, {"appearance": options.clip, "clip": options.clip}, adapters)


def run_vmc(options: argparse.Namespace) -> int:
    from ..training.recipes.methods import vmc

    recipe = _recipe(
        options,
        vmc,
        prompt=options.prompt,
        sites="temporal.qkv" if options.lora else "temporal.qkv.full",
        loss=options.loss,
        backward=options.backward,
    )
    return _start(options, recipe, {"clip": options.clip}, {})


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
    recipe = _recipe(
        options,
        newmove,
        motion_word=options.token,
        prompt=options.prompt,
        regularization=options.regularization is not None,
        keys_values=not options.no_keys_values,
    )
    sets = {"motion": options.clips}
    if options.regularization is not None:
        sets["regularization"] = options.regularization
    return _start(options, recipe, sets, {})


def _recipe(options: argparse.Namespace, method, **chosen):
    if options.any_caption:
        chosen["check_captions"] = False
    return recipe_file(options) or method(**chosen, **overrides(options))


def _start(options: argparse.Namespace, recipe, sets: dict, adapters: dict) -> int:
    """Check what can be checked and say what it needs, before there is a job."""
    from ..adapters.files.checkpoint import read_unet
    from ..adapters.files.motion_module import read_motion_module
    from ..training.checks.budget import budget
    from ..training.checks.captions import check_recipe
    from ..training.checks.device import pick_device, pick_dtype
    from ..training.sets.store import load_set

    refuse_missing(options, sets, adapters)
    used = {source.set for stage in recipe.stages for source in stage.sources}
    sets = {name: path for name, path in sets.items() if name in used}
    check_recipe(recipe, {name: load_set(path) for name, path in sets.items()})
    if not options.json:
        files = read_unet(options.checkpoint), read_motion_module(options.motion_module)
        dtype = pick_dtype(recipe.dtype, pick_device(options.device))
        for index, stage in enumerate(recipe.stages):
            print(f"{stage.name}: {budget(*files, recipe, index, dtype)}", file=sys.stderr)
    return start(options, recipe, sets, adapters, tokenizer=_tokenizer(options))


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
