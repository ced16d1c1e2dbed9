"""What the help pages say of a slider's settings, on the shapes world with the files it ships.

``python benchmarks sliders [--out FOLDER] [--quick]``. The same prompts and seeds at every scale of
the Spatial Adapter (look sks) and of the Motion Adapter, under every Scale Schedule that its page
names, and the rounds of Invert Clip. The figures go into docs/results/tables. What an interrupted
run has finished is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from ...adapters.files.adapter import load_adapter
from ...adapters.files.checkpoint import read_unet
from ...adapters.files.motion_module import read_motion_module
from ...adapters.scale_schedule import PRESETS, ScaleSchedule
from ...common.atomic import atomic_write_text
from ...demo import world
from ...demo.evaluate import Network
from ...training.checks.device import pick_device
from ...training.network import inversion
from ...training.network.lora import set_motion_scale
from ...training.network.spatial import load_spatial_adapter
from ...training.network.unet import build_unet
from ...worlds.shapes import latents
from ...worlds.shapes.files import (
    BASE,
    CUSTOMIZED,
    MOTION_ADAPTER,
    MOTION_MODULE,
    SPATIAL_ADAPTER,
    WEIGHTS,
)
from ..common import parts
from ..common.parts import Parts, Row
from ..common.results_page import TABLES, put_tables
from ..common.rows import machine, mean, means, table

LAST = 999  # the noisiest timestep: where sampling begins
INVERSION_STEPS = 20
ROUNDS = (0, 2, 5)  # of Invert Clip's refine
TITLES = {
    "fidelity": "fidelity",
    "frame_accuracy": "right prompt, per frame",
    "motion": "motion, px per frame",
    "jitter": "off a straight line, px",
    "frame_difference": "frame difference",
}
AGAINST = {"fidelity": "fidelity, against", "motion": "motion, against"}
Scale = float | ScaleSchedule


@dataclass(frozen=True)
class Setting:
    """Scales of both adapters. spatial: None for the base, without a customized checkpoint."""

    motion: Scale = 0.0
    spatial: Scale | None = None


LIVELY, CALM = PRESETS["motion first"], PRESETS["calm surfaces"]
LATE_LOOK = PRESETS["look fades in"]
ON_BASE, ON_STYLE = "Motion Adapter, on the base", "Spatial Adapter, look sks"
GROUPS: dict[str, dict[str, Setting]] = {
    ON_BASE: {
        f"{scale:g}": Setting(motion=scale) for scale in (1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5)
    },
    ON_STYLE: {f"{scale:g}": Setting(spatial=scale) for scale in (0.0, 0.5, 0.75, 1.0, 1.25)},
    "Motion Adapter beside the Spatial Adapter at 1, look sks": {
        f"{scale:g}": Setting(motion=scale, spatial=1.0) for scale in (-0.25, -0.5)
    },
    "Scale Schedule": {
        "Motion Adapter from -0.5 to 0, on the base": Setting(motion=LIVELY),
        "Motion Adapter from 0 to 0.5, on the base": Setting(motion=CALM),
        "Spatial Adapter from 0 to 1, look sks": Setting(spatial=LATE_LOOK),
    },
}


def main() -> None:
    options = parts.options(__doc__, "sliders")
    prompts = 1 if options.quick else 10
    rows, origin = parts.run(options, every_part(prompts, pick_device(options.device)))
    atomic_write_text(options.out / "results.json", json.dumps({"rows": rows, **origin}, indent=2))
    page = options.docs or (options.out if options.quick else TABLES) / "sliders.md"
    put_tables(page, "Sliders", report(rows, prompts, origin))
    print(page.read_text(encoding="utf-8"))


def every_part(prompts: int, device: torch.device) -> Parts:
    """A part a setting: its rows are a clip each."""
    made: dict[str, Callable[[], list[Row]]] = {
        f"{group}-{name}": partial(sampled, group, name, prompts, device)
        for group, settings in GROUPS.items()
        for name in settings
    }
    return made | {f"refine-{n}": partial(inverted, n, prompts, device) for n in ROUNDS}


def sampled(group: str, name: str, prompts: int, device: torch.device) -> list[Row]:
    """Clips of one setting, measured."""
    setting = GROUPS[group][name]
    styled = setting.spatial is not None
    looks = (world.STYLE_TOKEN,) if styled else world.BASE_LOOKS
    scenes = world.spread(world.all_scenes(looks), prompts)
    clips = network(setting, device).clips(scenes, range(prompts))
    return [{"group": group, "setting": name, **asdict(m)} for m in clips.measures]


def network(setting: Setting, device: torch.device) -> Network:
    """The shapes world's network with its adapters, whose scales follow the setting."""
    checkpoint = WEIGHTS / (BASE if setting.spatial is None else CUSTOMIZED)
    made = Network(checkpoint, device, motion_adapter=WEIGHTS / MOTION_ADAPTER)
    _follow(made, partial(set_motion_scale, made.unet), setting.motion)
    if setting.spatial is not None:
        path = WEIGHTS / SPATIAL_ADAPTER
        layout, adapter = read_unet(checkpoint).layout, load_adapter(path, kind="spatial")
        adapters = load_spatial_adapter(made.unet, adapter, layout, str(path))
        _follow(made, adapters.set_scale, setting.spatial)
    return made


