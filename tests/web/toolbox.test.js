/** The button above a selected subgraph: whose training it begins. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";
import { jobs } from "../../web/js/store.js";
import { ID, toolboxCommands, trainCommand, trainerInside } from "../../web/js/toolbox.js";
import { app, Node } from "./comfyui/scripts/app.js";
import { Server } from "./server.js";

const MOTION = "StillMovingTrainMotionAdapter";
const SPATIAL = "StillMovingTrainSpatialAdapter";
let server;

beforeEach(() => {
  server = new Server();
  app.rootGraph = { nodes: [] };
  for (const { id } of jobs.all()) jobs.remove(id);
});

/** A subgraph of the open workflow with nodes of these types. */
function subgraph(...types) {
  const nodes = types.map((type, i) => Object.assign(new Node(type), { id: i + 1 }));
  const outer = app.add(new Node("a subgraph"));
  return Object.assign(outer, { subgraph: { nodes } });
}

test("a subgraph's one training is begun, of two that hang together the one that takes", () => {
  const both = subgraph(MOTION, "KSampler", SPATIAL);
  assert.equal(trainerInside(both).comfyClass, SPATIAL);
  assert.equal(trainerInside(subgraph(MOTION)).comfyClass, MOTION);
  assert.equal(trainerInside(subgraph(SPATIAL, SPATIAL)), undefined);
  assert.equal(trainerInside(subgraph(MOTION, MOTION)), undefined);
});

test("the button is there for such a subgraph alone", () => {
  assert.deepEqual(toolboxCommands(subgraph(MOTION)), [ID]);
  for (const item of [subgraph("KSampler"), new Node(SPATIAL), {}]) {
    assert.deepEqual(toolboxCommands(item), []);
  }
});

test("a press of it is a press of Train inside", async () => {
  const outer = subgraph(MOTION, SPATIAL);
  app.canvas = { selectedItems: new Set([{}, outer]) };
  await trainCommand(() => {}).function();
  const [prompt] = server.prompts;
  assert.deepEqual(prompt.partial_execution_targets, [`${outer.id}:2`]);
  delete app.canvas;
});

test("its words are where the editor looks for them", () => {
  for (const [language, word] of Object.entries({ en: "Train", zh: "训练" })) {
    const file = new URL(`../../locales/${language}/commands.json`, import.meta.url);
    const { [ID.replaceAll(".", "_")]: command } = JSON.parse(readFileSync(file, "utf8"));
    assert.equal(command.label, word);
  }
});
