"""The training nodes and the sidebar tab in a real browser, with jobs in every state."""

import json
import re

import pytest

from helpers.host.fake_jobs import FakeJobs, view
from helpers.host.training_graph import motion_graph, pressed

MOTION, SPATIAL = "StillMovingTrainMotionAdapter", "StillMovingTrainSpatialAdapter"
OPEN = ["queued", "loading", "running", "yielding", "paused"]
BUTTONS = {
    "queued": ["Pause", "Stop and save"],
    "loading": ["Pause", "Stop and save"],
    "running": ["Pause", "Stop and save", "Save now", "Sample"],
    "yielding": ["Pause", "Stop and save", "Save now"],
    "paused": ["Resume", "Stop and save"],
    "interrupted": ["Resume", "Stop and save"],
    "stopped": ["Resume"],
    "failed": ["Resume"],
    "finished": [],
}
EVIL = "<img src=x onerror='window.harmed = true'><b>bold</b>"
ADD = """([type, uid]) => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  if (uid) node.properties.still_moving_uid = uid;
  node.pos = [100, 120];
  return String(node.id);
}"""
CAPTURE = """() => {  // as the editor does after each click
  const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
  (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}"""
UIDS = """() => {
  const root = app.rootGraph ?? app.graph.rootGraph ?? app.graph;
  const walk = graph => graph.nodes.flatMap(
      node => [node.properties.still_moving_uid ?? [], node.subgraph ? walk(node.subgraph) : []]);
  return walk(root).flat(9);
}"""


class Editor:
    """An editor that shows fake jobs, and what the tests look at in it."""

    def __init__(self, opened):
        self.opened, self.page = opened, opened.page
        self.jobs = FakeJobs(opened.page)

    def reset(self) -> None:
        """An empty graph without jobs, toasts or errors."""
        self.page.unroute("**/api/prompt")
        self.jobs.clear()
        self.page.evaluate("app.extensionManager.toast.removeAll()")
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

    def panel(self):
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
        sent = []

        def take(route):
            sent.append(json.loads(route.request.post_data))
            route.fulfill(json={"prompt_id": f"p{len(sent)}", "number": 1, "node_errors": {}})

        self.page.route("**/api/prompt", take)
        return sent

    def toasts(self) -> list[str]:
        return self.page.locator(".p-toast-message").all_inner_texts()

    def wait_for_toast(self, text: str) -> None:
        self.page.locator(".p-toast-message", has_text=text).first.wait_for(timeout=10_000)

    def sidebar(self):
        if not self.page.locator(".sm-sidebar").count():
            command = "Workspace.ToggleSidebarTab.still-moving-jobs"
            self.page.evaluate(f"app.extensionManager.command.execute('{command}')")
        self.page.locator(".sm-sidebar").wait_for()
        return self.page.locator(".sm-sidebar")

    def cards(self) -> list[str]:
        """The names in the sidebar, from the top."""
        self.drawn()
        return self.sidebar().locator(".sm-card .sm-name").all_text_contents()


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def opened(request, browser):
    if request.param and not browser.has_nodes_2:
        pytest.skip("Nodes 2.0 is a prototype in this frontend: it has no widgets of packs")
    with browser.open(nodes_2=request.param) as page:
        yield Editor(page)


@pytest.fixture
def editor(opened):
    opened.reset()
    yield opened
    assert opened.opened.errors == []


def test_a_node_without_a_job_says_what_to_press(editor):
    editor.add()
    assert "Press Train" in editor.panel().inner_text()
    assert "Run never trains" in editor.panel().inner_text()
    assert editor.train_button() == "Train"
    assert editor.buttons() == []


def test_a_running_job_shows_its_numbers_and_all_of_its_losses(editor):
    editor.show(name="my adapter", step=500, eta_s=155.0)
    text = editor.panel().inner_text()
    for part in ("my adapter", "Training", "500 / 1000 steps", "2 min 35 s left", "0.31 s/step"):
        assert part in text
    assert "3.0 GB" in text
    path = editor.panel().locator(".sm-loss").get_attribute("d")
    assert path.count("L") == 49  # 50 points
    assert editor.panel().locator(".sm-held").get_attribute("d").count("M") == 3
    for label in (".sm-high", ".sm-low", ".sm-key-average", ".sm-key-held"):
        assert editor.panel().locator(label).is_visible()
    assert editor.panel().locator("[role=progressbar]").get_attribute("aria-valuenow") == "50"


