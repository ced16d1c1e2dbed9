/** A preset and its numbers, as an artist changes them and as workflows keep them. */

import "./page.js";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Node } from "./comfyui/scripts/app.js";
import { presetOf, watchNumbers } from "../../web/js/numbers.js";

const PRESETS = {
  paper: { steps: 4000, rank: 4, lr: 2e-5 },
  fast: { steps: 1000, rank: 4, lr: 1e-4 },
};
const VALUES = Object.keys(PRESETS); // one list for all nodes, as the frontend has it

function trainer(values = { preset: "paper", ...PRESETS.paper }) {
  const node = new Node("Trainer", values);
  widget(node, "preset").options = { values: VALUES };
  watchNumbers(node, PRESETS);
  return node;
}

const widget = (node, name) => node.widgets.find((one) => one.name === name);
const shown = (node) => node.widgets.map(({ value }) => value);

/** As the editor does when a person changes a widget. */
function change(node, name, value) {
  const changed = widget(node, name);
  changed.value = value;
  changed.callback?.(value);
}

test("choosing a preset fills its numbers in", () => {
  const node = trainer();
  change(node, "preset", "fast");
  assert.deepEqual(shown(node), ["fast", 1000, 4, 1e-4]);
  change(node, "preset", "paper");
  assert.deepEqual(shown(node), ["paper", 4000, 4, 2e-5]);
});

test("a changed number makes the preset custom, and changed back it is the preset again", () => {
  const node = trainer();
  change(node, "preset", "fast");
  change(node, "rank", 8);
  assert.deepEqual(shown(node), ["fast, custom", 1000, 8, 1e-4]);
  assert.ok(widget(node, "preset").options.values.includes("fast, custom"));
  change(node, "rank", 4);
  assert.deepEqual(shown(node), ["fast", 1000, 4, 1e-4]);
  assert.deepEqual(widget(node, "preset").options.values, VALUES);
});

test("choosing the preset of a custom one brings its numbers back", () => {
  const node = trainer();
  change(node, "steps", 7);
  change(node, "preset", "paper");
  assert.deepEqual(shown(node), ["paper", 4000, 4, 2e-5]);
  change(node, "steps", 7);
  change(node, "preset", "paper, custom"); // chosen again: nothing changes
  assert.deepEqual(shown(node), ["paper, custom", 7, 4, 2e-5]);
});

test("no number is 0: it is the preset's", () => {
  const node = trainer();
  change(node, "preset", "fast");
  change(node, "steps", 0);
  assert.deepEqual(shown(node), ["fast", 1000, 4, 1e-4]);
});

test("a saved workflow keeps what it showed, an older one shows what its 0 meant", () => {
  const node = trainer();
  change(node, "preset", "fast");
  change(node, "steps", 500);
  const again = trainer();
  again.configure(node.serialize());
  assert.deepEqual(shown(again), ["fast, custom", 500, 4, 1e-4]);
  const older = trainer();
  older.configure({ ...node.serialize(), widgets_values: ["fast", 0, 0, 0] });
  assert.deepEqual(shown(older), ["fast", 1000, 4, 1e-4]);
});

test("numbers that a preset has no longer are kept, and said to be custom", () => {
  const node = trainer();
  node.configure({ ...node.serialize(), widgets_values: ["fast", 900, 4, 1e-4] });
  assert.deepEqual(shown(node), ["fast, custom", 900, 4, 1e-4]);
});

test("a node's list is its own, and a preset that nobody knows stays as it is", () => {
  const [one, other] = [trainer(), trainer()];
  change(one, "rank", 9);
  assert.deepEqual(widget(other, "preset").options.values, VALUES);
  assert.deepEqual(VALUES, Object.keys(PRESETS));
  other.configure({ ...other.serialize(), widgets_values: ["gone", 3, 4, 5] });
  assert.deepEqual(shown(other), ["gone", 3, 4, 5]);
});

