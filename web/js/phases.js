/** The phases of a job in groups: plain lists, which the server's side can be held against. */

/**
 * @typedef {"queued" | "loading" | "running" | "yielding" | "paused" | "interrupted"
 *   | "stopped" | "finished" | "failed"} Phase
 */

/** @type {readonly Phase[]} */
export const PHASES = [
  "queued",
  "loading",
  "running",
  "yielding",
  "paused",
  "interrupted",
  "stopped",
  "finished",
  "failed",
];

/**
 * The training is over, until somebody resumes it.
 * @type {readonly Phase[]}
 */
export const ENDED = ["finished", "stopped", "failed"];

/**
 * The job holds its node's Train button.
 * @type {readonly Phase[]}
 */
export const ACTIVE = ["queued", "loading", "running", "yielding", "paused"];

/**
 * At work or waiting for it, with nobody's help: the tab's icon counts these.
 * @type {readonly Phase[]}
 */
export const PAUSABLE = ["queued", "loading", "running", "yielding"];

/** @type {readonly Phase[]} */
export const RESUMABLE = ["paused", "interrupted", "stopped", "failed"];

/**
 * There is something to end, and to save.
 * @type {readonly Phase[]}
 */
export const STOPPABLE = ["queued", "loading", "running", "yielding", "paused", "interrupted"];

/**
 * There is a worker with an adapter in its hands.
 * @type {readonly Phase[]}
 */
export const SAVABLE = ["running", "yielding"];

/**
 * There is room on the device to draw a clip.
 * @type {readonly Phase[]}
 */
export const SAMPLABLE = ["running"];
