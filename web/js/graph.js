/** The training nodes of the open workflow, subgraphs included, and the uid that names each. */

import { app } from "../../../scripts/app.js";

/** @import { Graph, GraphNode } from "../../../scripts/app.js" */

/**
 * A node, and the id that /prompt knows it by.
 * @typedef {{ node: GraphNode, id: string }} Place
 */

const TRAINERS = new Set([
  "StillMovingTrainMotionAdapter",
  "StillMovingTrainSpatialAdapter",
  "StillMovingTrainCustomizeAVideo",
  "StillMovingTrainVMC",
  "StillMovingTrainNewMove",
  "StillMovingTrainMotionFromClips", // of older workflows
]);
const UID = "still_moving_uid";

/** @param {string | undefined} type a node's class, as ComfyUI knows it */
export const isOurType = (type) => (type ?? "").startsWith("StillMoving");

/** @param {GraphNode} node */
export const isOurs = (node) => isOurType(node.comfyClass);

/** @param {GraphNode} node */
export const isTrainer = (node) => TRAINERS.has(node.comfyClass ?? "");

/** A random word. Pages of a plain http address in the network have no crypto.randomUUID. */
export function randomToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Every node with the id that /prompt knows it by: "7", in a subgraph "5:7".
 * @param {Graph | undefined} graph
 * @returns {Generator<Place>}
 */
function* walk(graph, prefix = "") {
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    yield { node, id: `${prefix}${node.id}` };
    if (node.subgraph) yield* walk(node.subgraph, `${prefix}${node.id}:`);
  }
}

/**
 * The nodes of a graph and of its subgraphs.
 * @param {Graph | undefined} graph
 */
export const nodesIn = (graph) => [...walk(graph)].map(({ node }) => node);

/** [{node, id}] of the open workflow; a subgraph that is used twice has its nodes twice. */
export function trainers() {
  const root = app.rootGraph ?? app.graph?.rootGraph ?? app.graph;
  return [...walk(root)].filter(({ node }) => isTrainer(node));
}

/**
 * The id that /prompt knows a node by; undefined when it is not in the open workflow.
 * @param {GraphNode} node
 */
export const execId = (node) => trainers().find((it) => it.node === node)?.id;

/** @param {GraphNode} node */
export const uidOf = (node) => node.properties[UID];

/**
 * The name of a node. One that is being made gets it here; a saved workflow puts its own in place.
 * @param {GraphNode} node
 */
export function ensureUid(node) {
  return (node.properties[UID] ??= randomToken());
}

/**
 * The same copy at the same place always gets the same name, so undo and redo keep its job.
 * @param {string} uid
 * @param {string} id
 */
function copyName(uid, id) {
  let hash = 2166136261; // FNV-1a
  for (const letter of `${uid} ${id}`) {
    hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 16777619);
  }
  return `${uid.slice(0, 24)}-${(hash >>> 0).toString(16).padStart(8, "0")}`;
}

/** @param {string} id */
const numbers = (id) => id.split(":").map(Number);

/** @type {(a: Place, b: Place) => number} */
function byPlace(a, b) {
  const [ours, theirs] = [numbers(a.id), numbers(b.id)];
  const first = ours.findIndex((number, i) => number !== theirs[i]);
  return first < 0 ? ours.length - theirs.length : ours[first] - (theirs[first] ?? -1);
}

/**
 * Give every copied node a name of its own. The original, which was there first and so has the
 * lowest id, keeps its name and with it its job.
 */
export function renameCopies() {
  /** @type {Map<string, GraphNode>} */
  const owners = new Map();
  for (const { node, id } of trainers().sort(byPlace)) {
    let uid = ensureUid(node);
    const owner = owners.get(uid);
    if (owner && owner !== node) uid = node.properties[UID] = copyName(uid, id);
    owners.set(uid, node);
  }
}