test("what else a widget does when it is changed is done, too", () => {
  const node = new Node("Trainer", { preset: "paper", ...PRESETS.paper });
  const seen = [];
  widget(node, "steps").callback = (value) => seen.push(value);
  watchNumbers(node, PRESETS);
  change(node, "steps", 5);
  assert.deepEqual(seen, [5]);
});

/** Of Scale Schedule: the first preset is none, and 0 is a scale. */
const SCHEDULES = {
  "by hand": {},
  late: { start: 0.4, end: 0.8, curve: "step" },
  rising: { start: 0, end: 1, curve: "linear" },
};

function schedule() {
  const node = new Node("Schedule", { start: 0, end: 1, curve: "linear", preset: "by hand" });
  widget(node, "preset").options = { values: Object.keys(SCHEDULES) };
  watchNumbers(node, SCHEDULES, true);
  return node;
}

test("without a preset numbers are anything, and choosing one still fills them in", () => {
  const node = schedule();
  change(node, "end", 0.3);
  assert.deepEqual(shown(node), [0, 0.3, "linear", "by hand"]);
  change(node, "preset", "late");
  assert.deepEqual(shown(node), [0.4, 0.8, "step", "late"]);
  change(node, "preset", "by hand");
  assert.deepEqual(shown(node), [0.4, 0.8, "step", "by hand"]);
});

test("where 0 is a number it stays, and makes the preset custom", () => {
  const node = schedule();
  change(node, "preset", "late");
  change(node, "start", 0);
  assert.deepEqual(shown(node), [0, 0.8, "step", "late, custom"]);
  const again = schedule();
  again.configure(node.serialize());
  assert.deepEqual(shown(again), [0, 0.8, "step", "late, custom"]);
  change(again, "start", 0.4);
  assert.deepEqual(shown(again), [0.4, 0.8, "step", "late"]);
  const older = schedule(); // of a workflow from before there were presets
  older.configure({ ...node.serialize(), widgets_values: [0, 0, "smooth"] });
  assert.deepEqual(shown(older), [0, 0, "smooth", "by hand"]);
});

test("a node without presets is left alone", () => {
  const node = new Node("Other", { steps: 0 });
  watchNumbers(node, PRESETS);
  watchNumbers(trainer(), undefined);
  assert.deepEqual(shown(node), [0]);
});

/** Of Customize-A-Video: what the absorber takes, by what it is. */
const ABSORBING = {
  paper: { steps: 500, learns: "LoRA", first: { absorber: { lora: 150, both: 300, none: 0 } } },
  fast: { steps: 90, learns: "weights", first: { absorber: { lora: 10, both: 10, none: 0 } } },
};

function absorbing() {
  const values = { preset: "paper", absorber: "lora", first: 150, learns: "LoRA", steps: 500 };
  const node = new Node("Trainer", values);
  widget(node, "preset").options = { values: VALUES };
  watchNumbers(node, ABSORBING);
  return node;
}

test("a number that hangs on a choice follows it, while it is the preset's", () => {
  const node = absorbing();
  change(node, "absorber", "both");
  assert.deepEqual(shown(node), ["paper", "both", 300, "LoRA", 500]);
  change(node, "absorber", "none");
  assert.deepEqual(shown(node), ["paper", "none", 0, "LoRA", 500]);
  change(node, "absorber", "lora");
  change(node, "first", 7);
  change(node, "absorber", "both");
  assert.deepEqual(shown(node), ["paper, custom", "both", 7, "LoRA", 500]);
  change(node, "preset", "fast");
  assert.deepEqual(shown(node), ["fast", "both", 10, "weights", 90]);
});

test("a choice can be a preset's, too", () => {
  const node = absorbing();
  change(node, "learns", "weights");
  assert.deepEqual(shown(node), ["paper, custom", "lora", 150, "weights", 500]);
  change(node, "preset", "paper");
  assert.deepEqual(shown(node), ["paper", "lora", 150, "LoRA", 500]);
});

test("the preset behind what is shown", () => {
  assert.equal(presetOf("low memory, custom"), "low memory");
  assert.equal(presetOf("low memory"), "low memory");
});
