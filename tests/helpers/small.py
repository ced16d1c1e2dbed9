"""Small real objects for the tests of training: networks, sets and jobs in the shapes layout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from diffusers import UNetMotionModel
from torch import Tensor

from helpers import card
from helpers.real_size import write_random
from helpers.small_files import MODULE_SHAPES, PREFIX, UNET_SHAPES, random_tensors, shapes_unet
from still_moving import cli
from still_moving.adapters.files.adapter import Adapter, load_adapter, save_adapter
from still_moving.adapters.files.checkpoint import UNetWeights
from still_moving.adapters.files.motion_module import MotionModule, recognize
from still_moving.adapters.low_rank import LowRank
from still_moving.training.jobs.job import Job, JobFolder
from still_moving.training.network.unet import build_unet, predict
from still_moving.training.recipes import recipe as recipes
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.sets.store import Item, LoadedSet, Record, SetWriter, object_name
from still_moving.training.stage.loop import StageTraining

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
FRAMES, SIZE, TOKENS, TEXT = 3, 4, 6, 64
PATIENCE_S = 240  # for a worker's start on a busy machine


@cache
def weights() -> UNetWeights:
    return shapes_unet()


@cache
def motion_module() -> MotionModule:
    tensors = random_tensors(MODULE_SHAPES, seed=1)
    return MotionModule(recognize("random", tensors), tensors, "a" * 64, "random")


def new_unet(dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> UNetMotionModel:
    return build_unet(weights(), motion_module(), dtype, device)


def clip_inputs(clips: int = 1, seed: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy, timesteps, text) for ``predict``."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(clips, 4, FRAMES, SIZE, SIZE, generator=generator)
    text = torch.randn(clips, TOKENS, TEXT, generator=generator)
    return noisy, torch.full((clips,), 321), text


@torch.no_grad()
def prediction(unet: UNetMotionModel) -> Tensor:
    return predict(unet, *clip_inputs())


def randomize(tensors: Iterable[Tensor], size: float = 0.1) -> None:
    """Fill trained parameters as if much had been learned: nothing stays zero."""
    generator = torch.Generator().manual_seed(11)
    for tensor in tensors:
        tensor.data.copy_(size * torch.randn(tensor.shape, generator=generator))


def training_set(kind: str, count: int = 3, frames: int = FRAMES, size: int = SIZE) -> LoadedSet:
    generator = torch.Generator().manual_seed(count + frames)
    items = [
        Item(
            f"{kind} {i}",
            f"caption {i}",
            torch.randn(1 if kind == "stills" else frames, 4, size, size, generator=generator),
            torch.randn(TOKENS, TEXT, generator=generator),
            f"{i}.png",
        )
        for i in range(count)
    ]
    return LoadedSet(kind, "random", tuple(items))


@cache
def sets() -> Mapping[str, LoadedSet]:
    """Under every name that the two default recipes use."""
    stills, clips = training_set("stills"), training_set("clips", frames=FRAMES + 1)
    return {"frames": clips, "customized": stills, "natural": clips}


SHORT = {"frames": FRAMES, "rank": 2, "lr": 1e-2, "steps": 6, "held_out": 2, "tier": "none"}


def motion_recipe(**overrides) -> Recipe:
    return recipes.motion_adapter(**{**SHORT, **overrides})


def spatial_recipe(**overrides) -> Recipe:
    return recipes.spatial_adapter(**{**SHORT, **overrides})


def new_training(
    recipe: Recipe, dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> StageTraining:
    """The first stage of a recipe, over a network with the adapters that it uses attached."""
    from still_moving.training.network.lora import load_motion_adapter

    unet = new_unet(dtype, device)
    if recipe.stages[0].use:
        load_motion_adapter(unet, random_motion_adapter(), "random")
    return StageTraining(recipe, 0, unet, weights().layout, dict(sets()))


@cache
def random_motion_adapter() -> Adapter:
    from helpers.small_files import motion_adapter

    adapter = motion_adapter(rank=2)
    pairs = {name: LowRank(0.1 * p.down, 0.1 * p.up) for name, p in adapter.pairs.items()}
    return Adapter(adapter.info, pairs)


def write_set(folder: Path, loaded: LoadedSet) -> Path:
    """A cached set on disk, as the cache command leaves it."""
    records = []
    with SetWriter(folder) as writer:
        for i, item in enumerate(loaded.items):
            latents, text = f"a{i:063x}", f"b{i:063x}"
            writer.add(latents, "latents", item.latents)
            writer.add(text, "text", item.text)
            frames, _, height, width = item.latents.shape
            names = object_name(latents), object_name(text)
            size = (8 * width, 8 * height)
            records.append(Record(item.id, item.source, item.caption, *names, frames, size))
        manifest = {
            "format": 1,
            "kind": loaded.kind,
            "encoder": loaded.encoder,
            "options": {},
            "items": [{**vars(r), "size": list(r.size)} for r in records],
        }
        writer.commit(manifest, b"no picture")
    return folder


def write_files(folder: Path) -> dict[str, Path]:
    """Every file that a job can name, by what it is."""
    files = {
        "checkpoint": folder / "base.safetensors",
        "motion_module": folder / "module.safetensors",
        "adapter": folder / "motion adapter.safetensors",
    }
    write_random(files["checkpoint"], {PREFIX + k: v for k, v in UNET_SHAPES.items()}, seed=0)
    write_random(files["motion_module"], MODULE_SHAPES, seed=1)
    save_adapter(files["adapter"], random_motion_adapter())
    for name in ("frames", "customized", "natural"):
        files[name] = write_set(folder / name, sets()[name])
    return files


def new_job(
    path: Path, recipe: Recipe, files: Mapping[str, Path], name: str = "made", **more: Any
) -> JobFolder:
    """more: what else a ``Job`` says, on the CPU unless that is a device."""
    stages = recipe.stages
    job = Job(
        name=name,
        recipe=recipe,
        checkpoint=str(files["checkpoint"]),
        motion_module=str(files["motion_module"]),
        sets={s.set: str(files[s.set]) for stage in stages for s in stage.sources},
        adapters={use: str(files["adapter"]) for stage in stages for use in stage.use},
        **{"device": "cpu", **more},
    )
    return JobFolder.create(path, job)


def learned(folder: JobFolder, name: str = "made") -> dict[str, Tensor]:
    """The tensors of a job's finished adapter by name."""
    pairs = load_adapter(folder.exports / f"{name}.safetensors").pairs
    return {f"{k}.{part}": getattr(p, part) for k, p in pairs.items() for part in ("down", "up")}


