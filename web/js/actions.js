/** Commanding a job: the row of buttons that its phase allows, and what a press of one does. */

import * as client from "./client.js";
import { button, h } from "./dom.js";
import { showError } from "./notices.js";
import { PAUSABLE, RESUMABLE, SAMPLABLE, SAVABLE, STOPPABLE } from "./phases.js";
import { jobs } from "./store.js";
import { phrase, say } from "./words.js";

/** @import { Phase } from "./phases.js" */
/** @import { Act, Command, JobView } from "./types.js" */

/**
 * @typedef {{ command: Command, label: string, phases: readonly Phase[], title: string }} Action
 * @type {(Action & { trains?: boolean })[]} trains: only once it trains, not while it draws
 */
const ACTIONS = [
  {
    command: "pause",
    label: phrase("Pause"),
    phases: PAUSABLE,
    title: phrase("Save and wait until Resume is pressed"),
  },
  {
    command: "resume",
    label: phrase("Resume"),
    phases: RESUMABLE,
    title: phrase("Go on from the last step that was saved"),
  },
  {
    command: "stop",
    label: phrase("Stop and save"),
    phases: STOPPABLE,
    title: phrase("End the training and keep the adapter as it is now"),
  },
  {
    command: "save",
    label: phrase("Save now"),
    phases: SAVABLE,
    trains: true,
    title: phrase("Write a checkpoint and go on"),
  },
  {
    command: "sample",
    label: phrase("Sample"),
    phases: SAMPLABLE,
    trains: true,
    title: phrase("Make a small clip with the adapter as it is now, at several scales"),
  },
];

/** @type {Record<Command, string>} */
const FAILED = {
  pause: phrase("Could not pause the job"),
  resume: phrase("Could not resume the job"),
  stop: phrase("Could not stop the job"),
  save: phrase("Could not save the job"),
  sample: phrase("Could not make a sample of the job"),
  open: phrase("Could not open the job's folder"),
};

/**
 * {el, show(view)}. act is called with the job that is shown.
 * @param {Act} act
 */
export function createActions(act) {
  let id = ""; // of the job that is shown
  const buttons = ACTIONS.map(({ command, label, title, phases, trains }) => ({
    command,
    phases,
    trains,
    element: button(say(label), () => act(id, command), { title: say(title) }),
  }));
  const el = h("div", { className: "sm-actions" }, ...buttons.map(({ element }) => element));

  /** @param {JobView} view */
  function show(view) {
    id = view.id;
    const able = buttons.filter(
      ({ phases, trains }) => phases.includes(view.phase) && !(trains && view.drawing),
    );
    const allowed = new Set(able.map(({ command }) => command));
    for (const { command, element } of buttons) element.hidden = !allowed.has(command);
    el.hidden = allowed.size === 0;
  }

  return { el, show };
}

/**
 * Command a job; what the server refuses is shown.
 * @param {string} id
 * @param {Command} command
 */
export async function commandJob(id, command) {
  try {
    jobs.put(await client.sendCommand(id, command));
  } catch (error) {
    showError(say(FAILED[command]), error);
  }
}
