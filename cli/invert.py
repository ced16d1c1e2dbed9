"""``train invert``: a clip as the noise that a deterministic sampler makes it from."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(actions) -> None:
    parser = actions.add_parser(
        "invert",
        help="a cached clip as start latents that a deterministic sampler makes it from",
    )
    parser.add_argument("clip", type=Path, help="cached set; its first clip is taken")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--checkpoint", type=Path, required=True, help="SD1.5 file")
    parser.add_argument("--motion-module", type=Path, required=True, help="AnimateDiff file")
    parser.add_argument("--motion-weights", type=Path, help="result of vmc or newmove")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50, help="of DDIM; generate with the same")
    parser.add_argument("--refine", type=int, default=5, help="rounds a step; 0: plain inversion")
    parser.add_argument(
        "--drop-colours", action="store_true", help="for new clips, whose prompts decide them"
    )
    parser.add_argument(
        "--prediction", choices=("epsilon", "v_prediction"), help="of the checkpoint"
    )
    parser.add_argument("--text", choices=("empty", "caption"), default="empty")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..adapters.files.tensors import file_hash
    from ..common.names import check_new_path
    from ..training.checks.clips import check_lengths
    from ..training.checks.device import pick_device
    from ..training.network import inversion
    from ..training.recipes.recipe import Source
    from ..training.sets.store import load_set
    from ..training.stage.views import view

    check_new_path(options.out)
    item = load_set(options.clip).items[0]
    check_lengths(Source("clip", "clip"), (item,), options.frames)
    unet, text, prediction = _network(options, pick_device(options.device), item)
    network = inversion.network_of(unet, text, prediction)
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
    """(UNet, text to read, what it predicts), with motion weights where they are named."""
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
    prediction = options.prediction or _stated(options, weights)
    return build_unet(weights, motion, torch.float32, device), text, prediction


def _stated(options: argparse.Namespace, weights) -> str:
    """What the checkpoint says that it predicts. Raises UserError where nothing can be inverted."""
    from ..common.errors import UserError

    if weights.prediction is None:
        return "epsilon"
    if weights.prediction.zero_snr:
        raise UserError(
            options.checkpoint, f"a checkpoint that predicts {weights.prediction}",
            "a schedule on which something of a clip is left at its noisiest step",
            "Invert with another checkpoint, or say --prediction v_prediction to use AnimateDiff's"
            " own schedule.",
        )  # fmt: skip  # file, found, expected, next move
    return weights.prediction.kind
