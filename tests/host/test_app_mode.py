"""A workflow as an app: its inputs alone, without the graph. The editor's own App mode."""

import pytest

from helpers.host.editor import SPATIAL, Editor
from helpers.host.examples import ui_form

LOAD = "graph => window.app.loadGraphData(graph, true, true, null)"


@pytest.fixture
def editor(browser):
    if not browser.has_app_mode:
        pytest.skip("this frontend has no App mode")
    with browser.open(nodes_2=True) as page:
        yield Editor(page)


def test_the_template_is_an_app_that_trains_at_a_press_and_shows_how_it_goes(editor):
    graph = ui_form("customize")
    pressed = next(n["id"] for n in graph["nodes"] if n["type"] == SPATIAL)
    sent, page = editor.prompts(), editor.page
    page.evaluate(LOAD, graph | {"extra": graph["extra"] | {"linearMode": True}})
    app = page.locator("[data-testid=linear-widgets]")
    app.get_by_text("Press Train to start a job").first.wait_for()
    skip = page.get_by_text("Skip", exact=True)  # the editor's own welcome
    skip.wait_for()
    skip.click()
    app.get_by_role("button", name="Train", exact=True).click()
    app.get_by_role("button", name="Starting...").wait_for()
    page.wait_for_timeout(500)
    (prompt,) = sent
    assert prompt["partial_execution_targets"] == [str(pressed)]
    inputs = prompt["prompt"][str(pressed)]["inputs"]
    assert inputs["steps"] > 0  # the preset's number, though the app does not show it
    editor.push(uid=inputs["node_uid"], name="from an app")
    panel = app.locator(".sm-panel", has_text="from an app")
    panel.get_by_role("button", name="Stop and save").first.click()
    page.wait_for_timeout(300)
    assert editor.jobs.requests[-1].endswith("/stop")
