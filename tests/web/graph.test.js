/** The training nodes of a workflow, and the uid that ties each to its job. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import * as graph from "../../web/js/graph.js";
import { app, Node } from "./comfyui/scripts/app.js";
import { randomNumbers } from "./job.js";

const { ensureUid, execId, isTrainer, randomToken, renameCopies, trainers, uidOf } = graph;
const MOTION = "StillMovingTrainMotionAdapter";

/** A training node with this id and uid. */
function trainer(id, uid) {
  const node = new Node(MOTION);
  node.id = id;
  if (uid) node.properties.still_moving_uid = uid;
  return node;
}

function subgraph(id, ...nodes) {
  return Object.assign(new Node("Subgraph"), { id, subgraph: { nodes } });
}

function open(...nodes) {
  app.rootGraph = { nodes };
}

const uids = () => trainers().map(({ node }) => uidOf(node));

beforeEach(() => open());

test("the nodes that train are those three", () => {
  const kinds = ["MotionAdapter", "SpatialAdapter", "MotionFromClips"];
  for (const kind of kinds) assert.ok(isTrainer({ comfyClass: `StillMovingTrain${kind}` }));
  assert.ok(!isTrainer({ comfyClass: "StillMovingApplyMotionAdapter" }));
  assert.ok(!isTrainer({}));
});

test("a node in subgraphs has the id that the server knows it by", () => {
  const [outside, inside, deep] = [trainer(7, "a"), trainer(2, "b"), trainer("9", "c")];
  open(outside, new Node("KSampler"), subgraph(5, inside, subgraph("3", deep)));
  assert.deepEqual([outside, inside, deep].map(execId), ["7", "5:2", "5:3:9"]);
  assert.equal(execId(trainer(1)), undefined);
});

test("older editors keep the root graph elsewhere, and its nodes under another name", () => {
  const node = trainer(4, "a");
  const root = { _nodes: [node] };
  const newer = app.rootGraph;
  try {
    app.rootGraph = undefined;
    app.graph = root;
    assert.equal(execId(node), "4");
    app.graph = { nodes: [], rootGraph: root }; // a subgraph that is open
    assert.equal(execId(node), "4");
    app.graph = undefined; // the editor is still starting
    assert.deepEqual(trainers(), []);
  } finally {
    app.rootGraph = newer;
    delete app.graph;
  }
});

test("a token is 24 random hexadecimal digits", () => {
  const tokens = Array.from({ length: 100 }, randomToken);
  for (const token of tokens) assert.match(token, /^[0-9a-f]{24}$/);
  assert.equal(new Set(tokens).size, 100);
});

test("a node is named once", () => {
  const node = trainer(1);
  ensureUid(node);
  const uid = uidOf(node);
  assert.match(uid, /^[0-9a-f]{24}$/);
  ensureUid(node);
  assert.equal(uidOf(node), uid);
});

test("a copy gets a name of its own and the original keeps its job", () => {
  const [original, copy] = [trainer(2, "here"), trainer(10, "here")];
  open(copy, original); // whatever their order in the file
  renameCopies();
  assert.equal(uidOf(original), "here");
  assert.match(uidOf(copy), /^here-[0-9a-f]{8}$/);
});

test("the original is the one with the lowest ids, outer ones first", () => {
  const [outer, inner, deeper] = [trainer(4, "x"), trainer(1, "x"), trainer(1, "x")];
  open(subgraph(5, inner, subgraph(4, deeper)), outer);
  renameCopies();
  assert.equal(uidOf(outer), "x");
  assert.notEqual(uidOf(inner), "x");

  const [beside, within] = [trainer(6, "y"), trainer(2, "y")];
  open(beside, subgraph(5, within));
  renameCopies();
  assert.equal(uidOf(within), "y");
  assert.notEqual(uidOf(beside), "y");
});

test("ids are compared as numbers", () => {
  const [ninth, tenth] = [trainer("9", "x"), trainer("10", "x")];
  open(tenth, ninth);
  renameCopies();
  assert.equal(uidOf(ninth), "x");
});

test("the same copy gets the same name again, so undo keeps its job", () => {
  const rename = () => {
    open(trainer(1, "here"), trainer(2, "here"), trainer(3, "here"));
    renameCopies();
    return uids();
  };
  const names = rename();
  assert.equal(new Set(names).size, 3);
  assert.deepEqual(rename(), names);
});

test("a copy of a copy has a name that does not grow without end", () => {
  let uid = randomToken();
  for (let i = 0; i < 10; i++) {
    const copy = trainer(2, uid);
    open(trainer(1, uid), copy);
    renameCopies();
    uid = uidOf(copy);
    assert.ok(uid.length <= 33, uid);
  }
});

test("a subgraph that is used twice shares its nodes, and they keep their names", () => {
  const shared = { nodes: [trainer(1, "here")] };
  open(...[5, 6].map((id) => Object.assign(new Node("Subgraph"), { id, subgraph: shared })));
  assert.equal(trainers().length, 2);
  renameCopies();
  assert.deepEqual(uids(), ["here", "here"]);
});

test("a trainer of an old workflow gets a name", () => {
  const node = trainer(1);
  open(node);
  renameCopies();
  assert.match(uidOf(node), /^[0-9a-f]{24}$/);
});

test("whatever is copied where, names end up different, and naming again changes none", () => {
  const random = randomNumbers(6);
  const below = (limit) => Math.floor(random() * limit);
  const someNodes = (depth) =>
    Array.from({ length: 1 + below(4) }, (_, i) =>
      depth && random() < 0.3
        ? subgraph(i + 1, ...someNodes(depth - 1))
        : trainer(i + 1, ["a", "b", undefined][below(3)]),
    );
  for (let round = 0; round < 300; round++) {
    open(...someNodes(2));
    const before = new Set(uids().filter(Boolean));
    renameCopies();
    const names = uids();
    assert.equal(new Set(names).size, names.length);
    for (const uid of before) assert.ok(names.includes(uid)); // each job still has its node
    renameCopies();
    assert.deepEqual(uids(), names);
  }
});