@pytest.mark.parametrize("points", [0, 1, 200])
def test_any_number_of_losses_can_be_drawn(editor, points):
    losses = [[step, 0.5] for step in range(points)]
    editor.show(loss=losses, average=losses, held_out=[])
    path = editor.panel().locator(".sm-loss").get_attribute("d") or ""
    assert "NaN" not in path
    assert editor.page.get_by_text("The loss shows here").is_visible() == (points == 0)


@pytest.mark.parametrize("phase", BUTTONS)
def test_a_job_can_be_told_what_its_phase_allows(editor, phase):
    editor.show(phase=phase)
    assert editor.buttons() == BUTTONS[phase]
    assert editor.train_button().startswith("*") == (phase in OPEN)


def test_a_button_commands_its_job_and_shows_the_answer(editor):
    job = editor.show()
    editor.panel().get_by_role("button", name="Pause").click()
    editor.page.locator(".sm-panel .sm-phase", has_text="Paused").wait_for()
    assert editor.jobs.asked[-1] == f"POST /jobs/{job['id']}/pause"
    assert editor.train_button() == "*Paused"


def test_a_refused_command_says_why(editor):
    editor.show()
    editor.jobs.refusal = "job: found 7, expected 8."
    editor.panel().get_by_role("button", name="Save now").click()
    editor.wait_for_toast("job: found 7, expected 8.")
    editor.opened.errors.clear()  # the browser's own line about the 400


def test_words_of_a_job_are_never_html(editor):
    editor.show(name=EVIL, message=EVIL, phase="failed")
    assert editor.panel().locator("b, .sm-message img").count() == 0
    assert EVIL in editor.panel().inner_text()
    # Jobs of other tests may be listed beside it.
    card = editor.sidebar().locator(".sm-card", has_text=EVIL)
    card.get_by_role("button", name="Log").click()
    editor.page.get_by_text("<b>not bold</b>").wait_for()
    assert not editor.page.evaluate("window.harmed")


def test_a_long_message_leaves_the_buttons_in_reach(editor):
    editor.show(phase="failed", message="memory: found little. " * 14)
    editor.page.wait_for_timeout(300)
    panel = editor.panel().bounding_box()
    button = editor.panel().get_by_role("button", name="Resume").bounding_box()
    assert button["y"] + button["height"] <= panel["y"] + panel["height"] + 1


def test_the_newest_three_samples_are_shown_and_not_loaded_again(editor):
    job = editor.show(samples=["100.webp", "200.webp", "300.webp", "400.webp"])
    for step in (501, 502):
        editor.push(uid="here", step=step, samples=job["samples"])
    titles = editor.panel().locator("figcaption").all_text_contents()
    assert titles == ["step 200", "step 300", "step 400"]
    assert sum("/samples" in asked for asked in editor.jobs.asked) == 3


def test_an_older_view_never_replaces_a_newer_one(editor):
    job = editor.show(phase="paused")
    editor.jobs._event("still_moving.job", job | {"seq": job["seq"] - 1, "phase": "running"})
    editor.drawn()
    assert "Paused" in editor.panel().inner_text()


def test_the_end_of_a_job_is_said_once_and_its_adapter_can_be_selected(editor):
    editor.show()
    editor.page.evaluate(
        "() => { window.refreshed = 0; window.original ??= app.refreshComboInNodes;"
        " app.refreshComboInNodes = function () {"
        " window.refreshed++; return window.original.call(app); }; }"
    )
    for _ in range(2):
        editor.push(uid="here", phase="finished", adapter="mine.safetensors")
    editor.wait_for_toast("Ready to select: mine.safetensors")
    assert len([text for text in editor.toasts() if "Training finished" in text]) == 1
    assert editor.page.evaluate("window.refreshed") == 1
    assert editor.train_button() == "Train"


