"""``train``: start, resume and steer jobs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from . import methods


def add(commands) -> None:
    parser = commands.add_parser(
        "train",
        help="train an adapter from cached sets, resume or steer a job",
        description="A job is a folder. Whatever ends it, 'train resume' goes on from its last "
        "checkpoint as if nothing had happened.",
    )
    actions = parser.add_subparsers(metavar="action", required=True)

    motion = actions.add_parser("motion", help="a Motion Adapter: once for a motion module")
    _add_job(motion)
    motion.add_argument("--frames-set", type=Path, required=True, help="cached clips or stills")
    motion.set_defaults(run=run_motion)

    spatial = actions.add_parser("spatial", help="a Spatial Adapter: once for a checkpoint")
    _add_job(spatial)
    spatial.add_argument("--customized", type=Path, required=True, help="cached stills made by it")
    spatial.add_argument("--natural", type=Path, help="cached natural clips")
    spatial.add_argument("--motion-adapter", type=Path, help="a finished Motion Adapter")
    spatial.add_argument("--sites", choices=("layers", "blocks", "all"), default="layers")
    spatial.add_argument("--prior-scale", type=float, default=0.0, help="on natural clips")
    for name in ("motion-adapter", "natural"):
        spatial.add_argument(f"--no-{name}", action="store_true", help="the paper's ablation")
    spatial.set_defaults(run=run_spatial)
    methods.add(actions, _add_job)

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


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, help="a new folder for the job")
    parser.add_argument("--checkpoint", type=Path, required=True, help="SD1.5 file, customized")
    parser.add_argument("--motion-module", type=Path, required=True, help="AnimateDiff file")
    parser.add_argument("--name", help="of the adapter file (default: the folder's name)")
    parser.add_argument("--recipe", type=Path, help="JSON file instead of the paper's numbers")
    for name, kind in (
        *(("steps", int), ("rank", int), ("lr", float), ("frames", int), ("batch", int)),
        *(("seed", int), ("ema", float), ("save-every", int)),
    ):
        parser.add_argument(f"--{name}", type=kind, help="instead of the recipe's")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--tier", choices=("auto", "none", "top", "two", "all"), help="memory")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="print events, one a line")


def overrides(options: argparse.Namespace) -> dict:
    names = ("steps", "rank", "lr", "frames", "batch", "seed", "ema", "save_every", "dtype", "tier")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def run_motion(options: argparse.Namespace) -> int:
    from ..training.recipes import recipe

    made = recipe_file(options) or recipe.motion_adapter(**overrides(options))
    return start(options, made, {"frames": options.frames_set}, {})


def run_spatial(options: argparse.Namespace) -> int:
    from ..common.errors import UserError
    from ..training.recipes import recipe

    for name in ("motion_adapter", "natural"):
        if getattr(options, name) is None and not getattr(options, f"no_{name}"):
            flag = name.replace("_", "-")
            raise UserError(
                f"--{flag}",
                "nothing",
                "a path",
                f"Name one, or say --no-{flag} to train without (motion suffers).",
            )
    made = recipe_file(options) or recipe.spatial_adapter(
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
    return start(options, made, sets, adapters)


def recipe_file(options: argparse.Namespace):
    from ..common.errors import UserError
    from ..training.recipes.recipe import Recipe

    if options.recipe is None:
        return None
    if overrides(options):
        raise UserError(
            "--recipe",
            f"{', '.join(overrides(options))} beside it",
            "all numbers in the recipe file",
            "Put them into the file.",
        )
    try:
        text = options.recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            options.recipe, f"unreadable ({error})", "a recipe", "Check the file's name."
        ) from None
    return Recipe.from_json(text, str(options.recipe))


def refuse_missing(options: argparse.Namespace, sets: dict, adapters: dict) -> None:
    """Before there is a folder: a job with a mistyped path could never be resumed."""
    from ..common.errors import UserError

    for path in (options.checkpoint, options.motion_module, *sets.values(), *adapters.values()):
        if not path.exists():
            raise UserError(path, "nothing", "a file or cached set", "Check its name and folder.")


def start(
    options: argparse.Namespace, recipe, sets: dict, adapters: dict, tokenizer: str = ""
) -> int:
    """Make the job and run it here; returns the exit code."""
    from ..training.jobs.job import Job, JobFolder, check_name

    refuse_missing(options, sets, adapters)
    job = Job(
        name=check_name(options.name or options.job.resolve().name),
        recipe=recipe,
        checkpoint=str(options.checkpoint.resolve()),
        motion_module=str(options.motion_module.resolve()),
        sets={name: str(path.resolve()) for name, path in sets.items()},
        adapters={name: str(path.resolve()) for name, path in adapters.items()},
        device=options.device,
        tokenizer=tokenizer,
    )
    return follow(JobFolder.create(options.job, job), options.json)


def run_resume(options: argparse.Namespace) -> int:
    from ..training.jobs.job import JobFolder

    folder = JobFolder(options.job)
    folder.load()
    folder.send("run")
    folder.share("run")
    return follow(folder, options.json)


def run_work(options: argparse.Namespace) -> int:
    from ..training.jobs.job import JobFolder, first_process

    folder = JobFolder(options.job)
    folder.load()
    with folder.owned():  # before the long imports: whoever looks shall see the worker at once
        if first_process():  # and not what a worker that was killed wrote last
            folder.write_state(replace(folder.read_state(), phase="loading", message=""))
        from ..training.worker.session import PATIENCE_S, run_owned

        patience_s = PATIENCE_S if options.patience is None else options.patience
        return run_owned(folder, patience_s=patience_s)


def follow(folder, as_json: bool) -> int:
    """Run the job here, with a progress bar or with its events as JSON lines."""
    from tqdm import tqdm

    from ..training.worker.session import run_job

    bar = tqdm(unit="step", disable=as_json, smoothing=0.1, desc=folder.path.name, delay=0.1)
    with bar:  # shows from the first step on: a job that cannot start says one line, no more

        def show(event: dict) -> None:
            if as_json:
                print(json.dumps(event), flush=True)
            elif event["event"] == "step":
                bar.total = event["steps"]
                bar.update(event["step"] - bar.n)
                loss = f"{event['loss_average']:.4f}"
                bar.set_postfix(loss=loss, tier=event["tier"], refresh=False)

        code = run_job(folder, show)
    state = folder.read_state()
    if state.phase == "failed":
        print(f"error: {state.message}", file=sys.stderr)
    elif not as_json:
        for path in sorted(folder.exports.glob("*.safetensors")):
            print(f"{state.phase} at step {state.step}: {path}")
    return code


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
