/** The Train button: runs the graph that feeds one node, with the token that starts its job. */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { execId, randomToken, renameCopies, uidOf } from "./graph.js";
import { showError } from "./notices.js";
import { ACTIVE } from "./phases.js";
import { said } from "./said.js";
import { jobs } from "./store.js";
import { phrase, say } from "./words.js";

/** @import { Refusal } from "../../../scripts/api.js" */
/** @import { GraphNode } from "../../../scripts/app.js" */
/** @import { Phase } from "./phases.js" */

/** @type {Partial<Record<Phase, string>>} */
const LABELS = { queued: phrase("Waiting..."), paused: phrase("Paused") };
const ENDS = /** @type {const} */ ([
  "execution_success",
  "execution_error",
  "execution_interrupted",
]);

// Nodes whose graph is on its way to a job: uid -> prompt id (null until the server has said it).
/** @type {Map<string | undefined, string | null>} */
const starting = new Map();
/** @type {Set<string>} */
let endedEarly = new Set(); // prompts that ended before that

/**
 * The text of a node's button, and whether it can be pressed.
 * @param {string | undefined} uid
 * @returns {[label: string, enabled: boolean]}
 */
export function buttonOf(uid) {
  const view = jobs.byUid(uid);
  if (view && ACTIVE.includes(view.phase)) {
    return [say(LABELS[view.phase] ?? phrase("Training...")), false];
  }
  return starting.has(uid) ? [say("Starting..."), false] : [say("Train"), true];
}

/**
 * The first reason for which ComfyUI refused a prompt, in one line.
 * @param {Partial<Error> & { response?: Refusal }} error
 */
export function reasonOf(error) {
  const { error: whole, node_errors: nodes } = error.response ?? {};
  for (const { class_type: type, errors } of Object.values(nodes ?? {})) {
    for (const { message, details } of errors ?? []) {
      // ComfyUI puts an input's name before what a node says of it.
      const [input, ...reason] = (details ?? "").split(" - ");
      const words = [input, ...(reason.length ? [said(reason.join(" - "))] : [])].join(" - ");
      return `${type}: ${message}${words ? ` (${words})` : ""}`;
    }
  }
  return whole?.message ?? error.message ?? String(error);
}

/** @type {(node: GraphNode, uid: string | undefined) => Promise<{ prompt_id: string }>} */
async function submit(node, uid) {
  const id = execId(node);
  const prompt = await app.graphToPrompt();
  const entry = id && prompt.output[id];
  if (!entry) throw new Error(say("This node is muted or bypassed: enable it first."));
  Object.assign(entry.inputs, { run_token: randomToken(), node_uid: uid });
  return await api.queuePrompt(-1, prompt, { partialExecutionTargets: [id] });
}

/**
 * Start a job with a node's graph, unless one runs.
 * @param {GraphNode} node
 * @param {() => void} changed called when the button does
 */
export async function train(node, changed) {
  renameCopies();
  const uid = uidOf(node);
  if (!buttonOf(uid)[1]) return;
  starting.set(uid, null);
  changed();
  try {
    const { prompt_id: id } = await submit(node, uid);
    starting.set(uid, id);
    if (endedEarly.has(id)) starting.delete(uid);
  } catch (error) {
    starting.delete(uid);
    showError(say("Training did not start"), new Error(reasonOf(/** @type {Error} */ (error))));
  }
  if (![...starting.values()].includes(null)) endedEarly = new Set();
  changed();
}

/**
 * Hear the end of prompts. Call once, while the page loads.
 * @param {() => void} changed called when a button may have changed
 */
export function watchPrompts(changed) {
  api.addEventListener("status", ({ detail }) => {
    // A prompt that is taken out of the queue has no end of its own.
    if (detail?.exec_info?.queue_remaining !== 0) return;
    for (const [uid, id] of starting) if (id !== null) starting.delete(uid);
    changed();
  });
  for (const name of ENDS) {
    api.addEventListener(name, ({ detail }) => {
      if ([...starting.values()].includes(null)) endedEarly.add(detail.prompt_id);
      for (const [uid, id] of starting) if (id === detail.prompt_id) starting.delete(uid);
      changed();
    });
  }
}

/** After a lost connection nobody knows which prompts ended. */
export function forgetPrompts() {
  starting.clear();
}
