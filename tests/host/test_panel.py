"""What only a real browser in ComfyUI's own editor shows of web/js; tests/web has all the rest."""

import re

import pytest

from helpers.host.editor import ADD, MOTION, SPATIAL
from helpers.host.training_graph import motion_graph, pressed

pytestmark = pytest.mark.every_comfyui

CAPTURE = """() => {  // as the editor does after each click
  const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
  (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}"""
COUNT_REFRESHES = """() => {
  window.refreshed = 0;
  window.original ??= app.refreshComboInNodes;
  app.refreshComboInNodes = function () {
    window.refreshed++;
    return window.original.call(app);
  };
}"""
LOADED = "document.querySelector('.sm-panel img')?.naturalWidth > 0"
UIDS = """() => {
  const root = app.rootGraph ?? app.graph.rootGraph ?? app.graph;
  const walk = graph => graph.nodes.flatMap(
      node => [node.properties.still_moving_uid ?? [], node.subgraph ? walk(node.subgraph) : []]);
  return walk(root).flat(9);
}"""


def test_a_job_shows_on_its_node_obeys_a_click_and_ends_with_a_toast(editor):
    job = editor.show(name="my adapter", samples=["400.webp"])
    panel = editor.panel()
    assert editor.buttons() == ["Pause", "Stop and save", "Save now", "Sample"]
    for text in ("my adapter", "Training", "500 / 1000 steps", "2 min 35 s left"):
        assert text in panel.inner_text()
    assert all(panel.locator(part).is_visible() for part in (".sm-high", ".sm-plot svg"))
    editor.page.wait_for_function(LOADED)
    editor.page.evaluate(COUNT_REFRESHES)
    panel.get_by_role("button", name="Pause").click()
    editor.page.locator(".sm-panel .sm-phase", has_text="Paused").wait_for()
    assert editor.jobs.requests[-1] == f"POST /jobs/{job['id']}/pause"
    assert editor.train_button() == "*Paused"
    assert editor.buttons() == ["Resume", "Stop and save"]
    editor.push(uid="here", phase="finished", adapter="mine.safetensors")
    editor.wait_for_toast("Ready to select: mine.safetensors")
    assert editor.page.evaluate("window.refreshed") == 1  # the adapter is in every list of files
    assert editor.train_button() == "Train"
    assert editor.buttons() == []


def test_a_long_message_leaves_the_buttons_in_reach(editor):
    editor.show(phase="failed", message="memory: found little. " * 14)
    editor.page.wait_for_timeout(300)
    panel = editor.panel().bounding_box()
    button = editor.panel().get_by_role("button", name="Resume").bounding_box()
    assert button["y"] + button["height"] <= panel["y"] + panel["height"] + 1


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


def test_a_saved_workflow_and_undo_bring_back_values_and_job(editor):
    editor.show(name="the job")
    before = editor.opened.api_form()
    (node,) = before.values()
    assert node["inputs"]["node_uid"] == "here"
    assert not {"run_token", "Train"} & set(node["inputs"])  # so a plain Run trains nothing
    saved = editor.page.evaluate("JSON.parse(JSON.stringify(app.graph.serialize()))")
    schema_widgets = editor.page.evaluate("app.graph.nodes[0].widgets.length - 2")
    assert len(saved["nodes"][0]["widgets_values"]) == schema_widgets
    editor.page.evaluate("saved => app.loadGraphData(saved)", saved)
    editor.drawn()
    assert editor.opened.api_form() == before
    assert "the job" in editor.panel().inner_text()
    editor.page.evaluate(CAPTURE)
    editor.page.evaluate("() => { app.graph.nodes[0].pos = [300, 200]; }")
    editor.page.evaluate(CAPTURE)
    editor.page.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    editor.page.wait_for_function("app.graph.nodes[0]?.pos[0] === 100")
    editor.drawn()
    assert editor.page.evaluate(UIDS) == ["here"]
    assert "the job" in editor.panel().inner_text()