def _follow(made: Network, set_scale: Callable[[float], None], scale: Scale) -> None:
    """Set the scale before each call of the network, by how far its timestep is.

    Progress counts as in ComfyUI: a share of the timesteps, not of the steps.
    """

    def before(_unet: torch.nn.Module, inputs: Sequence[Any]) -> None:
        progress = 1 - float(inputs[1].flatten()[0]) / LAST
        set_scale(scale.at(progress) if isinstance(scale, ScaleSchedule) else scale)

    made.unet.register_forward_pre_hook(before)


def inverted(rounds: int, count: int, device: torch.device) -> list[Row]:
    """How far from a real clip what its start noise gives back is, with an empty prompt."""
    files = read_unet(WEIGHTS / BASE), read_motion_module(WEIGHTS / MOTION_MODULE)
    unet = build_unet(*files, torch.float32, device)
    empty = inversion.network_of(unet, latents.encode_prompt(""))
    rows = []
    for seed, scene in enumerate(world.spread(world.all_scenes(), count)):
        frames = world.make_clip(scene, torch.Generator().manual_seed(seed)).frames
        clip = latents.encode_world(frames).transpose(0, 1)[None]
        start = inversion.invert(empty, clip, INVERSION_STEPS, rounds)
        error = inversion.round_trip_error(empty, clip, start, INVERSION_STEPS)
        rows.append({"group": "refine", "setting": str(rounds), "error": error})
    return rows


def report(rows: Sequence[Row], prompts: int, origin: Mapping[str, Any]) -> str:
    """The tables, as Markdown."""
    lines = [
        f"`python benchmarks sliders`, commit {origin['commit']}, {machine()},"
        f" {origin['seconds']} s. {prompts} prompts a row, the same seeds in every row. Mean and"
        " standard error. Against: the difference, clip by clip, from the Motion Adapter at 0 and,"
        " with the look sks, the Spatial Adapter at 1.",
    ]
    titles = TITLES | {f"{name}_against": title for name, title in AGAINST.items()}
    for group, settings in GROUPS.items():
        numbers = {name: _numbers(rows, group, name) for name in settings}
        lines += ["", f"**{group}**", "", *table(numbers, titles)]
    errors = {
        f"refine {n}, {n + 1} calls a step": means(_own(rows, "refine", str(n)), ("error",))
        for n in ROUNDS
    }
    head = {"error": "what comes back less the clip, RMS over the clip's"}
    lines += ["", f"**Invert Clip, {INVERSION_STEPS} steps**", "", *table(errors, head)]
    return "\n".join(lines)


def _numbers(rows: Sequence[Row], group: str, name: str) -> dict[str, float]:
    """A setting's measures, and what they are more than those of the usual scales."""
    own, styled = _own(rows, group, name), GROUPS[group][name].spatial is not None
    usual = _own(rows, *((ON_STYLE, "1") if styled else (ON_BASE, "0")))
    numbers = means(own, tuple(TITLES))
    for measure in AGAINST:
        more = [a[measure] - b[measure] for a, b in zip(own, usual, strict=True)]
        numbers[f"{measure}_against"], numbers[f"{measure}_against_error"] = mean(more)
    return numbers


def _own(rows: Sequence[Row], group: str, setting: str) -> list[Row]:
    return [row for row in rows if row["group"] == group and row["setting"] == setting]
