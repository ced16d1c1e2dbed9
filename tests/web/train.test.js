/** The Train button: one press, one prompt, and a button that tells what became of it. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { uidOf } from "../../web/js/graph.js";
import { ACTIVE, PHASES } from "../../web/js/phases.js";
import { jobs } from "../../web/js/store.js";
import { buttonOf, forgetPrompts, reasonOf, train, watchPrompts } from "../../web/js/train.js";
import { api } from "./comfyui/scripts/api.js";
import { app, Node } from "./comfyui/scripts/app.js";
import { view } from "./job.js";
import { Server } from "./server.js";

const MOTION = "StillMovingTrainMotionAdapter";
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const [TRAIN, STARTING] = [
  ["Train", true],
  ["Starting...", false],
];
let server;
let changes = 0;

watchPrompts(() => (changes += 1));
const press = (node) => train(node, () => (changes += 1));

beforeEach(() => {
  server = new Server();
  app.rootGraph = { nodes: [] };
  app.extensionManager.toasts = [];
  for (const { id } of jobs.all()) jobs.remove(id);
  forgetPrompts();
  changes = 0;
});

/** A training node of the open workflow. */
function trainer(uid = "here", fields = { steps: 1000 }) {
  const node = app.add(new Node(MOTION, fields));
  node.properties.still_moving_uid = uid;
  return node;
}

/** A prompt whose answer the test gives, with answer(). */
function slowPrompt() {
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  const { promptAnswer } = server;
  server.promptAnswer = async () => {
    await answered;
    return promptAnswer();
  };
  return answer;
}

const toastDetails = () => app.extensionManager.toasts.map(({ detail }) => detail);

test("a press runs this node only, with a token and its name", async () => {
  const other = trainer("other");
  const node = trainer("here");
  await press(node);
  const [prompt] = server.prompts;
  assert.deepEqual(prompt.partial_execution_targets, [String(node.id)]);
  assert.equal(prompt.front, true); // before what already waits in ComfyUI's queue
  const { run_token: token, ...inputs } = prompt.prompt[node.id].inputs;
  assert.match(token, /^[0-9a-f]{24}$/);
  assert.deepEqual(inputs, { steps: 1000, node_uid: "here" });
  assert.deepEqual(prompt.prompt[other.id].inputs, { steps: 1000 });
});

test("every press has a token of its own", async () => {
  const node = trainer();
  for (let i = 1; i <= 2; i++) {
    await press(node);
    api.receive("execution_success", { prompt_id: `p${i}` });
  }
  const tokens = server.prompts.map(({ prompt }) => prompt[node.id].inputs.run_token);
  assert.equal(new Set(tokens).size, 2);
});

test("a double click starts one job", async () => {
  const node = trainer();
  await Promise.all([press(node), press(node)]);
  await press(node); // the prompt is under way, its job has not begun
  assert.equal(server.prompts.length, 1);
  assert.deepEqual(buttonOf("here"), STARTING);
});

test("another node's button stays as it is", async () => {
  await press(trainer("here"));
  assert.deepEqual(buttonOf("other"), TRAIN);
});

test("the button is told at once and again when the prompt is in the queue", async () => {
  const pressed = press(trainer());
  assert.equal(changes, 1);
  await pressed;
  assert.equal(changes, 2);
});

for (const end of ENDS) {
  test(`after ${end} of its prompt a node can be trained again`, async () => {
    await press(trainer());
    api.receive(end, { prompt_id: "another" });
    assert.deepEqual(buttonOf("here"), STARTING);
    changes = 0;
    api.receive(end, { prompt_id: "p1" });
    assert.deepEqual(buttonOf("here"), TRAIN);
    assert.equal(changes, 1);
  });
}

test("a prompt that ends before the server has named it does not hold the button", async () => {
  const answer = slowPrompt();
  const pressed = press(trainer());
  await new Promise(setImmediate);
  assert.equal(server.prompts.length, 1);
  api.receive("execution_success", { prompt_id: "p1" });
  assert.deepEqual(buttonOf("here"), STARTING);
  answer();
  await pressed;
  assert.deepEqual(buttonOf("here"), TRAIN);
});