def test_train_runs_this_node_with_a_token_and_its_name(editor):
    sent = editor.prompts()
    editor.add(SPATIAL, uid="other")
    number = editor.add(uid="here")
    for _ in range(2):  # a double click
        editor.press_train()
    editor.drawn()
    assert editor.train_button() == "*Starting..."
    editor.page.wait_for_timeout(500)
    (prompt,) = sent
    assert prompt["partial_execution_targets"] == [number]
    inputs = prompt["prompt"][number]["inputs"]
    assert inputs["node_uid"] == "here"
    assert len(inputs["run_token"]) == 24
    others = [node["inputs"] for key, node in prompt["prompt"].items() if key != number]
    assert all("run_token" not in inputs for inputs in others)
    editor.page.evaluate(
        "async () => (await import('/scripts/api.js')).api.dispatchEvent("
        "new CustomEvent('execution_error', {detail: {prompt_id: 'p1'}}))"
    )
    editor.drawn()
    assert editor.train_button() == "Train"
    editor.opened.errors.clear()


def test_a_plain_run_has_the_nodes_name_but_no_token(editor):
    number = editor.add(uid="here")
    inputs = editor.opened.api_form()[number]["inputs"]
    assert inputs["node_uid"] == "here"
    assert "run_token" not in inputs
    assert "Train" not in inputs


def test_a_refused_graph_says_which_input_is_missing(editor):
    editor.add()
    editor.press_train()
    editor.wait_for_toast("Training did not start")
    text = next(text for text in editor.toasts() if "Training did not start" in text)
    assert "Required input is missing" in text
    assert editor.train_button() == "Train"
    editor.opened.errors.clear()


def test_train_works_in_a_subgraph_and_the_node_keeps_its_job(editor):
    editor.show(phase="finished")
    outer = editor.page.evaluate(
        "() => { const made = app.graph.convertToSubgraph(new Set([app.graph.nodes[0]]));"
        " return String(made.node.id); }"
    )
    editor.drawn()
    assert editor.page.evaluate(UIDS) == ["here"]
    sent = editor.prompts()
    editor.page.evaluate(
        "() => app.graph.nodes[0].subgraph.nodes[0]"
        ".widgets.find(w => w.type === 'button').callback()"
    )
    editor.page.wait_for_timeout(500)
    (target,) = sent[0]["partial_execution_targets"]
    assert target.startswith(f"{outer}:")
    assert sent[0]["prompt"][target]["inputs"]["node_uid"] == "here"


def test_a_copy_gets_a_name_of_its_own_and_the_original_keeps_its_job(editor):
    editor.show(name="the only job")
    editor.page.evaluate(
        "() => { app.canvas.copyToClipboard([app.graph.nodes[0]]);"
        " app.canvas.pasteFromClipboard(); }"
    )
    editor.drawn()
    first, second = editor.page.evaluate(UIDS)
    assert first == "here"
    assert second != "here"
    texts = editor.page.locator(".sm-panel").all_inner_texts()
    assert sum("the only job" in text for text in texts) == 1


def test_a_saved_workflow_brings_back_values_and_job(editor):
    editor.show(name="the job")
    before = editor.opened.api_form()
    saved = editor.page.evaluate("JSON.parse(JSON.stringify(app.graph.serialize()))")
    assert len(saved["nodes"][0]["widgets_values"]) == editor.page.evaluate(
        "app.graph.nodes[0].widgets.length - 2"
    )
    editor.page.evaluate("saved => app.loadGraphData(saved)", saved)
    editor.drawn()
    assert editor.opened.api_form() == before
    assert "the job" in editor.panel().inner_text()


def test_undo_keeps_the_job(editor):
    editor.show(name="the job")
    editor.page.evaluate(CAPTURE)
    editor.page.evaluate("() => { app.graph.nodes[0].pos = [300, 200]; }")
    editor.page.evaluate(CAPTURE)
    editor.page.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    editor.page.wait_for_function("app.graph.nodes[0]?.pos[0] === 100")
    editor.drawn()
    assert editor.page.evaluate(UIDS) == ["here"]
    assert "the job" in editor.panel().inner_text()


