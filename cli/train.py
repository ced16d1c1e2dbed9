"""``train``: start, resume and steer jobs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import drawing, invert, methods
from .jobs import add_job, follow, overrides, recipe_file, start, worker


def add(commands) -> None:
    parser = commands.add_parser(
        "train",
        help="train an adapter from cached sets, resume or steer a job",
        description="A job is a folder. Whatever ends it, 'train resume' goes on from its last "
        "checkpoint as if nothing had happened.",
    )
    actions = parser.add_subparsers(metavar="action", required=True)

    motion = actions.add_parser("motion", help="a Motion Adapter: once for a motion module")
    add_job(motion)
    motion.add_argument("--frames-set", type=Path, required=True, help="cached clips or stills")
    motion.set_defaults(run=run_motion)

    spatial = actions.add_parser("spatial", help="a Spatial Adapter: once for a checkpoint")
    add_job(spatial)
    spatial.add_argument("--customized", type=Path, required=True, help="cached stills made by it")
    spatial.add_argument("--natural", type=Path, help="cached natural clips")
    spatial.add_argument("--motion-adapter", type=Path, help="a finished Motion Adapter")
    spatial.add_argument("--sites", choices=("layers", "blocks", "all"), default="layers")
    spatial.add_argument("--prior-scale", type=float, default=0.0, help="on natural clips")
    for name in ("motion-adapter", "natural"):
        spatial.add_argument(f"--no-{name}", action="store_true", help="the paper's ablation")
    spatial.set_defaults(run=run_spatial)
    methods.add(actions)
    invert.add(actions)

    resume = actions.add_parser("resume", help="go on with a job after whatever ended it")
    resume.add_argument("job", type=Path)
    resume.add_argument("--json", action="store_true", help="print events, one a line")
    resume.set_defaults(run=run_resume)
    # For the supervisor inside ComfyUI: quiet, and it leaves when it has to wait for long.
    work = actions.add_parser("work")
    work.add_argument("job", type=Path)
    work.add_argument("--patience", type=float, help=argparse.SUPPRESS)
    work.set_defaults(run=run_work)
    for name, text in (
        ("pause", "save and wait"),
        ("stop", "save, write the adapter, end"),
        ("save", "save and write the adapter, go on"),
        ("status", "where the job is"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("job", type=Path)
        action.set_defaults(run=run_command, command=name)


def run_motion(options: argparse.Namespace) -> int:
    from ..training.recipes.recipe import motion_adapter

    recipe = recipe_file(options) or motion_adapter(**overrides(options))
    return start(options, recipe, {"frames": options.frames_set}, {})


def run_spatial(options: argparse.Namespace) -> int:
    from ..adapters.files.adapter import load_adapter
    from ..common.errors import UserError
    from ..training.recipes.recipe import spatial_adapter

    for name in ("motion_adapter", "natural"):
        if getattr(options, name) is None and not getattr(options, f"no_{name}"):
            flag = name.replace("_", "-")
            raise UserError(
                f"--{flag}",
                "nothing",
                "a path",
                f"Name one, or say --no-{flag} to train without (motion suffers).",
            )
    recipe = recipe_file(options) or spatial_adapter(
        sites=options.sites,
        motion_adapter=not options.no_motion_adapter,
        natural_clips=not options.no_natural,
        prior_scale=options.prior_scale,
        **overrides(options),
    )
    sets = {"customized": options.customized}
    if not options.no_natural:
        sets["natural"] = options.natural
    adapters = {} if options.no_motion_adapter else {"motion": options.motion_adapter}
    for file in adapters.values():
        for note in load_adapter(file, "motion").notes:
            print(f"note: {note}")
    return start(options, recipe, sets, adapters)


def run_resume(options: argparse.Namespace) -> int:
    from ..training.jobs.job import JobFolder

    folder = JobFolder(options.job)
    folder.load()
    folder.send("run")
    folder.share("run")
    return follow(folder, options.json)


def run_work(options: argparse.Namespace) -> int:
    from ..training.jobs.job import JobFolder
    from ..training.jobs.wish import PATIENCE_S

    folder = JobFolder(options.job)
    job = folder.load()
    patience_s = PATIENCE_S if options.patience is None else options.patience
    with folder.owned():  # before the long imports: whoever looks shall see the worker at once
        if drawing.is_due(job):
            return drawing.draw(folder, job, patience_s)
        return worker(folder).run_owned(folder, job, patience_s=patience_s)


def run_command(options: argparse.Namespace) -> int:
    from ..training.jobs.job import JobFolder

    folder = JobFolder(options.job)
    folder.load()
    if options.command == "save":
        folder.send(save=True)
    elif options.command != "status":
        folder.send(options.command)
    state = folder.read_state()
    # The state file is written at each save; the events are newer.
    steps = [e["step"] for e in folder.read_events() if e.get("stage") == state.stage]
    now = {
        "phase": folder.phase(),
        "step": steps[-1] if steps else state.step,
        "steps": state.steps,
        "message": state.message,
    }
    print(json.dumps(now))
    return 0
