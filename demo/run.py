"""The main job from end to end: both adapters from still images, clips, and the numbers.

It goes the way an artist goes: folders of pictures, ``cache``, jobs that the worker runs, adapter
files, clips. Only the world is small. While one process trains, others draw (``lanes``), one thread
each, so that the numbers do not depend on how many there are; with a card there is this one alone.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..common import files
from ..common.atomic import atomic_write_text
from ..common.errors import UserError
from ..common.processes import PYTHON_FLAGS
from ..training.recipes.presets import make_recipe
from ..worlds.shapes.files import BASE, CUSTOMIZED, MOTION_MODULE, WEIGHTS
from . import lanes, show, world
from .evaluate import CFG, Clips, check
from .lanes import Part
from .parts import METHODS, MOTION, SCALES, SPATIAL, Demo, Plan, one_thread

PACK = Path(__file__).resolve().parents[1]
PRESET = "shapes world"
MOTION_RECIPE = make_recipe("motion", PRESET)
SPATIAL_RECIPE = make_recipe("spatial", PRESET)
MOST_PROCESSES = 4  # more would wait: the adapters are trained one after the other, on a core
SHOWN = 4  # rows of the pictures


def run_demo(plan: Plan, quiet: bool = False, processes: int | None = None) -> dict[str, Any]:
    """Run everything and write it to the plan's folder; returns the contents of metrics.json.

    processes: that work side by side on a CPU; as many as there are cores, within reason, unless
    given. Raises UserError for what can be mended.
    """
    for name in (BASE, MOTION_MODULE, CUSTOMIZED):
        if not (WEIGHTS / name).is_file():
            raise UserError(
                WEIGHTS / name, "nothing", "the shapes world's weights", "Get the pack again."
            )
    started = time.monotonic()
    demo = Demo(plan)
    prepare(plan.out)
    with Progress(demo.parts(), quiet) as progress:
        make(demo, processes or min(lanes.cores(), MOST_PROCESSES), progress)
    metrics = report(demo)
    metrics["checks"] = check(metrics)
    metrics["seconds"] = round(time.monotonic() - started)
    atomic_write_text(plan.out / "metrics.json", json.dumps(metrics, indent=2))
    return metrics


def prepare(out: Path) -> None:
    """An output folder without the results of an earlier run; other files in it are left."""
    files.make_folder(out)
    for name in ("data", "cache", "jobs", "clips"):
        files.remove_tree(out / name)


def make(demo: Demo, processes: int, progress: Progress) -> None:
    """Make the demo's parts: with processes beside this one, or here where there is only one."""
    on_cpu = demo.device.type == "cpu"
    if processes > 1 and on_cpu:
        command = [sys.executable, *PYTHON_FLAGS, str(PACK / "__main__.py"), "demo", "--serve"]
        lanes.make_beside(demo.parts(), command, demo.plan.to_json(), processes, progress)
        return
    with one_thread() if on_cpu else nullcontext():
        lanes.make_here(demo.parts(), progress)


class Progress:
    """One bar for all parts, with a word on each that is being made."""

    def __init__(self, parts: list[Part], quiet: bool):
        self.shares = dict.fromkeys((part.name for part in parts), 0.0)
        self.words: dict[str, str] = {}
        self.said: set[str] = set()
        self.bar = tqdm(
            total=sum(part.cost for part in parts),
            bar_format="{percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}{postfix}",
            disable=quiet,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self.bar.close()

    def __call__(self, part: Part, share: float, word: str) -> None:
        if part.about and part.name not in self.said and not self.bar.disable:
            self.said.add(part.name)
            tqdm.write(part.about, file=sys.stderr)
        self.words[part.name] = f"{part.name} {word}".strip()
        if share == 1:
            del self.words[part.name]
        self.bar.set_postfix_str("; ".join(self.words.values()), refresh=False)
        more = part.cost * (share - self.shares[part.name])
        self.bar.update(min(more, self.bar.total - self.bar.n))  # sums of fractions go past it
        self.shares[part.name] = share


def report(demo: Demo) -> dict[str, Any]:
    """Measure what was made and draw the pictures."""
    plan = demo.plan
    sweep = {scale: demo.clips(scale) for scale in SCALES}
    methods = {name: demo.clips(name) for name in METHODS}
    motion = {scale: clips.summary() for scale, clips in sweep.items()}
    draw(demo, sweep, methods)
    means, errors = (
        {scale: numbers[name] for scale, numbers in motion.items()}
        for name in ("motion", "motion_error")
    )
    show.plot_motion(plan.out / "motion.png", means, errors)
    for name, recipe in zip((MOTION, SPATIAL), plan.recipes, strict=True):
        show.plot_loss(plan.out / f"loss_{name}.png", demo.job(name), recipe.name)
    return {
        "motion_by_scale": means,
        "motion_error_by_scale": errors,
        "base": motion["0"],
        **{name: clips.summary() for name, clips in methods.items()},
        "stills": demo.stills_measured().summary(),
        "settings": {
            "prompts": plan.prompts,
            "sampling_steps": plan.sampling_steps,
            "cfg": CFG,
            "device": demo.device.type,
            "motion_adapter": json.loads(plan.recipes[0].to_json()),
            "spatial_adapter": json.loads(plan.recipes[1].to_json()),
        },
    }


def draw(demo: Demo, sweep: dict[str, Clips], methods: dict[str, Clips]) -> None:
    rows = range(min(SHOWN, demo.plan.prompts))
    scenes = world.spread(world.all_scenes(), len(rows))
    show.clip_grid(
        demo.out / "sweep.gif",
        [f"scale {scale}" for scale in SCALES],
        [scene.prompt for scene in scenes],
        [[sweep[scale].frames[i] for scale in SCALES] for i in rows],
    )
    show.clip_grid(
        demo.out / "comparison.gif",
        ["injection", "Still-Moving"],
        [scene.prompt for scene in demo.scenes("injection")[: len(rows)]],
        [[methods[name].frames[i] for name in METHODS] for i in rows],
    )


def summary(metrics: dict[str, Any], out: Path) -> str:
    """The numbers as a short table, with standard errors, and where the pictures are."""
    lines = ["", f"motion by scale (pixels per frame), {metrics['settings']['prompts']} prompts"]
    errors = metrics["motion_error_by_scale"]
    for scale, value in metrics["motion_by_scale"].items():
        lines.append(f"  {scale:>5}  {value:.2f} ± {errors[scale]:.2f}")
    measures = ("fidelity", "prompt_accuracy", "motion", "frame_difference")
    heads = ("fidelity", "right prompt", "motion", "flicker")
    lines += ["", f"{'':14}" + "".join(f"{head:>16}" for head in heads)]
    for name in ("base", "injection", "still_moving"):
        row = metrics[name]
        cells = (f"{row[m]:.3f} ± {row[f'{m}_error']:.3f}" for m in measures)
        lines.append(f"{name:14}" + "".join(f"{cell:>16}" for cell in cells))
    stills = metrics["stills"]
    true = f"{stills['fidelity']:.3f} ± {stills['fidelity_error']:.3f}"
    lines += [f"{'stills':14}{true:>16}  by the customized checkpoint alone", ""]
    lines += [f"  {'yes' if ok else 'NO ':4}{text}" for text, ok in metrics["checks"].items()]
    lines += ["", f"{metrics['seconds']} s. Look at sweep.gif, comparison.gif and motion.png in"]
    return "\n".join([*lines, f"  {out}"])