def test_after_a_lost_connection_the_servers_list_counts(editor):
    job = editor.show()
    editor.jobs.views = {job["id"]: job | {"phase": "finished", "seq": 0}}
    editor.jobs._event("reconnected", {})
    editor.page.locator(".sm-panel .sm-phase", has_text="Finished").wait_for()


def test_a_removed_job_leaves_its_node(editor):
    job = editor.show()
    editor.jobs.drop(job["id"])
    editor.drawn()
    assert "Press Train" in editor.panel().inner_text()


def test_the_sidebar_lists_every_job_and_counts_those_at_work(editor):
    editor.push(1, phase="finished")
    editor.push(2, phase="queued", position=2)
    editor.push(3, phase="queued", position=1)
    editor.push(4, phase="running")
    editor.push(5, phase="paused")
    assert editor.cards() == ["adapter 5", "adapter 4", "adapter 3", "adapter 2", "adapter 1"]
    badge = editor.page.locator("[class*=side] .p-badge, [class*=sidebar] [class*=badge]").first
    assert badge.inner_text() == "3"


def test_the_queue_is_ordered_by_buttons_and_by_dragging(editor):
    ids = [editor.push(i, phase="queued", position=i)["id"] for i in (1, 2, 3)]
    assert editor.cards() == ["adapter 1", "adapter 2", "adapter 3"]
    cards = editor.sidebar().locator(".sm-card")
    cards.nth(0).get_by_role("button", name="Train later").click()
    editor.page.wait_for_timeout(300)
    assert editor.cards() == ["adapter 2", "adapter 1", "adapter 3"]
    cards.nth(2).locator(".sm-handle").drag_to(cards.nth(0), target_position={"x": 40, "y": 5})
    editor.page.wait_for_timeout(300)
    assert editor.cards() == ["adapter 3", "adapter 2", "adapter 1"]
    assert editor.jobs.orders[-1] == [ids[2], ids[1], ids[0]]


@pytest.mark.parametrize("answer", ["Cancel", "Delete"])
def test_deleting_asks_first(editor, answer):
    job = editor.push(phase="finished")
    editor.sidebar().get_by_role("button", name="Delete").click()
    dialog = editor.page.get_by_role("dialog")
    assert job["id"] in dialog.inner_text()
    dialog.locator("button", has_text=answer).click()
    dialog.wait_for(state="hidden")
    editor.page.wait_for_timeout(200)
    assert editor.cards() == (["adapter 1"] if answer == "Cancel" else [])
    assert (f"DELETE /jobs/{job['id']}" in editor.jobs.asked) == (answer == "Delete")


@pytest.fixture
def real_job(server):
    """A job that trains on that server, longer than a test."""
    prompt = pressed(motion_graph(50_000, "a real one"), "of two tabs", "shared by tabs")
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    yield id
    server.delete(f"/still_moving/jobs/{id}")


def step_shown(tab) -> int:
    """On the one panel of a page; -1 while there is none."""
    shown = re.search(r"(\d+) / 50000 steps", tab.page.locator(".sm-panel").inner_text())
    return int(shown[1]) if shown else -1


def test_two_tabs_show_one_job_and_both_find_it_again_when_the_server_restarts(
    browser, server, real_job
):
    def wait_for(phase: str) -> None:
        for tab in (one, other):
            tab.page.locator(".sm-panel .sm-phase", has_text=phase).wait_for()

    def wait_for_progress() -> None:
        before = server.get(f"/still_moving/jobs/{real_job}")["step"]
        for tab in (one, other):
            server.wait_until(lambda tab=tab: step_shown(tab) > before)

    mode = browser.has_nodes_2
    with browser.open(nodes_2=mode) as one, browser.open(nodes_2=mode) as other:
        for tab in (one, other):
            tab.page.evaluate("app.loadGraphData({nodes: [], links: [], version: 0.4})")
            tab.page.evaluate(ADD, [MOTION, "shared by tabs"])
        wait_for_progress()
        one.page.locator(".sm-panel").get_by_role("button", name="Pause").click()
        wait_for("Paused")
        server.restart()
        server.post(f"/still_moving/jobs/{real_job}/resume", {})  # no page knows of it
        wait_for("Training")
        wait_for_progress()
