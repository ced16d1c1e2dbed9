/** The whole of the browser's half, as ComfyUI wires it: events, nodes, button and panel. */

import { buttonNamed, settle } from "./page.js";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { api } from "./comfyui/scripts/api.js";
import { app, Node } from "./comfyui/scripts/app.js";
import "../../web/js/main.js";
import { jobs } from "../../web/js/store.js";
import { numbered, view } from "./job.js";
import { Server } from "./server.js";

const MOTION = "StillMovingTrainMotionAdapter";
const FIELDS = { rank: 4, steps: 1000 };
const [extension] = app.extensions;
const make = (type) => new Node(type, FIELDS);
let server = new Server();

// ComfyUI sends events from when the scripts are loaded, and calls setup() later.
server.put(numbered(1));
api.receive("still_moving.job", numbered(2));
const idsBeforeSetup = jobs.all().map(({ id }) => id);
await extension.setup();
const idsAfterSetup = jobs.all().map(({ id }) => id);

beforeEach(async () => {
  app.loadGraphData({ nodes: [] }, make);
  server = new Server();
  api.receive("reconnected"); // the server knows no job
  await settle();
  server.requests = [];
  app.extensionManager.toasts = [];
});

/** A training node in the open workflow. */
function addNode(uid) {
  const node = app.add(make(MOTION));
  if (uid) node.properties.still_moving_uid = uid;
  return node;
}

async function push(changes) {
  server.push(view({ uid: "here", ...changes }));
  await settle();
}

const widgetOf = (node, type) => node.widgets.find((widget) => widget.type === type);
const panelOf = (node) => widgetOf(node, "still_moving_panel").element;
const phaseOf = (node) => panelOf(node).querySelector(".sm-phase").textContent;
const saysWhatToPress = (node) => !panelOf(node).querySelector(".sm-nothing").hidden;

/** The button's text, with a star in front when it cannot be pressed. */
function trainButton(node) {
  const { name, label, disabled } = widgetOf(node, "button");
  return `${disabled ? "*" : ""}${label ?? name}`;
}

const uidsOf = () => app.rootGraph.nodes.map(({ properties }) => properties.still_moving_uid);

test("events are heard from the start, and a page that is ready knows the server's jobs", () => {
  assert.deepEqual(idsBeforeSetup, [numbered(2).id]);
  assert.deepEqual(idsAfterSetup, [numbered(1).id]);
  assert.equal(document.querySelectorAll("link[rel=stylesheet]").length, 1);
});

test("only nodes that train get a panel and a button", () => {
  assert.deepEqual(
    make(MOTION).widgets.map(({ name }) => name),
    ["rank", "steps"],
  );
  const names = (type) => app.add(make(type)).widgets.map(({ name }) => name);
  assert.deepEqual(names("KSampler"), ["rank", "steps"]);
  assert.deepEqual(names(MOTION), ["rank", "steps", "Train", "node_uid"]);
});

test("a new node has a name and room for its panel", () => {
  const node = addNode();
  assert.match(uidsOf()[0], /^[0-9a-f]{24}$/);
  assert.equal(node.size[0], 340);
  assert.ok(node.size[1] >= node.computeSize()[1]);
});

test("a new node says what to press", async () => {
  const node = addNode();
  await settle();
  assert.ok(saysWhatToPress(node));
  assert.equal(trainButton(node), "Train");
});

test("a job shows on its node, button included, and on no other", async () => {
  const [node, other] = [addNode("here"), addNode("other")];
  await push({ phase: "running" });
  assert.equal(phaseOf(node), "Training");
  assert.equal(trainButton(node), "*Training...");
  assert.ok(saysWhatToPress(other));
  assert.equal(trainButton(other), "Train");
  assert.ok(node.drawings > 0);
});

test("a press on Train starts, an answer frees", async () => {
  const node = addNode("here");
  widgetOf(node, "button").callback();
  await settle();
  assert.equal(trainButton(node), "*Starting...");
  assert.deepEqual(server.requests, ["POST /prompt"]);
  api.receive("execution_error", { prompt_id: "p1" });
  await settle();
  assert.equal(trainButton(node), "Train");
});

test("a panel's button commands its job and shows the answer", async () => {
  const node = addNode("here");
  await push({});
  buttonNamed(panelOf(node), "Pause").click();
  await settle();
  assert.deepEqual(server.requests, [`POST /jobs/${view().id}/pause`]);
  assert.equal(phaseOf(node), "Paused");
  assert.equal(trainButton(node), "*Paused");
});

test("a plain run has the node's name but no token", async () => {
  const node = addNode("here");
  const { output } = await app.graphToPrompt();
  assert.deepEqual(output[node.id].inputs, { ...FIELDS, node_uid: "here" });
});

test("a saved workflow holds the schema's values only, and brings back its job", async () => {
  const node = addNode("here");
  widgetOf(node, "number").value = 8;
  await push({ name: "the job" });
  const saved = node.serialize();
  assert.deepEqual(saved.widgets_values, [8, 1000]);
  const before = (await app.graphToPrompt()).output;
  app.loadGraphData({ nodes: [saved] }, make); // undo does the same
  await settle();
  assert.deepEqual((await app.graphToPrompt()).output, before);
  assert.deepEqual(uidsOf(), ["here"]);
  const [again] = app.rootGraph.nodes;
  assert.notEqual(again, node);
  assert.equal(panelOf(again).querySelector(".sm-name").textContent, "the job");
});

