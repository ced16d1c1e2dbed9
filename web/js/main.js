/** Wires the browser's half of Still-Moving into ComfyUI: events, nodes, the sidebar tab. */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { commandJob } from "./actions.js";
import { listJobs, sampleUrl } from "./client.js";
import { loadStyles, oncePerFrame } from "./dom.js";
import { watchFailures } from "./failures.js";
import { ensureUid, isOurs, isTrainer, renameCopies, trainers, uidOf } from "./graph.js";
import { growNode, watchNotes } from "./notes.js";
import { announceEnd, showError, showHint } from "./notices.js";
import { watchNumbers } from "./numbers.js";
import { createPanel } from "./panel.js";
import { registerSidebar, showBadge } from "./sidebar.js";
import { said } from "./said.js";
import { jobs } from "./store.js";
import { toolboxCommands, trainCommand } from "./toolbox.js";
import { buttonOf, forgetPrompts, train, watchPrompts } from "./train.js";
import { loadWords, say } from "./words.js";

/** @import { GraphNode, Widget } from "../../../scripts/app.js" */

const WIDTH = 340; // of a new node: four buttons in a row
/** @type {WeakMap<GraphNode, { panel: ReturnType<typeof createPanel>, button: Widget }>} */
const widgets = new WeakMap();

/**
 * By the node's type, its presets as the server says them.
 * @type {Map<string, import("../../../scripts/app.js").InputOptions>}
 */
const presets = new Map();

/** Show every open node its job. */
const refresh = oncePerFrame(() => {
  renameCopies();
  for (const { node } of trainers()) showNode(node);
});

/** @param {GraphNode} node */
function showNode(node) {
  const entry = widgets.get(node);
  if (!entry) return;
  const { panel, button } = entry;
  const before = panel.height();
  panel.show(jobs.byUid(uidOf(node)));
  const [label, enabled] = buttonOf(uidOf(node));
  if (button.label !== label) {
    button.label = label;
    button.disabled = !enabled;
    node.setDirtyCanvas(true, true);
  }
  if (panel.height() > before) growNode(node);
}

/**
 * After the widgets of the schema: a widget that is not saved shifts the values of later ones.
 * @param {GraphNode} node
 */
function addWidgets(node) {
  const button = node.addWidget("button", say("Train"), null, () => train(node, refresh), {
    serialize: false,
  });
  button.serialize = false;
  const panel = createPanel({ act: commandJob, sampleUrl });
  // Its value goes into every prompt, so that a plain Run finds this node's adapters too.
  const shown = node.addDOMWidget("node_uid", "still_moving_panel", panel.el, {
    hideOnZoom: false,
    getMinHeight: panel.height,
    getMaxHeight: () => 480,
    getValue: () => uidOf(node),
    setValue() {},
  });
  shown.serialize = false;
  shown.label = say("Training"); // where an app lists it among its inputs
  widgets.set(node, { panel, button });
}

/**
 * Say why a plain Run gave nothing; when it gave an adapter, the result speaks for itself.
 * @param {GraphNode} node
 */
function watchRuns(node) {
  const { onExecuted } = node;
  node.onExecuted = function (output, ...rest) {
    onExecuted?.call(this, output, ...rest);
    growNode(node); // it may have said something, in a widget of its own
    const uid = uidOf(node);
    const has = jobs.all().some((view) => view.uid === uid && view.adapter);
    if (output?.still_moving_job) load();
    else if (output?.text?.length && !has) showHint(node.title, output.text.map(said).join("\n"));
  };
}

async function load() {
  try {
    await jobs.load(listJobs);
  } catch (error) {
    showError(say("Still-Moving: the jobs cannot be listed"), error);
  }
}

// Here, not in setup(): events that arrive before a listener exists are lost.
api.addEventListener("still_moving.job", ({ detail }) => jobs.put(detail));
api.addEventListener("still_moving.removed", ({ detail }) => jobs.remove(detail.id));
api.addEventListener("reconnected", () => {
  forgetPrompts();
  load();
});
watchPrompts(refresh);
watchFailures();

app.registerExtension({
  name: "StillMoving.Jobs",
  commands: [trainCommand(refresh)],
  getSelectionToolboxCommands: toolboxCommands,
  // Before any node is made.
  init: loadWords,
  async setup() {
    loadStyles();
    registerSidebar();
    jobs.subscribe(announceEnd);
    jobs.subscribe(refresh);
    jobs.subscribe(oncePerFrame(showBadge));
    await load();
  },
  async beforeRegisterNodeDef(type, { name, input }) {
    const options = (input?.required?.preset ?? input?.optional?.preset)?.[1];
    if (options?.numbers) presets.set(name, options);
  },
  async nodeCreated(node) {
    if (!isOurs(node)) return;
    watchNotes(node);
    const { numbers, zero_counts } = presets.get(node.comfyClass ?? "") ?? {};
    watchNumbers(node, numbers, zero_counts);
    if (!isTrainer(node)) return;
    ensureUid(node);
    addWidgets(node);
    watchRuns(node);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, WIDTH), height]);
    refresh();
  },
  afterConfigureGraph: refresh,
});