test("an empty queue ends all prompts but those that are on their way to it", async () => {
  await press(trainer("first"));
  const answer = slowPrompt();
  const pressed = press(trainer("second"));
  api.receive("status", { exec_info: { queue_remaining: 1 } });
  api.receive("status", null); // as after a lost connection
  assert.deepEqual(buttonOf("first"), STARTING);
  api.receive("status", { exec_info: { queue_remaining: 0 } });
  assert.deepEqual(buttonOf("first"), TRAIN);
  assert.deepEqual(buttonOf("second"), STARTING);
  answer();
  await pressed;
});

test("after a lost connection no prompt holds a button", async () => {
  await press(trainer());
  forgetPrompts();
  assert.deepEqual(buttonOf("here"), TRAIN);
});

test("the button tells what its node's newest job does, and waits for its end", () => {
  const labels = { queued: "Waiting...", paused: "Paused" };
  for (const phase of PHASES) {
    jobs.put(view({ uid: "here", phase }));
    const active = [labels[phase] ?? "Training...", false];
    assert.deepEqual(buttonOf("here"), ACTIVE.includes(phase) ? active : TRAIN, phase);
  }
});

test("a node whose job runs starts no other one", async () => {
  jobs.put(view({ uid: "here" }));
  await press(trainer());
  assert.deepEqual(server.prompts, []);
});

test("a refused graph says which input is missing, and the button is free again", async () => {
  const error = {
    error: { message: "Prompt outputs failed validation" },
    node_errors: {
      3: { class_type: "KSampler", errors: [] },
      7: {
        class_type: MOTION,
        errors: [{ message: "Required input is missing", details: "model" }],
      },
    },
  };
  server.promptAnswer = () => new Response(JSON.stringify(error), { status: 400 });
  await press(trainer());
  const [toast] = app.extensionManager.toasts;
  assert.equal(toast.summary, "Training did not start");
  assert.deepEqual(toastDetails(), [`${MOTION}: Required input is missing (model)`]);
  assert.deepEqual(buttonOf("here"), TRAIN);
});

test("a muted node says so, and nothing is sent", async () => {
  const node = trainer();
  node.mode = 2;
  await press(node);
  assert.deepEqual(server.prompts, []);
  assert.deepEqual(toastDetails(), ["This node is muted or bypassed: enable it first."]);
  assert.deepEqual(buttonOf("here"), TRAIN);
});

test("the reason is the most exact one that there is", () => {
  const nodes = { 1: { class_type: "A", errors: [{ message: "bad" }] } };
  const whole = { message: "Prompt has no outputs" };
  assert.equal(reasonOf({ response: { error: whole, node_errors: nodes } }), "A: bad");
  assert.equal(reasonOf({ response: { error: whole, node_errors: {} } }), whole.message);
  assert.equal(reasonOf(new Error("no connection")), "no connection");
  assert.equal(reasonOf("nothing"), "nothing");
});

test("a copy is renamed before it trains, so the original's job stays its own", async () => {
  trainer("here");
  const copy = trainer("here");
  await press(copy);
  const { node_uid: uid } = server.prompts[0].prompt[copy.id].inputs;
  assert.notEqual(uid, "here");
  assert.equal(uid, uidOf(copy));
});

test("Train works in a subgraph", async () => {
  const holder = app.add(new Node("Subgraph"));
  holder.subgraph = { nodes: [] };
  const node = app.add(new Node(MOTION), holder.subgraph);
  node.properties.still_moving_uid = "here";
  await press(node);
  const [{ partial_execution_targets: targets, prompt }] = server.prompts;
  assert.deepEqual(targets, [`${holder.id}:${node.id}`]);
  assert.equal(prompt[targets[0]].inputs.node_uid, "here");
});