test("a copy has no job, and the original keeps its own", async () => {
  const node = addNode("here");
  await push({});
  const copy = app.add(make(MOTION));
  copy.configure({ ...node.serialize(), id: 99 });
  await settle();
  assert.equal(uidsOf()[0], "here");
  assert.notEqual(uidsOf()[1], "here");
  assert.equal(phaseOf(node), "Training");
  assert.ok(saysWhatToPress(copy));
});

test("a node in a subgraph shows its job", async () => {
  const holder = app.add(new Node("Subgraph"));
  holder.subgraph = { nodes: [] };
  const node = app.add(make(MOTION), holder.subgraph);
  node.properties.still_moving_uid = "here";
  await push({});
  assert.equal(phaseOf(node), "Training");
});

test("an older view never replaces a newer one", async () => {
  const node = addNode("here");
  await push({ phase: "paused" });
  api.receive("still_moving.job", view({ uid: "here", phase: "running", seq: server.seq - 1 }));
  await settle();
  assert.equal(phaseOf(node), "Paused");
});

test("a removed job leaves its node", async () => {
  const node = addNode("here");
  await push({});
  server.drop(view().id);
  await settle();
  assert.ok(saysWhatToPress(node));
  assert.equal(trainButton(node), "Train");
});

test("after a lost connection the server's list counts, and no prompt is waited for", async () => {
  const node = addNode("here");
  await push({});
  server.views = new Map([[view().id, view({ uid: "here", phase: "finished", seq: 0 })]]);
  api.receive("reconnected");
  await settle();
  assert.equal(phaseOf(node), "Finished");

  widgetOf(node, "button").callback();
  await settle();
  assert.equal(trainButton(node), "*Starting...");
  api.receive("reconnected");
  await settle();
  assert.equal(trainButton(node), "Train");
});

test("a list that cannot be read says so", async () => {
  server.refusal = "jobs: no folder.";
  api.receive("reconnected");
  await settle();
  const [{ summary, detail }] = app.extensionManager.toasts;
  assert.deepEqual([summary, detail], [
    "Still-Moving: the jobs cannot be listed",
    "jobs: no folder.",
  ]);
});

test("the end of a job is said once and its adapter can be selected", async () => {
  const node = addNode("here");
  app.refreshed = 0;
  for (const phase of ["running", "finished", "finished"]) {
    await push({ phase, adapter: phase === "finished" ? "mine.safetensors" : null });
  }
  const details = app.extensionManager.toasts.map(({ detail }) => detail);
  assert.deepEqual(details, ["adapter 1: Ready to select: mine.safetensors"]);
  assert.equal(app.refreshed, 1);
  assert.equal(trainButton(node), "Train");
});

test("the tab's icon follows the jobs", async () => {
  const [tab] = app.extensionManager.tabs;
  for (const number of [1, 2, 3]) server.push(numbered(number, { phase: "queued" }));
  await settle();
  assert.equal(tab.iconBadge, "3");
  server.drop(numbered(2).id);
  await settle();
  assert.equal(tab.iconBadge, "2");
});

test("a node grows with its panel and never shrinks", async () => {
  const node = addNode("here");
  node.size = [1000, 1000];
  const { options } = widgetOf(node, "still_moving_panel");
  assert.equal(options.getMinHeight(), 96);
  assert.ok(options.getMaxHeight() > options.getMinHeight());
  node.onExecuted({});
  assert.deepEqual(node.size, [1000, 1000]);
  node.size = [100, 100];
  node.onExecuted({});
  assert.deepEqual(node.size, node.computeSize());
});

test("a run that gave nothing says why, until the node has an adapter", async () => {
  const node = addNode("here");
  node.title = "My trainer";
  node.onExecuted({ text: ["Press Train.", "Or wait."] });
  const [{ severity, summary, detail }] = app.extensionManager.toasts;
  const expected = ["warn", "My trainer", "Press Train.\nOr wait."];
  assert.deepEqual([severity, summary, detail], expected);
  node.onExecuted({ text: [] });
  node.onExecuted({});
  assert.equal(app.extensionManager.toasts.length, 1);
  await push({ phase: "finished", adapter: "mine.safetensors" });
  app.extensionManager.toasts = [];
  node.onExecuted({ text: ["mine.safetensors"] });
  assert.deepEqual(app.extensionManager.toasts, []);
});

test("a run that began a job lists the jobs, and says nothing", async () => {
  const node = addNode("here");
  server.put(view({ uid: "here" }));
  node.onExecuted({ still_moving_job: [view().id], text: ["Begun."] });
  await settle();
  assert.equal(phaseOf(node), "Training");
  assert.deepEqual(app.extensionManager.toasts, []);
});

test("what the editor does after a run is still done", () => {
  const node = make(MOTION);
  const calls = [];
  node.onExecuted = function (...args) {
    calls.push([this, ...args]);
  };
  app.add(node);
  const output = {};
  node.onExecuted(output, "more");
  assert.deepEqual(calls, [[node, output, "more"]]);
});
