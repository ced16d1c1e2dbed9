"""What the editor shows of a job that waits for another one, and of a training in a subgraph."""

import pytest

from helpers.host.editor import MOTION, SPATIAL

pytestmark = pytest.mark.every_comfyui


def test_train_stands_above_a_subgraph_with_a_training_in_it(editor):
    for kind in (MOTION, SPATIAL):
        editor.add(kind)
    outer, *title = editor.page.evaluate(
        "() => { const { node } = app.graph.convertToSubgraph(new Set(app.graph.nodes));"
        " const { ds, canvas } = app.canvas, { left, top } = canvas.getBoundingClientRect();"
        " node.pos = [400, 300]; app.canvas.draw(true, true);"
        " const [x, y] = [500, 285].map((at, i) => (at + ds.offset[i]) * ds.scale);"
        " return [String(node.id), left + x, top + y]; }"
    )
    editor.drawn()
    editor.page.mouse.click(*title)
    sent = editor.prompts()
    editor.page.locator(".pi-bolt").first.click(timeout=10_000)  # older ones have no name for it
    editor.page.wait_for_timeout(500)
    (target,) = sent[0]["partial_execution_targets"]
    assert target.startswith(f"{outer}:")
    assert sent[0]["prompt"][target]["class_type"] == SPATIAL


def test_a_job_that_waits_for_another_shows_both_names_whole(editor):
    waits_for = {"id": "other", "name": "my motion adapter", "state": "coming"}
    editor.push(1, name="my spatial adapter", phase="queued", position=1, waits_for=waits_for)
    assert editor.cards() == ["my spatial adapter"]
    card = editor.sidebar().locator(".sm-card")
    assert "Waiting for “my motion adapter”" in card.inner_text()
    names = card.locator(".sm-name, .sm-phase")
    assert names.evaluate_all("all => all.every(it => it.scrollWidth <= it.clientWidth)")