def test_the_sidebar_counts_jobs_and_its_cards_are_dragged_into_order(editor):
    ids = [editor.push(i, phase="queued", position=i)["id"] for i in (1, 2, 3)]
    editor.push(4, phase="finished")
    assert editor.cards() == ["adapter 1", "adapter 2", "adapter 3", "adapter 4"]
    badge = editor.page.locator("[class*=side] .p-badge, [class*=sidebar] [class*=badge]").first
    assert badge.inner_text() == "3"
    cards = editor.sidebar().locator(".sm-card")
    cards.nth(2).locator(".sm-handle").drag_to(cards.nth(0), target_position={"x": 40, "y": 5})
    editor.page.wait_for_timeout(300)
    assert editor.cards() == ["adapter 3", "adapter 1", "adapter 2", "adapter 4"]
    assert editor.jobs.orders == [[ids[2], ids[0], ids[1]]]


def test_deleting_asks_first(editor):
    job = editor.push(phase="finished")
    for answer, left in (("Cancel", ["adapter 1"]), ("Delete", [])):
        editor.sidebar().get_by_role("button", name="Delete").click()
        dialog = editor.page.get_by_role("dialog")
        assert job["id"] in dialog.inner_text()
        dialog.locator("button", has_text=answer).click()
        dialog.wait_for(state="hidden")
        editor.page.wait_for_timeout(200)
        assert editor.cards() == left
        assert (f"DELETE /jobs/{job['id']}" in editor.jobs.requests) == (answer == "Delete")


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


def test_the_notes_of_a_run_are_on_its_node_and_go_with_the_next(editor):
    number = editor.add("StillMovingClipSet")
    ran = """([node, notes]) => import('/scripts/api.js').then(({ api }) => api.dispatchEvent(
      new CustomEvent('executed', { detail: { node, display_node: node, prompt_id: 'p',
        output: { still_moving_notes: notes } } })))"""
    notes = [f"{i} files that cannot be read, because of what they hold" for i in range(3)]
    editor.page.evaluate(ran, [number, notes])
    lines = editor.page.locator(".sm-notes li:visible")
    lines.last.wait_for()
    assert lines.all_text_contents() == notes
    editor.page.wait_for_timeout(300)
    box, last = editor.page.locator(".sm-notes").bounding_box(), lines.last.bounding_box()
    assert last["y"] + last["height"] <= box["y"] + box["height"] + 1
    editor.page.evaluate(ran, [number, []])
    lines.first.wait_for(state="detached")


SHOWN = """number => Object.fromEntries(
    app.graph.getNodeById(number).widgets.slice(0, 6).map(({name, value}) => [name, value]))"""
CHANGE = """([number, name, value]) => {  // as the classic editor does after its own dialog
  const node = app.graph.getNodeById(number);
  const widget = node.widgets.find(one => one.name === name);
  if (widget.setValue) widget.setValue(value, {e: {}, node, canvas: app.canvas});
  else { widget.value = value; widget.callback?.(value, app.canvas, node); }
}"""


def test_a_preset_fills_its_numbers_in_and_a_changed_number_makes_it_custom(editor):
    number = editor.add()
    numbers = {"steps": 4000, "rank": 4, "lr": 2e-5, "frames": 16}
    preset = {"name": "my_motion_adapter", "preset": "paper"}
    assert editor.page.evaluate(SHOWN, number) == preset | numbers
    editor.page.evaluate(CHANGE, [number, "preset", "fast"])
    numbers |= {"steps": 1000, "lr": 1e-4}
    assert editor.page.evaluate(SHOWN, number) == preset | numbers | {"preset": "fast"}
    editor.page.evaluate(CHANGE, [number, "steps", 500])
    expected = preset | numbers | {"preset": "fast, custom", "steps": 500}
    assert editor.page.evaluate(SHOWN, number) == expected
    (sent,) = editor.page.evaluate("async () => Object.values((await app.graphToPrompt()).output)")
    assert {name: sent["inputs"][name] for name in expected} == expected
    editor.page.evaluate("async () => app.loadGraphData(app.graph.serialize())")
    editor.drawn()
    assert editor.page.evaluate(SHOWN, number) == expected
    (widget,) = editor.page.evaluate(
        "number => app.graph.getNodeById(number).widgets.filter(one => one.name === 'preset')"
        ".map(one => one.options.values)",
        number,
    )
    assert widget == ["paper", "fast", "low memory", "shapes world", "fast, custom"]
