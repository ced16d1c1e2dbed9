"""``cache``: a folder of photos or clips becomes latents and embeddings for the trainer."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path


def add(commands) -> None:
    parser = commands.add_parser(
        "cache",
        help="turn a folder of photos or clips into latents, once",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Reads pictures and clips as docs/media.md lists them. A caption is the text "
        "in the .txt or .caption of the same name, a line of metadata.jsonl or metadata.csv, "
        "kohya's metadata, or --prompt. Run it again after an edit: only what changed is encoded.",
    )
    parser.add_argument("folder", type=Path, help="photos (stills) or clips, with captions")
    parser.add_argument("out", type=Path, help="folder for the cached set")
    parser.add_argument("--checkpoint", type=Path, help="SD1.5 file whose VAE and CLIP encode")
    parser.add_argument("--comfyui", type=Path, help="ComfyUI folder (or set COMFYUI_PATH)")
    parser.add_argument("--shapes", action="store_true", help="encode for the shapes world")
    parser.add_argument("--kind", choices=("auto", "stills", "clips"), default="auto")
    parser.add_argument("--width", type=int, default=512, help="pixels, a multiple of 8")
    parser.add_argument("--height", type=int, default=512, help="pixels, a multiple of 8")
    parser.add_argument("--prompt", help="caption for files without one; several lines: one each")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--fps", type=float, help="resample clips to this rate")
    parser.add_argument("--stride", type=int, default=1, help="take every n-th frame")
    parser.add_argument("--start", choices=("first", "centre", "random"), default="centre")
    parser.add_argument("--crop", choices=("centre", "random"), default="centre")
    parser.add_argument("--seed", type=int, default=0, help="of random starts and crops")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave bad files out")
    parser.add_argument("--preflight", action="store_true", help="only look, encode nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..training.sets.build import build_from
    from ..training.sets.options import CacheOptions
    from ..training.sets.preflight import preflight

    names = CacheOptions.__dataclass_fields__
    chosen = CacheOptions(**{name: getattr(options, name) for name in names if name in options})
    with contextlib.ExitStack() as stack:
        progress = _bars(stack) if sys.stderr.isatty() else None
        report = preflight(options.folder, chosen, progress)
    if options.json:
        print(json.dumps(report.to_json(), indent=2))  # ASCII: no code page can spoil it
    else:
        print("\n".join(report.lines()))
    report.check()
    if options.preflight:
        return 0
    with contextlib.ExitStack() as stack:
        encoder = _encoder(options, stack)
        progress = _bars(stack) if sys.stderr.isatty() else None
        cached = build_from(report, options.out, encoder, progress)
    if not options.json:
        print(f"{len(cached.items)} {cached.kind} cached in {options.out} (see contact_sheet.png)")
    return 0


def _bars(stack: contextlib.ExitStack) -> Callable[[str, int, int], None]:
    """What shows progress on a terminal, until the stack is closed."""
    from tqdm import tqdm

    bar: tqdm = stack.enter_context(tqdm(unit="file", leave=False))

    def tell(phase: str, done: int, total: int) -> None:
        bar.total, bar.n = total, done
        bar.set_description(phase)  # draws it

    return tell


def _encoder(options: argparse.Namespace, stack: contextlib.ExitStack):
    from ..common.errors import UserError
    from ..training.sets.encoders import ComfyEncoder, ShapesEncoder

    if options.shapes:
        return ShapesEncoder()
    if options.checkpoint is None:
        raise UserError(
            "--checkpoint",
            "no file",
            "the SD1.5 checkpoint whose VAE and CLIP encode",
            "Name one, or use --shapes for the shapes world.",
        )
    return stack.enter_context(ComfyEncoder(options.comfyui, options.checkpoint))
