"""The command line on Windows, as an artist would type it: from clips to a LoRA."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from helpers.small import differences
from still_moving.demo.data import write_natural_clips, write_stills
from still_moving.demo.world import all_scenes, footage, make_clip, spread

from .checks import Checks
from .place import PACK, Place

PATIENCE_S = 400
NAME = "dög 红"  # beyond the code page of any one country
STEPS = 12


class Commands:
    """The pack's command line in the portable folder; every path is as one types it there."""

    def __init__(self, place: Place):
        self.place, self.folder = place, place.portable
        self.weights = f"ComfyUI\\custom_nodes\\{PACK}\\worlds\\shapes\\weights"

    def line(self, *words: str) -> list[str]:
        return [self.place.python, "-s", f"ComfyUI\\custom_nodes\\{PACK}", *words]

    def run(self, *words: str) -> list[str]:
        """The lines that a command printed, both streams. Raises AssertionError if it failed."""
        lines: list[str] = []
        code = self.place.wine.run(self.line(*words), self.folder, lines.append, PATIENCE_S)
        assert code == 0, f"exit code {code}: {lines[-5:]}"
        return lines

    def train(self, kind: str, job: str, *more: str) -> list[str]:
        return self.line(
            *("train", kind, job, "--checkpoint", f"{self.weights}\\shapes_customized.safetensors"),
            *("--motion-module", f"{self.weights}\\shapes_motion_module.safetensors", "--name"),
            *(NAME, "--steps", str(STEPS), "--rank", "4", "--save-every", "3", "--json", *more),
        )


def run(place: Place, checks: Checks) -> None:
    """Cache, train, kill, resume, export, inspect."""
    commands = Commands(place)
    motion = [*("--frames-set", "natural set"), *("--frames", "8")]
    with checks.one("clips and pictures are cached"):
        clear(place)
        write(place)
        commands.run("cache", "natural ü", "natural set", "--shapes", *small("clips"))
        commands.run("cache", "stills 红", "stills set", "--shapes", *small("stills"))
    with checks.one("a Motion Adapter is trained without a break"):
        finish(commands, commands.train("motion", "whole", *motion))
    with checks.one("killed twice and resumed, it is the same bit for bit") as words:
        kill_at(commands, commands.train("motion", "killed ü", *motion), 4)
        kill_at(commands, commands.line("train", "resume", "killed ü", "--json"), 8)
        finish(commands, commands.line("train", "resume", "killed ü", "--json"))
        whole, killed = (load_file(adapter(place, job)) for job in ("whole", "killed ü"))
        assert differences(whole, killed) == []
        words.append(f"{len(whole)} tensors")
    with checks.one("a Spatial Adapter is trained on top"):
        more = ["--customized", "stills set", "--natural", "natural set"]
        more += ["--frames", "4", "--motion-adapter", f"whole\\export\\{NAME}.safetensors"]
        finish(commands, commands.train("spatial", "spatial", *more))
    with checks.one("the Spatial Adapter is exported as a LoRA"):
        made = f"spatial\\export\\{NAME}.safetensors"
        checkpoint = f"{commands.weights}\\shapes_customized.safetensors"
        commands.run("export", made, f"{NAME} lora.safetensors", "--checkpoint", checkpoint)
        assert (place.portable / f"{NAME} lora.safetensors").is_file()
    with checks.one("inspect names all of it, in this code page and as JSON") as words:
        paths = [made, f"whole\\export\\{NAME}.safetensors", "natural set"]
        lines = commands.run("inspect", *paths)
        told = [json.loads(line) for line in commands.run("inspect", "--json", *paths)]
        assert [facts["path"] for facts in told] == paths
        words.append(lines[0])


def small(kind: str) -> list[str]:
    return ["--kind", kind, "--width", "128", "--height", "128", "--frames", "8"]


def write(place: Place) -> None:
    """Footage and pictures of the shapes world, with captions."""
    write_natural_clips(place.portable / "natural ü", 3, seed=1)
    generator = torch.Generator().manual_seed(2)
    scenes = spread(all_scenes(), 3)
    stills = torch.stack([footage(make_clip(s, generator).frames)[0] for s in scenes])
    write_stills(place.portable / "stills 红", stills, scenes)


def clear(place: Place) -> None:
    """Away with what an earlier run has left in the folder that commands are typed in."""
    for path in place.portable.iterdir():
        if path not in (place.python_folder, place.comfyui):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def adapter(place: Place, job: str) -> Path:
    return place.portable / job / "export" / f"{NAME}.safetensors"


def finish(commands: Commands, command: list[str]) -> None:
    lines: list[str] = []
    code = commands.place.wine.run(command, commands.folder, lines.append, PATIENCE_S)
    assert code == 0, f"exit code {code}: {lines[-5:]}"


def kill_at(commands: Commands, command: list[str], step: int) -> None:
    """End a training's process from outside as soon as it says that it took this step."""
    process = commands.place.wine.popen(command, commands.folder)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.decode("utf-8", errors="replace"))
        event = json.loads(line) if line.startswith(b"{") else {}
        if event.get("event") == "step" and event["step"] >= step:
            break
    process.kill()
    process.wait()
    assert event.get("step", 0) >= step, f"it ended before step {step}: {lines[-5:]}"
