/** What a node says of its last run, on the node. */

import { isVisible, showOnPage } from "./page.js";
import assert from "node:assert/strict";
import { test } from "node:test";
import { app, Node } from "./comfyui/scripts/app.js";
import "../../web/js/main.js";

const TYPE = "StillMovingClipSet";
const make = (type = TYPE) => app.add(new Node(type, { frames: 16 }));
const widgetOf = (node) => node.widgets.find(({ name }) => name === "still_moving_notes");
const linesOf = (node) =>
  [...widgetOf(node).element.querySelectorAll("li")].map((item) => item.textContent);
const run = (node, ...notes) => node.onExecuted({ images: [], still_moving_notes: notes });

test("a node that has nothing to say has no widget for it", () => {
  const node = make();
  run(node);
  node.onExecuted(null); // what ComfyUI sends of a cached node that shows nothing
  node.onExecuted({ text: ["saved"] });
  assert.deepEqual(node.widgets.map(({ name }) => name), ["frames"]);
});

test("notes are lines on the node, text and never HTML", () => {
  const node = make();
  run(node, "2 files not read", "<b>a.png</b> is small");
  assert.deepEqual(linesOf(node), ["2 files not read", "<b>a.png</b> is small"]);
  assert.equal(widgetOf(node).element.querySelector("b"), null);
  assert.ok(node.size[1] >= node.computeSize()[1]);
  showOnPage(widgetOf(node).element);
  assert.ok(isVisible(widgetOf(node).element));
});

test("the notes are those of the last run, in one widget", () => {
  const node = make();
  for (const note of ["one", "two"]) run(node, note);
  assert.deepEqual(linesOf(node), ["two"]);
  assert.equal(node.widgets.filter(({ name }) => name === "still_moving_notes").length, 1);
  run(node);
  assert.deepEqual(linesOf(node), []);
  assert.equal(widgetOf(node).options.getMinHeight(), 0);
  showOnPage(widgetOf(node).element);
  assert.ok(!isVisible(widgetOf(node).element));
});

test("notes are in no workflow and no prompt", async () => {
  const node = make();
  run(node, "a note");
  assert.deepEqual(node.serialize().widgets_values, [16]);
  const { output } = await app.graphToPrompt();
  assert.deepEqual(output[node.id].inputs, { frames: 16 });
});

test("a trainer has them below its panel, and nodes of other packs have none", () => {
  const trainer = make("StillMovingTrainMotionAdapter");
  run(trainer, "1 GiB of 9 free");
  assert.deepEqual(linesOf(trainer), ["1 GiB of 9 free"]);
  assert.equal(trainer.widgets.at(-1), widgetOf(trainer));
  assert.equal(make("KSampler").onExecuted, undefined);
});
