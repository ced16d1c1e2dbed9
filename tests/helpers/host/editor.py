"""ComfyUI's editor in a browser with fake jobs in it: what is done to it, and what it shows."""

import json

from playwright.sync_api import Locator, Route

from helpers.host.browser import Page
from helpers.host.fake_jobs import FakeJobs, view

TOAST = ".p-toast-message, [data-toast-kind]"  # the second since frontend 1.58
MOTION, SPATIAL = "StillMovingTrainMotionAdapter", "StillMovingTrainSpatialAdapter"
ADD = """([type, uid]) => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  if (uid) node.properties.still_moving_uid = uid;
  node.pos = [100, 120];
  return String(node.id);
}"""


class Editor:
    """An editor that shows fake jobs, and what the tests look at in it."""

    def __init__(self, opened: Page):
        self.opened, self.page = opened, opened.page
        self.jobs = FakeJobs(opened.page)
        self.jobs.reload()

    def reset(self) -> None:
        """An empty graph without jobs, toasts or errors."""
        self.page.unroute("**/api/prompt")
        self.jobs.clear()
        self.page.evaluate(
            "(toast => (toast.dismissAll ?? toast.removeAll)())(app.extensionManager.toast)"
        )
        self.page.evaluate("app.loadGraphData({nodes: [], links: [], version: 0.4})")
        self.page.wait_for_function("app.canvas.graph.nodes.length === 0")
        self.opened.errors.clear()

    def add(self, kind: str = MOTION, uid: str = "") -> str:
        number = self.page.evaluate(ADD, [kind, uid])
        self.drawn()
        return number

    def drawn(self) -> None:
        """Wait until what was said is shown: the panels are drawn with the next picture."""
        self.page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(done), 50))")

    def show(self, **changes) -> dict:
        """A node, and a job of it."""
        self.add(uid="here")
        return self.push(uid="here", **changes)

    def push(self, number: int = 1, **changes) -> dict:
        pushed = self.jobs.push(view(number, **changes))
        self.drawn()
        return pushed

    def panel(self) -> Locator:
        return self.page.locator(".sm-panel").last

    def buttons(self) -> list[str]:
        return self.panel().locator(".sm-actions button:visible").all_text_contents()

    def train_button(self) -> str:
        """Its text, with a star in front when it cannot be pressed."""
        return self.page.evaluate(
            "() => { const b = app.graph.nodes.at(-1).widgets.find(w => w.type === 'button');"
            " return (b.disabled ? '*' : '') + (b.label ?? b.name); }"
        )

    def press_train(self) -> None:
        self.page.evaluate(
            "() => app.graph.nodes.at(-1).widgets.find(w => w.type === 'button').callback()"
        )

    def prompts(self) -> list[dict]:
        """Prompts from now on, which are taken and do nothing."""
        sent: list[dict] = []

        def take(route: Route) -> None:
            sent.append(json.loads(route.request.post_data or ""))
            route.fulfill(json={"prompt_id": f"p{len(sent)}", "number": 1, "node_errors": {}})

        self.page.route("**/api/prompt", take)
        return sent

    def toasts(self) -> list[str]:
        return self.page.locator(TOAST).all_inner_texts()

    def wait_for_toast(self, text: str) -> None:
        self.page.locator(TOAST, has_text=text).first.wait_for(timeout=10_000)

    def sidebar(self) -> Locator:
        if not self.page.locator(".sm-sidebar").count():
            command = "Workspace.ToggleSidebarTab.still-moving-jobs"
            self.page.evaluate(f"app.extensionManager.command.execute('{command}')")
        self.page.locator(".sm-sidebar").wait_for()
        return self.page.locator(".sm-sidebar")

    def cards(self) -> list[str]:
        """The names in the sidebar, from the top."""
        self.drawn()
        return self.sidebar().locator(".sm-card .sm-name").all_text_contents()
