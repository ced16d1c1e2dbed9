"""What every command that makes a job asks, and how the job is run here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import drawing


def add_job(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--prediction",
        choices=("epsilon", "v_prediction"),
        help="of the checkpoint (default: what its file says, else epsilon)",
    )
    parser.add_argument(
        "--zero-snr", action="store_true", default=None, help="its schedule ends in pure noise"
    )
    parser.add_argument("--scheduler", type=Path, help="diffusers' scheduler_config.json: both")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--tier", choices=("auto", "none", "top", "two", "all"), help="memory")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="print events, one a line")


def overrides(options: argparse.Namespace) -> dict:
    names = ("steps", "rank", "lr", "frames", "batch", "seed", "ema", "save_every", "dtype", "tier")
    names += ("prediction", "zero_snr")
    own = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.scheduler is not None:
        from ..adapters.files.prediction import read_scheduler

        said = read_scheduler(options.scheduler)
        own = {"prediction": said.kind, "zero_snr": said.zero_snr, **own}
    return own


def with_prediction(options: argparse.Namespace, recipe):
    """The recipe, in what the checkpoint's file says that it predicts where nobody said it."""
    from dataclasses import replace

    from ..adapters.files.prediction import stated_prediction
    from ..adapters.files.tensors import read_header
    from ..training.checks.prediction import check_prediction

    stated = stated_prediction(options.checkpoint, *read_header(options.checkpoint))
    if stated and options.recipe is None and "prediction" not in overrides(options):
        recipe = replace(recipe, prediction=stated.kind, zero_snr=stated.zero_snr)
        if not options.json:
            print(f"the checkpoint says that it predicts {stated}", file=sys.stderr)
    check_prediction(recipe, stated, options.checkpoint)
    return recipe


def recipe_file(options: argparse.Namespace):
    from ..common import files
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
        text = files.read_text(options.recipe)
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
    from ..common.names import check_name
    from ..training.jobs.exports import check_new
    from ..training.jobs.job import Job, JobFolder

    refuse_missing(options, sets, adapters)
    job = Job(
        name=check_name(options.name or options.job.resolve().name),
        recipe=with_prediction(options, recipe),
        checkpoint=str(options.checkpoint.resolve()),
        motion_module=str(options.motion_module.resolve()),
        sets={name: str(path.resolve()) for name, path in sets.items()},
        adapters={name: str(path.resolve()) for name, path in adapters.items()},
        device=options.device,
        tokenizer=tokenizer,
    )
    return follow(JobFolder.create(options.job, check_new(job)), options.json)


def worker(folder) -> Any:
    """The worker's code. Where its packages lack a part the job says so; raises UserError then."""
    try:
        from ..training.worker import session
    except Exception as error:
        from ..training.worker.failure import record_failure
        from ..training.worker.packages import lacking

        if (refusal := lacking(error)) is None:
            raise
        record_failure(folder, str(refusal))
        raise refusal from error
    return session


def follow(folder, as_json: bool) -> int:
    """Run the job here, with a progress bar or with its events as JSON lines."""
    from tqdm import tqdm

    if drawing.is_due(folder.load()) and (code := drawing.draw_beside(folder)) is not None:
        return code
    run_job = worker(folder).run_job
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

        try:
            code = run_job(folder, show)
        except KeyboardInterrupt:
            bar.close()
            print(f"go on from the last checkpoint: train resume {folder.path}", file=sys.stderr)
            raise
    state = folder.read_state()
    if state.phase == "failed":
        print(f"error: {state.message}", file=sys.stderr)
    elif not as_json:
        for path in sorted(folder.exports.glob("*.safetensors")):
            print(f"{state.phase} at step {state.step}: {path}")
    return code
