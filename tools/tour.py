"""Maintainer's script, ``make tour``: the artist's path in a browser, from Train to a clip.

Opens the training workflow on a started ComfyUI, trains both adapters while it generates, runs the
clip that uses them, and writes a picture of each stage, in classic and in Nodes 2.0 mode, to
docs/pictures/. Prints as JSON what it timed, and the demo's numbers of the adapters it trained.
"""

import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.examples import TRAINING, api_form, picture, ui_form
from helpers.host.live import ROOT, Server, frontend_of
from still_moving.training.jobs.phase import ENDED

PICTURES = ROOT / "docs" / "pictures"
LARGEST, QUALITY = (1500, 1500), 80
TRAINERS = {"motion": "StillMovingTrainMotionAdapter", "spatial": "StillMovingTrainSpatialAdapter"}
APPLIED = {"motion": "StillMovingApplyMotionAdapter", "spatial": "StillMovingApplySpatialAdapter"}
PRESS = """type => {
  const node = app.graph._nodes.find(it => it.type === type);
  node.widgets.find(it => it.type === 'button').callback();
}"""
MANY = 48  # prompts
SHOWN = ("fidelity", "fidelity_error", "motion", "motion_error", "prompt_accuracy")
PATIENCE_S = 1800


class Tour:
    """One ComfyUI, one browser, and the times that things took."""

    def __init__(self, server: Server, browser: Browser):
        self.server, self.browser = server, browser
        self.seconds: dict[str, float] = {}
        self.adapters: dict[str, str] = {}

    def walk(self) -> dict[str, float]:
        with self.browser.open() as page:
            page.load(ui_form(TRAINING))
            shoot(page, "train-1-opened")
            self.train(page, "motion", "train-2-running", meanwhile=True)
            self.train(page, "spatial", "train-3-spatial")
            page.run()
            shoot(page, "train-4-clip")
            shutil.copyfile(PICTURES / "train-4-clip.jpg", picture(TRAINING))
        return self.seconds

    def train(self, page: Page, kind: str, name: str, meanwhile: bool = False) -> None:
        """Press Train, look at it in both modes, and wait for the adapter."""
        known = {job["id"] for job in self.jobs()}
        begun = time.monotonic()
        page.page.evaluate(PRESS, TRAINERS[kind])
        self.server.wait_until(lambda: bool({job["id"] for job in self.jobs()} - known), PATIENCE_S)
        (id,) = {job["id"] for job in self.jobs()} - known
        self.seconds[f"{kind}: click to job, sets included"] = time.monotonic() - begun
        self.server.wait_until(lambda: self.has_trained(id, 1), PATIENCE_S)
        self.seconds[f"{kind}: click to first step"] = time.monotonic() - begun
        if meanwhile:
            self.generate("a clip while it trains")
        self.server.wait_until(lambda: self.has_trained(id, 60), PATIENCE_S)
        shoot(page, name)
        workflow = page.page.evaluate("app.graph.serialize()")
        if self.browser.has_nodes_2:
            with self.browser.open(nodes_2=True) as second:
                second.load(workflow)
                shoot(second, f"{name}-nodes-2")
            self.server.post("/settings/Comfy.VueNodes.Enabled", False)
        self.server.wait_until(lambda: self.job(id)["phase"] in ENDED, PATIENCE_S)
        if self.job(id)["phase"] != "finished":
            sys.exit(self.job(id)["message"])
        self.adapters[APPLIED[kind]] = self.job(id)["adapter"]
        self.seconds[f"{kind}: click to adapter"] = time.monotonic() - begun
        self.generate(f"a clip after the {kind} job")

    def numbers(self) -> dict[str, float]:
        """What the demo promises, of the adapters that were trained here."""
        from helpers.host.measured import clips_of, motion

        slider = clips_of(self.server, "motion_slider", None, self.adapters)
        numbers = {
            f"motion at {scale}": motion(slider[f"motion_slider_{i}"])
            for i, scale in enumerate(("1", "0.5", "0", "-0.5", "-1"), 1)
        }
        # These are near each other, and a mean over 16 clips has a standard error of 0.04.
        ways: dict[str, tuple] = {"customized_clip": ("sks", "injected", "still_moving")}
        ways["motion_slider"] = (None, "motion_slider_3")
        for name, (look, *only) in ways.items():
            by_label = clips_of(self.server, name, look, self.adapters, prompts=MANY, only=only)
            for label, clips in by_label.items():
                numbers |= {f"{label}: {k}": v for k, v in clips.summary().items() if k in SHOWN}
        return numbers

    def generate(self, title: str) -> None:
        """Time an example's prompt, as another tab would queue it."""
        prompt = api_form("customized_clip")
        for node in prompt.values():
            if "seed" in node["inputs"]:
                node["inputs"]["seed"] = len(self.seconds)
        begun = time.monotonic()
        self.server.run(prompt)
        self.seconds[title] = time.monotonic() - begun

    def has_trained(self, id: str, steps: int) -> bool:
        job = self.job(id)
        return job["phase"] in ENDED or (not job["drawing"] and job["step"] >= steps)

    def jobs(self) -> list[dict]:
        return self.server.get("/still_moving/jobs")["jobs"]

    def job(self, id: str) -> dict:
        return self.server.get(f"/still_moving/jobs/{id}")


def shoot(page: Page, name: str) -> None:
    """A picture of the whole workflow."""
    shot = Image.open(io.BytesIO(page.picture())).convert("RGB")
    shot.thumbnail(LARGEST, Image.Resampling.LANCZOS)
    PICTURES.mkdir(parents=True, exist_ok=True)
    shot.save(PICTURES / f"{name}.jpg", quality=QUALITY, optimize=True)


def main() -> None:
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        sys.exit(f"no browser: {reason}")
    with (
        tempfile.TemporaryDirectory() as base,
        Server(comfyui, Path(base), frontend_of(comfyui)) as server,
        Browser(server) as browser,
    ):
        tour = Tour(server, browser)
        numbers = tour.walk() | tour.numbers()
    print(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=1))
