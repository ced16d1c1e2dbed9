"""Maintainer's script, ``make workflows``: from the example workflows in UI form, everything else.

Opens each workflows/*.json in a browser on a started ComfyUI, writes its API form as the editor
sends it, runs it there, and takes its picture with the results on the nodes.
"""

import io
import json
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.examples import API, NAMES, ONE_PRESS, TRAINING, picture, ui_form
from helpers.host.live import Server, frontend_of
from still_moving.training.jobs.phase import ENDED

PRESS = """() => app.graph.nodes.find(it => it.type === 'StillMovingTrainSpatialAdapter')
  .widgets.find(it => it.type === 'button').callback()"""
PATIENCE_S = 1800
QUALITY = 82
LARGEST = (1800, 1800)


def main() -> None:
    names = sys.argv[1:]
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        sys.exit(f"no browser: {reason}")
    API.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as base,
        Server(comfyui, Path(base), frontend_of(comfyui)) as server,
        Browser(server) as browser,
        browser.open() as page,
    ):
        for name in names or NAMES:
            if missing := page.load(ui_form(name)):
                sys.exit(f"{name}: unknown nodes {missing}")
            prompt = page.api_form()
            for node in prompt.values():
                node["inputs"].pop("node_uid", None)  # a name that this page made up
            text = json.dumps(prompt, indent=1) + "\n"
            (API / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
            if name == ONE_PRESS:
                train(page, server)
            if name != TRAINING:
                take_picture(page, name)


def train(page: Page, server: Server) -> None:
    """Press Train on the Spatial Adapter's node, and wait until both adapters are there."""

    def phases() -> set[str]:
        return {job["phase"] for job in server.get("/still_moving/jobs")["jobs"]}

    page.page.evaluate(PRESS)
    server.wait_until(lambda: bool(phases()), PATIENCE_S)
    server.wait_until(lambda: phases() <= set(ENDED), PATIENCE_S)
    if phases() != {"finished"}:
        sys.exit(f"training: {phases()}")


def take_picture(page: Page, name: str) -> None:
    """The workflow after it ran, all of it in view."""
    page.run()
    if grown := page.overlaps():  # previews have come
        print(f"{name}: after a run, one lies over the other: {', '.join(grown)}")
    shot = Image.open(io.BytesIO(page.picture())).convert("RGB")
    shot.thumbnail(LARGEST, Image.Resampling.LANCZOS)
    shot.save(picture(name), quality=QUALITY, optimize=True)