def curve(folder: JobFolder) -> list[tuple]:
    """What a plot of the job draws: everything but times and memory."""
    kept = ("step", "skipped", "held_out")
    names = ("event", "stage", "step", "loss", "loss_average", "grad_norm")
    return [
        tuple(event.get(name) for name in names)
        for event in folder.read_events()
        if event["event"] in kept
    ]


def differences(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    assert set(one) == set(other)
    return [name for name in one if not torch.equal(one[name], other[name])]


def environment(**more: str) -> dict[str, str]:
    """Of a child process: one thread, so that its sums come out as ours do; nothing set for it.

    It is on the pretended card if this process is.
    """
    mine = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "PYTHONPATH")}
    return {**mine, "OMP_NUM_THREADS": "1", **card.inherited(), **more}


def command(*arguments: object, root: Path = ROOT) -> list[str]:
    return [sys.executable, str(root), *map(str, arguments)]


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command of the pack in a child process, running."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        encoding="utf-8",
    )


def run(*arguments: object, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """A command of the pack in a child process, to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        encoding="utf-8",
    )


def wait_for(truth: Callable[[], bool], child: subprocess.Popen[str], description: str) -> None:
    """Until something holds; fails when the child ends before, or after ``PATIENCE_S``."""
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        if child.poll() is not None and not truth():
            raise AssertionError(f"ended before {description}: {child.communicate()}")
        assert time.monotonic() < deadline, f"waited too long for {description}"
        time.sleep(0.02)


def main(*arguments: object) -> tuple[int, str]:
    """(exit code, standard output) of a command in this process."""
    out = StringIO()
    with redirect_stdout(out):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
    return code, out.getvalue()
