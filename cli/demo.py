"""``demo``: train both adapters on the shapes world and show what they do."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add(commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="train both adapters on a tiny world and show what they do",
        description="Trains a Motion Adapter and a Spatial Adapter from still images on the "
        "shapes world, generates clips with them and measures the result. About four minutes "
        "on two CPU cores.",
    )
    parser.add_argument("--out", type=Path, help="folder for clips, plots and adapters")
    parser.add_argument("--prompts", type=int, default=12, help="clips per setting (default 12)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--processes",
        type=int,
        help="side by side, a thread each (default one a core, up to 4); with a card only one",
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--train-world", action="store_true", help="make the world's weights anew, then stop"
    )
    parser.add_argument(
        "--train-emoji",
        type=Path,
        metavar="FOLDER",
        help="make the emoji world anew, then stop: from the emoji in this folder, fetched with "
        "npm if there are none; drafts go beside them",
    )
    parser.add_argument(
        "--train-motions",
        action="store_true",
        help="make the motions that the pack ships anew from their clips, then stop",
    )
    parser.add_argument("--json", action="store_true", help="print metrics.json, nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.train_world:
        from ..demo.train_world import train_world

        train_world(options.device)
        return 0
    if options.train_emoji:
        from ..demo.emoji.train import train_emoji

        train_emoji(options.device, options.train_emoji)
        return 0
    if options.train_motions:
        from ..demo.train_motions import train_motions

        train_motions(options.device)
        return 0
    if options.serve:  # as one of the demo's own processes
        from ..demo import parts

        return parts.serve()
    from ..common.names import check_new_path
    from ..demo import run as demo
    from ..demo.parts import Plan

    out = check_new_path(options.out or Path(demo.__file__).parent / "out").resolve()
    recipes = (demo.MOTION_RECIPE, demo.SPATIAL_RECIPE)
    plan = Plan(out, options.prompts, options.device, recipes)
    metrics = demo.run_demo(plan, options.json, options.processes)
    print(json.dumps(metrics, indent=2) if options.json else demo.summary(metrics, out))
    return 0
