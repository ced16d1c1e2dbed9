"""What the server says, read in a browser whose ComfyUI is set to Chinese."""

import pytest

from helpers.host.editor import Editor
from helpers.texts import main_texts

pytestmark = pytest.mark.every_comfyui

WORDS = main_texts("zh")["stillMovingSaid"]
FAILURE = (
    "memory: found too little while taking step 7, expected room for it. Close other programs and"
    " resume; or begin a job that needs less: another precision, fewer frames, a LoRA."
)
NOTE = "No regularization clips: motions like the new one may be lost."
SINGLE_FRAME = """() => {
  const [image, meter] = ["EmptyImage", "StillMovingMeasureMotion"].map(
      type => LiteGraph.createNode(type));
  for (const [i, node] of [image, meter].entries()) {
    app.graph.add(node);
    node.pos = [100 + 400 * i, 120];
  }
  image.connect(0, meter, meter.inputs.findIndex(({ name }) => name === "clip_1"));
}"""


@pytest.fixture(scope="module")
def editor(browser):
    browser.server.post("/settings/Comfy.Locale", "zh")
    with browser.open(nodes_2=browser.has_nodes_2) as page:
        yield Editor(page)
    browser.server.post("/settings/Comfy.Locale", "en")


def test_a_failed_job_and_a_note_are_read_in_chinese(editor):
    editor.reset()
    editor.show(phase="failed", message=FAILURE)
    shown = editor.panel().locator(".sm-message").inner_text()
    assert "在进行第 7 步时不足" in shown
    assert WORDS["expected"]["room for it"] in shown
    editor.page.evaluate(
        "note => app.graph.nodes.at(-1).onExecuted({ still_moving_notes: [note] })", NOTE
    )
    editor.page.locator(".sm-notes", has_text=WORDS["sentence"][NOTE]).wait_for()


def test_comfyuis_own_dialog_says_a_failed_node_in_chinese(editor):
    editor.reset()
    editor.page.evaluate(SINGLE_FRAME)
    editor.page.evaluate("app.queuePrompt(0)")
    message = WORDS["next_move"]["Connect all frames of the clip as one batch of images."]
    more = editor.page.get_by_role("button", name="查看详情")  # of newer frontends
    shown = editor.page.get_by_text(message)
    more.or_(shown).first.wait_for()
    if more.count():
        more.click()
    shown.first.wait_for()
    assert message in editor.page.evaluate("app.lastExecutionError.exception_message")
