"""The editor with every pack's pages in it: our examples open, and wires may go without a line."""

import pytest

from helpers.host.browser import Browser, why_no_browser
from helpers.host.examples import NAMES, TRAINING, api_form, ui_form

# KJNodes' Set and Get in place of the wire into a trainer's model.
SET_AND_GET = """type => {
  const graph = app.graph, trainer = graph._nodes.find(it => it.type === type);
  const slot = trainer.findInputSlot("model");
  const source = trainer.getInputNode(slot);
  const output = trainer.getInputLink(slot).origin_slot;
  const [set, get] = ["SetNode", "GetNode"].map(name => {
    const node = LiteGraph.createNode(name);
    graph.add(node);
    return node;
  });
  source.connect(output, set, 0);
  for (const node of [set, get]) {
    node.widgets[0].value = "the_model";
    node.widgets[0].callback?.("the_model");
  }
  trainer.disconnectInput(slot);
  get.connect(0, trainer, slot);
}"""


@pytest.fixture(scope="module")
def browser(crowd, comfyui):
    if reason := why_no_browser(comfyui):
        pytest.skip(f"no browser: {reason}")
    with Browser(crowd) as opened:
        yield opened


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def page(request, browser):
    if request.param and not browser.has_nodes_2:
        pytest.skip("Nodes 2.0 is a prototype in this frontend: it has no widgets of packs")
    with browser.open(nodes_2=request.param) as opened:
        yield opened


LONG = [pytest.param(name, marks=pytest.mark.night) for name in NAMES if name != TRAINING]


@pytest.mark.parametrize("name", [TRAINING, *LONG])
def test_our_examples_open_as_they_do_alone(page, name):
    page.errors.clear()
    assert page.load(ui_form(name)) == []
    sent, expected = page.api_form(), api_form(name)
    assert {n: it["class_type"] for n, it in sent.items()} == {
        n: it["class_type"] for n, it in expected.items()
    }
    page.show_all()
    assert [error for error in page.errors if "StillMoving" in error] == []


@pytest.mark.pack("KJNodes")
def test_a_trainer_is_fed_through_set_and_get(page):
    page.load(ui_form(TRAINING))
    expected = page.api_form()
    page.page.evaluate(SET_AND_GET, "StillMovingTrainMotionAdapter")
    assert page.api_form() == expected
