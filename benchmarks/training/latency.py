"""What a press of Train takes, and what a prompt takes while a job trains: JSON lines.

``python benchmarks training.latency --json [--comfyui ~/comfy/ComfyUI] [--repeats 7]
[--device gpu]``. On the shapes world, on a started ComfyUI. Train is pressed twice: the second time
its training set is drawn already. A prompt of one image is timed alone, and under each way to share
the device; while it yields, it should take at most 1.1 times as long as alone, and one step more.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.host.live import Server
from helpers.host.training_graph import motion_graph, node, pressed

HOME = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
POLICIES = ("yield", "keep", "share")
LONG = 100_000  # steps: until it is deleted
PATIENCE_S = 240.0
LOOK_S, GONE_S = 0.005, 3.0
SLACK = 1.1  # of a prompt alone, that one with a job may take, beside one step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, default=HOME, help="a ComfyUI checkout")
    parser.add_argument("--repeats", type=int, default=7, help="prompts of each kind")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--policies", choices=POLICIES, nargs="+", default=POLICIES)
    parser.add_argument("--image-steps", type=int, default=50, help="of a prompt's sampling")
    parser.add_argument("--json", action="store_true", help="print the numbers only")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as base,
        Server(options.comfyui, Path(base) / "base", pages(Path(base)), options.device) as server,
    ):
        bench = Bench(server, options.image_steps, quiet=options.json)
        print(json.dumps(bench.click()), flush=True)
        print(json.dumps(bench.sharing(options.repeats, options.policies)), flush=True)


def pages(base: Path) -> Path | None:
    """An empty folder in place of ComfyUI's pages where they are not installed: none is opened."""
    if importlib.util.find_spec("comfyui_frontend_package") is not None:
        return None
    folder = base / "pages"
    folder.mkdir()
    return folder


