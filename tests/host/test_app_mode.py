"""A workflow as an app: its inputs alone, without the graph. The editor's own App mode."""

import pytest

from helpers.host.editor import Editor
from helpers.host.examples import ui_form

LOAD = "graph => window.app.loadGraphData(graph, true, true, null)"


@pytest.fixture
def editor(browser):
    if not browser.has_app_mode:
        pytest.skip("this frontend has no App mode")
    with browser.open(nodes_2=True) as page:
        yield Editor(page)


def as_app(name: str, node_type: str, *widgets: str) -> tuple[dict, int]:
    """A template that opens as an app with these widgets of a node; and the node's number."""
    graph = ui_form(name)
    number = next(node["id"] for node in graph["nodes"] if node["type"] == node_type)
    output = next(node["id"] for node in graph["nodes"] if node["type"] == "SaveAnimatedWEBP")
    inputs = [[number, widget] for widget in widgets]
    graph["extra"] = {"linearMode": True, "linearData": {"inputs": inputs, "outputs": [output]}}
    return graph, number


def test_an_app_trains_at_a_press_and_shows_how_it_goes(editor):
    widgets = ("name", "preset", "Train", "node_uid")
    graph, number = as_app("train_adapters", "StillMovingTrainMotionAdapter", *widgets)
    sent, page = editor.prompts(), editor.page
    page.evaluate(LOAD, graph)
    app = page.locator("[data-testid=linear-widgets]")
    app.get_by_text("Press Train to start a job").wait_for()
    skip = page.get_by_text("Skip", exact=True)  # the editor's own welcome
    skip.wait_for()
    skip.click()
    app.get_by_role("button", name="Train", exact=True).click()
    app.get_by_role("button", name="Starting...").wait_for()
    page.wait_for_timeout(500)
    (prompt,) = sent
    assert prompt["partial_execution_targets"] == [str(number)]
    inputs = prompt["prompt"][str(number)]["inputs"]
    assert inputs["steps"] > 0  # the preset's number, though the app does not show it
    editor.push(uid=inputs["node_uid"], name="from an app")
    panel = app.locator(".sm-panel")
    panel.get_by_text("from an app").wait_for()
    panel.get_by_role("button", name="Stop and save").first.click()
    page.wait_for_timeout(300)
    assert editor.jobs.requests[-1].endswith("/stop")
