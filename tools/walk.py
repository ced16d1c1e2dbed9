"""Maintainer's script: from one press of Train to a clip with both adapters, timed.

``python tools walk [MODE ...]``: the template customize in classic mode, in Nodes 2.0, as an app
and over the API. Each begins with a ComfyUI of its own that has trained nothing. It presses once,
generates another clip while it trains, and runs the workflow; a picture of each stage goes to
docs/pictures/. Prints seconds as a table in Markdown.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Page as Window

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.examples import api_form, ui_form
from helpers.host.live import ROOT, Server, frontend_of
from still_moving.training.jobs.phase import ENDED

TEMPLATE, MEANWHILE = "customize", "long_clip"
TRAINER = "StillMovingTrainSpatialAdapter"
PICTURES = ROOT / "docs" / "pictures"
PATIENCE_S = 3600
PRESS = """type => {
  const node = app.graph._nodes.find(it => it.type === type);
  node.widgets.find(it => it.type === 'button').callback();
}"""
OPEN_APP = "graph => window.app.loadGraphData(graph, true, true, null)"
CONTROLS = "[data-testid=linear-widgets]"


class Walk:
    """One ComfyUI, and the seconds that each stage took in it."""

    def __init__(self, server: Server, mode: str):
        self.server, self.mode = server, mode
        self.seconds: dict[str, float] = {}
        self.begun = time.monotonic()

    def go(
        self, press: Callable[[], object], run: Callable[[], object], look: Callable[[str], None]
    ):
        """press, run: what is pressed. look: takes a picture of a stage."""
        look("opened")
        self.begun = time.monotonic()
        press()
        self.wait("a press to its jobs", lambda: bool(self.jobs()))
        self.wait("to a free queue", self.is_free)
        self.wait("to the first clip drawn to train on", lambda: self.has_begun(drawing=True))
        look("training")
        begun = time.monotonic()
        self.server.run(api_form(MEANWHILE))
        self.seconds["a long clip meanwhile"] = time.monotonic() - begun
        self.wait("to the first step", lambda: self.has_begun(drawing=False))
        self.wait("to both adapters", self.is_trained)
        begun = time.monotonic()
        run()
        self.seconds["Run to the clip"] = time.monotonic() - begun
        look("clip")

    def wait(self, name: str, happened: Callable[[], bool]) -> None:
        self.server.wait_until(happened, PATIENCE_S)
        self.seconds[name] = time.monotonic() - self.begun

    def has_begun(self, drawing: bool) -> bool:
        """Whether a job has drawn an item, or is past that; or has made a step."""
        done = [job for job in self.jobs() if job["step"] >= 1 or job["phase"] in ENDED]
        return any(drawing or not job["drawing"] for job in done)

    def jobs(self) -> list[dict]:
        return self.server.get("/still_moving/jobs")["jobs"]

    def is_free(self) -> bool:
        queue = self.server.get("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def is_trained(self) -> bool:
        jobs = self.jobs()
        if failed := [job["message"] for job in jobs if job["phase"] in ("failed", "stopped")]:
            sys.exit("\n".join(failed))
        return len(jobs) == 2 and all(job["phase"] in ENDED and job["adapter"] for job in jobs)


def in_the_editor(walk: Walk, page: Page) -> None:
    page.load(ui_form(TEMPLATE))
    page.show_all()

    def look(stage: str) -> None:
        page.show_all()
        shoot(page.page, walk.mode, stage)

    walk.go(lambda: page.page.evaluate(PRESS, TRAINER), page.run, look)


def as_an_app(walk: Walk, page: Page) -> None:
    graph = ui_form(TEMPLATE)
    graph["extra"]["linearMode"] = True
    window = page.page
    window.evaluate(OPEN_APP, graph)
    skip = window.get_by_text("Skip", exact=True)  # the editor's own welcome
    skip.wait_for()
    skip.click()
    train = window.locator(CONTROLS).get_by_role("button", name="Train", exact=True)
    walk.go(train.click, page.run, lambda stage: shoot(window, walk.mode, stage))


def over_the_api(walk: Walk) -> None:
    prompt = api_form(TEMPLATE)
    (trainer,) = (key for key, node in prompt.items() if node["class_type"] == TRAINER)
    for key, node in prompt.items():  # who the adapters belong to
        if node["class_type"].startswith("StillMovingTrain"):
            node["inputs"]["node_uid"] = f"walk-{key}"

    def press() -> None:
        pressed = json.loads(json.dumps(prompt))
        pressed[trainer]["inputs"]["run_token"] = "walk"
        body = {"prompt": pressed, "partial_execution_targets": [trainer]}
        walk.server.post("/prompt", body)

    walk.go(press, lambda: walk.server.run(prompt), lambda stage: None)


def shoot(window: Window, mode: str, stage: str) -> None:
    window.wait_for_timeout(1500)
    path = PICTURES / f"customize-{mode}-{stage}.jpg"
    window.screenshot(path=str(path), type="jpeg", quality=70)


MODES = ("classic", "nodes-2", "app", "api")


def main() -> str | None:
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        return f"no browser: {reason}"
    modes = sys.argv[1:] or MODES
    walks = [walked(comfyui, mode) for mode in modes]
    stages = list(walks[0].seconds)
    print(f"| | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    for stage in stages:
        print(f"| {stage} | {' | '.join(f'{walk.seconds[stage]:.1f}' for walk in walks)} |")
    return None


def walked(comfyui: Path, mode: str) -> Walk:
    with ExitStack() as stack:
        base = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Server(comfyui, Path(base), frontend_of(comfyui)))
        walk = Walk(server, mode)
        if mode == "api":
            over_the_api(walk)
            return walk
        browser = stack.enter_context(Browser(server))
        page = stack.enter_context(browser.open(nodes_2=mode != "classic"))
        (as_an_app if mode == "app" else in_the_editor)(walk, page)
        return walk