class Bench:
    """A server, and what is asked of it."""

    def __init__(self, server: Server, image_steps: int, quiet: bool):
        self.server, self.quiet, self.pressed, self.seed = server, quiet, 0, 0
        self.image_steps = image_steps
        self.jobs = server.base / "user" / "still_moving" / "jobs"

    def say(self, message: str) -> None:
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    # From the press to the first step

    def click(self) -> dict[str, Any]:
        """Seconds of each part of the way; the parts follow each other."""
        times, ids = {}, []
        for name in ("set_drawn", "set_there"):
            id, times[name] = self.timed_press(ids)
            self.say(f"{name}: {times[name]}")
            self.server.post(f"/still_moving/jobs/{id}/stop", {})
            self.server.wait_until(lambda id=id: self.job(id)["phase"] == "stopped")
            ids.append(id)
            time.sleep(GONE_S)  # the next one would wait for its process to go
        for id in ids:  # not before: a set goes with the last job that uses it
            self.delete(id)
        return {"click_to_first_step": times}

    def press(self, policy: str = "yield") -> dict[str, Any]:
        """Post the graph as the button does. The set stays the same, so it is drawn once."""
        self.pressed += 1
        prompt = pressed(motion_graph(LONG, "timed"), token=f"press {self.pressed}")
        prompt["train"]["inputs"]["sharing"] = policy
        return json.loads(self.server.post("/prompt", {"prompt": prompt}))

    def timed_press(self, known: list[str]) -> tuple[str, dict[str, float]]:
        """(the job, seconds until each thing was so, with the whole at the end)."""
        clicked = time.time()
        prompt = self.press()["prompt_id"]
        moments = {"prompt_answered": time.time()}
        folder = self.seen(lambda: self.new_folder(known))
        drawn = self.seen(lambda: _changed(set_file(folder)))
        self.seen(lambda: _changed(folder / "pid") > drawn)  # the process that trains
        loading = self.seen(lambda: newer(folder / "state.json", folder / "pid"))
        events = self.seen(lambda: self.events(folder))
        moments["graph_begun"] = self.moment(prompt, "execution_start")
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        moments["words_read_and_weights_baked"] = about["created"]
        moments["set_drawn"] = max(drawn, about["created"])
        moments["process_started"] = _changed(folder / "pid")
        moments["packages_imported"] = loading
        moments["network_built"] = events["running"]
        moments["held_out_loss"] = events["held_out"]
        moments["first_step"] = events["step"]
        parts, before = {}, clicked
        for name, moment in moments.items():
            parts[name], before = round(moment - before, 3), moment
        parts["whole"] = round(before - clicked, 3)
        parts["until_the_queue_is_free"] = round(
            self.moment(prompt, "execution_success") - clicked, 3
        )
        return folder.name, parts

    def new_folder(self, known: list[str]) -> Path | None:
        return next((f for f in self.jobs.glob("[!.]*") if f.name not in known), None)

    def seen(self, look: Any) -> Any:
        """What a look finds, as soon as it finds something."""
        end = time.monotonic() + PATIENCE_S
        while not (value := look()):
            if time.monotonic() > end:
                raise TimeoutError(f"not seen:\n{self.server.tail()}")
            time.sleep(LOOK_S)
        return value

    def events(self, folder: Path) -> dict[str, float]:
        """When each event first was; nothing before the first step."""
        path, first = folder / "events.jsonl", {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            event = json.loads(line)
            first.setdefault(event.get("phase", event["event"]), event["time"])
        return first if "step" in first else {}

    # A prompt beside a job

    def sharing(self, repeats: int, policies: Sequence[str]) -> dict[str, Any]:
        """Median seconds of a prompt alone and with a job, and what one step takes."""
        self.image()  # loads what every later one finds loaded
        alone = [self.image() for _ in range(repeats)]
        medians, steps = {}, []
        for policy in policies:
            prompt = self.press(policy)["prompt_id"]
            (id,) = self.history(prompt)["outputs"]["train"]["still_moving_job"]
            seconds = []
            for _ in range(repeats):
                steps.append(self.wait_for_training(id))
                seconds.append(self.image())
            self.delete(id)
            medians[policy] = statistics.median(seconds)
            self.say(f"{policy}: {seconds}")
            alone += [self.image() for _ in range(repeats)]
        plain, step = statistics.median(alone), statistics.median(steps)
        over = {policy: seconds - SLACK * plain for policy, seconds in medians.items()}
        return {
            "prompt_alone_s": round(plain, 3),
            "prompt_with_job_s": {policy: round(s, 3) for policy, s in medians.items()},
            "ratio": {policy: round(s / plain, 3) for policy, s in medians.items()},
            "training_step_s": round(step, 3),
            f"steps_beyond_{SLACK}_times_alone": {p: round(s / step, 3) for p, s in over.items()},
        }

    def image(self) -> float:
        """Seconds from posting a prompt of one image to its end, by the server's clock."""
        self.seed += 1
        begun = time.time()
        sent = json.loads(
            self.server.post("/prompt", {"prompt": image_graph(self.seed, self.image_steps)})
        )
        return self.moment(sent["prompt_id"], "execution_success") - begun

    def history(self, prompt: str) -> dict[str, Any]:
        self.server.wait_until(lambda: prompt in self.server.get(f"/history/{prompt}"))
        return self.server.get(f"/history/{prompt}")[prompt]

    def moment(self, prompt: str, message: str) -> float:
        """When ComfyUI said this of a prompt, in seconds since 1970."""
        messages = dict(self.history(prompt)["status"]["messages"])
        return messages[message]["timestamp"] / 1000

    def wait_for_training(self, id: str) -> float:
        """Until some steps were taken in peace; seconds of one."""
        at = self.job(id)["step"]
        self.server.wait_until(
            lambda: (
                (job := self.job(id))["phase"] == "running"
                and not job["drawing"]
                and job["step"] > at + 3
            )
        )
        return self.job(id)["seconds_per_step"]

    def job(self, id: str) -> dict[str, Any]:
        return self.server.get(f"/still_moving/jobs/{id}")

    def delete(self, id: str) -> None:
        self.server.delete(f"/still_moving/jobs/{id}")


def image_graph(seed: int, steps: int) -> dict[str, Any]:
    """One image of the shapes world."""

    def plain(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    return {
        "world": node("LoadShapesWorld"),
        "words": plain("CLIPTextEncode", text="red circle left night", clip=["world", 2]),
        "nothing": plain("CLIPTextEncode", text="", clip=["world", 2]),
        "empty": plain("EmptyLatentImage", width=128, height=128, batch_size=1),
        "latents": plain(
            "KSampler", model=["world", 0], positive=["words", 0], negative=["nothing", 0],
            latent_image=["empty", 0], seed=seed, steps=steps, cfg=2.0,
            sampler_name="euler_ancestral", scheduler="sgm_uniform", denoise=1.0,
        ),
        "image": plain("VAEDecode", samples=["latents", 0], vae=["world", 3]),
        "shown": plain("PreviewImage", images=["image", 0]),
    }  # fmt: skip  # a node a line


def newer(path: Path, other: Path) -> float:
    """When a file was written last, if that is after the other one; else 0."""
    at = _changed(path)
    return at if at >= _changed(other) else 0.0


def set_file(folder: Path) -> Path:
    """The list of the set that a job trains on."""
    (place,) = json.loads((folder / "job.json").read_text(encoding="utf-8"))["sets"].values()
    return Path(place) / "set.json"


def _changed(path: Path) -> float:
    """When a file was written last, in seconds since 1970; 0 without it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
