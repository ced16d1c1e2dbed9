"""Maintainer's script: the pictures of the help pages, web/docs/images/<node id>.webp.

Lays out each node with its neighbours on a started ComfyUI, runs what shows a result, and cuts the
picture out of the window. Name node ids to make only theirs.
"""

import io
import os
import sys
import tempfile
from pathlib import Path

from _node_scenes import NAMED_FILES, Scene, scenes
from PIL import Image, ImageDraw
from playwright.sync_api import ViewportSize

from helpers.host.browser import Browser, Page, why_no_browser
from helpers.host.live import ROOT, Server, frontend_of

IMAGES = ROOT / "web" / "docs" / "images"
ZOOM, MARGIN = 1.5, 16  # pixels of the picture to a unit of the canvas; units around the nodes
INDENT, GAP = 40, 60
WINDOW: ViewportSize = {"width": 1280, "height": 1900}  # the tallest node with its neighbours
QUIET = {"Comfy.NodeBadge.NodeSourceBadgeMode": "None", "Comfy.Graph.CanvasInfo": False}
# What is shown stands like stairs, so that the links are seen in a narrow help panel too.
BUILD = """([scene, indent, gap]) => {
  app.graph.clear();
  window.lastId ??= 0;
  window.shown = [];
  const made = {};
  let top = 0;
  for (const [key, it] of Object.entries(scene)) {
    const node = made[key] = LiteGraph.createNode(it.type);
    node.id = ++window.lastId;  // the editor keeps values and pictures by id
    app.graph.add(node);
    for (const [name, value] of Object.entries(it.widgets)) {
      const widget = node.widgets.find(w => w.name === name);
      widget.value = value;
      widget.callback?.(value);
    }
    node.setSize([it.width, Math.max(node.computeSize()[1], it.height)]);
    node.pos = [-3000, 0];
    if (key.startsWith("_")) continue;
    node.pos = [indent * window.shown.length, top];
    top += node.size[1] + gap;
    window.shown.push(node);
  }
  for (const [key, it] of Object.entries(scene))
    for (const [name, [source, slot]] of Object.entries(it.inputs))
      made[source].connect(slot, made[key], made[key].findInputSlot(name));
}"""
FRAME = """([zoom, margin]) => {
  const boxes = window.shown.map(n => [n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0],
      n.pos[1] + n.size[1]]);
  const low = [0, 1].map(i => Math.min(...boxes.map(b => b[i])) - margin);
  const high = [2, 3].map(i => Math.max(...boxes.map(b => b[i])) + margin);
  const left = 80, top = 100, ds = app.canvas.ds;
  app.canvas.deselectAll?.();
  ds.scale = zoom;
  ds.offset[0] = left / zoom - low[0];
  ds.offset[1] = top / zoom - low[1];
  app.canvas.setDirty(true, true);
  return { x: left, y: top, width: zoom * (high[0] - low[0]), height: zoom * (high[1] - low[1]) };
}"""


def take_picture(page: Page, name: str, scene: Scene) -> None:
    nodes = {key: vars(node) for key, node in scene.items()}
    page.page.evaluate(BUILD, [nodes, INDENT, GAP])
    if "result" in scene:
        page.run()
    page.page.wait_for_timeout(1500)  # pictures on nodes load on their own
    area = page.page.evaluate(FRAME, [ZOOM, MARGIN])
    page.page.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(page.page.screenshot(clip=area))).convert("RGB")
    shot.save(IMAGES / f"StillMoving{name}.webp", quality=80, method=6)


def write_files(base: Path) -> None:
    for folder, names in NAMED_FILES.items():
        (base / "models" / folder).mkdir(parents=True)
        for name in names:
            (base / "models" / folder / name).touch()
    still = Image.new("RGB", (256, 256), (24, 28, 60))
    ImageDraw.Draw(still).ellipse((80, 90, 170, 180), fill=(220, 60, 50))
    (base / "input").mkdir()
    still.save(base / "input" / "still.png")


def main() -> None:
    ids = sys.argv[1:]
    comfyui = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
    if reason := why_no_browser(comfyui):
        sys.exit(f"no browser: {reason}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_files(base)
        with Server(comfyui, base, frontend_of(comfyui)) as server:
            for name, value in QUIET.items():
                server.post(f"/settings/{name}", value)
            with Browser(server) as browser, browser.open() as page:
                page.page.set_viewport_size(WINDOW)
                for name, scene in scenes().items():
                    if not ids or f"StillMoving{name}" in ids:
                        take_picture(page, name, scene)
