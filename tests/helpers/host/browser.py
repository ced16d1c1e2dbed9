"""A real browser that looks at a started ComfyUI, as an artist's does."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import ConsoleMessage, ViewportSize, sync_playwright

from helpers.host.live import Server, frontend_of, frontend_version

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET = {  # else tours and panels cover the nodes
    "Comfy.TutorialCompleted": True,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Graph.CanvasInfo": False,
}
READY = "window.app?.extensionManager && Object.keys(window.LiteGraph.registered_node_types).some("
READY += "name => name.startsWith('StillMoving'))"
TIMEOUT_MS = 120_000
MESSAGE_MS = 6_000  # how long "Job completed" lies over the nodes
SIZE: ViewportSize = {"width": 1600, "height": 900}


def why_no_browser(comfyui: Path) -> str | None:
    """The reason why no browser can look at this checkout's server; None when one can."""
    if not CHROMIUM:
        return "no Chromium found (set CHROMIUM)"
    wanted = frontend_version(comfyui)
    if frontend_of(comfyui) is None and wanted != version("comfyui-frontend-package"):
        return f"frontend {wanted} is not installed (make)"
    return None


class Page:
    """The editor. errors: what the console or the page called an error, with its address.

    The frontend has errors of its own while it starts; clear the list when those do not count.
    """

    def __init__(self, browser: "Browser", nodes_2: bool):
        for name, value in (QUIET | {"Comfy.VueNodes.Enabled": nodes_2}).items():
            browser.server.post(f"/settings/{name}", value)
        self._server = browser.server
        self.nodes_2 = nodes_2
        self.errors: list[str] = []
        self.page = browser.context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error.stack or error)))
        self.page.goto(browser.server.url)
        self.page.wait_for_function(READY)
        self.page.wait_for_function("window.app.canvas?.graph != null")

    def _heard(self, message: ConsoleMessage) -> None:
        # The frontend asks other hosts for the models of its default workflow, whenever it comes
        # to that, and its own policy forbids it.
        if message.type == "error" and "missingModelMetadata" not in message.location["url"]:
            self.errors.append(f"{message.text} ({message.location['url']})")

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def drawn(self) -> int:
        """How many nodes Nodes 2.0 shows; classic mode paints them on its canvas."""
        return self.page.locator("[data-node-id]").count()

    def overlaps(self) -> list[str]:
        """Pairs of nodes of which one lies over the other, as they are drawn."""
        return self.page.evaluate(OVERLAPS_2 if self.nodes_2 else OVERLAPS)

    def load(self, workflow: dict) -> list[str]:
        """Open a workflow; the types of its nodes that the frontend does not know."""
        self.page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
        types = {node["type"] for node in workflow["nodes"]}
        known = self.page.evaluate("Object.keys(window.LiteGraph.registered_node_types)")
        return sorted(types - set(known))

    def api_form(self) -> dict:
        """The open workflow as /prompt takes it."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def show_all(self) -> None:
        """Zoom so that every node and group is in view."""
        width, height = self.page.evaluate(BOUNDS)[2:]
        self._look(min((SIZE["width"] - 80) / width, (SIZE["height"] - 110) / height, 1))

    def picture(self) -> bytes:
        """All of the workflow at full size, without the editor around it, as PNG."""
        width, height = self.page.evaluate(BOUNDS)[2:]
        self.page.set_viewport_size({"width": int(width) + 80, "height": int(height) + 110})
        self._look(1)
        self.page.wait_for_timeout(MESSAGE_MS)
        shot = self.page.screenshot(clip={"x": 80, "y": 110, "width": width, "height": height})
        self.page.set_viewport_size(SIZE)
        return shot

    def _look(self, scale: float) -> None:
        self.page.evaluate(LOOK, [scale, *self.page.evaluate(BOUNDS)[:2]])
        self.page.wait_for_timeout(1500)  # pictures and Markdown are drawn late

    def run(self) -> None:
        """Queue the open workflow, as the Run button does, and wait until its results show."""
        before = len(self._server.get("/history"))
        self.page.evaluate("app.queuePrompt(0)")
        assert not self.page.evaluate("app.lastNodeErrors"), self.errors
        self._server.wait_until(lambda: len(self._server.get("/history")) > before)
        self.page.wait_for_timeout(2000)


# Of all nodes and groups: [left, top, width, height] with a margin; a node's title is above it.
BOUNDS = """() => {
  const graph = app.canvas.graph;
  const boxes = [...graph._nodes, ...(graph._groups ?? [])].map(it => [
      it.pos[0], it.pos[1] - 30, it.pos[0] + it.size[0], it.pos[1] + it.size[1]]);
  const low = [0, 1].map(i => Math.min(...boxes.map(box => box[i])) - 30);
  const high = [2, 3].map(i => Math.max(...boxes.map(box => box[i])) + 30);
  return [...low, high[0] - low[0], high[1] - low[1]];
}"""
# Both by each node's title and box; at an edge nodes may touch.
PAIRS = """const pairs = [];
  boxes.forEach(([a, l, t, r, b], i) => boxes.slice(i + 1).forEach(([c, left, top, right, low]) => {
    const wide = Math.min(r, right) - Math.max(l, left), high = Math.min(b, low) - Math.max(t, top);
    if (wide > 1 && high > 1) pairs.push(`${a} and ${c}: ${wide.toFixed()} by ${high.toFixed()}`);
  }));
  return pairs;"""
OVERLAPS = (
    """() => {
  const boxes = app.canvas.graph._nodes.map(it => [
      it.title, it.pos[0], it.pos[1] - 30, it.pos[0] + it.size[0], it.pos[1] + it.size[1]]);
  """
    + PAIRS
    + "}"
)
OVERLAPS_2 = (
    """() => {
  const scale = app.canvas.ds.scale;
  const boxes = [...document.querySelectorAll("[data-node-id]")].map(it => {
    const box = it.getBoundingClientRect();
    const title = app.canvas.graph.getNodeById(it.dataset.nodeId)?.title;
    return [title, ...[box.left, box.top, box.right, box.bottom].map(edge => edge / scale)];
  });
  """
    + PAIRS
    + "}"
)
# The editor's bars lie over the canvas: 80 px on the left, 110 px on top.
LOOK = """([scale, left, top]) => {
  const canvas = app.canvas;
  canvas.deselectAllNodes?.();
  canvas.ds.scale = scale;
  canvas.ds.offset[0] = 80 / scale - left;
  canvas.ds.offset[1] = 110 / scale - top;
  canvas.setDirty(true, true);
}"""


class Browser:
    """Chromium; ``with`` closes it."""

    def __init__(self, server: Server):
        self.server = server

    def __enter__(self) -> "Browser":
        self._playwright = sync_playwright().start()
        self.context = self._playwright.chromium.launch_persistent_context(
            str(self.server.base / "browser"),
            executable_path=CHROMIUM,
            args=OPTIONS,
            viewport=SIZE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        self._playwright.stop()

    @property
    def has_nodes_2(self) -> bool:
        """Whether Nodes 2.0 of this frontend shows the widgets of packs; a prototype did not."""
        return self._frontend >= (1, 30)

    @property
    def has_app_mode(self) -> bool:
        """Whether a workflow can say which of its inputs make an app of it."""
        return self._frontend >= (1, 42)

    @property
    def _frontend(self) -> tuple[int, int]:
        major, minor = map(int, frontend_version(self.server.comfyui).split(".")[:2])
        return major, minor

    def open(self, nodes_2: bool = False) -> Page:
        """The editor in classic or in Nodes 2.0 mode."""
        return Page(self, nodes_2)
