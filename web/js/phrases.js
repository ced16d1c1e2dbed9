/** How numbers and phases of a job are said to people. */

import { said } from "./said.js";
import { phrase, say } from "./words.js";

/** @import { JobView, WaitsFor } from "./types.js" */
/** @import { Phase } from "./phases.js" */

/** @type {Record<Phase, string>} */
const LABELS = {
  queued: phrase("Waiting"),
  loading: phrase("Loading"),
  running: phrase("Training"),
  yielding: phrase("Making room"),
  paused: phrase("Paused"),
  stopped: phrase("Stopped"),
  finished: phrase("Finished"),
  failed: phrase("Failed"),
  interrupted: phrase("Interrupted"),
};

/** @type {Partial<Record<Phase, string>>} */
const HINTS = {
  yielding: phrase("Waits while ComfyUI generates, then goes on by itself."),
  paused: phrase("Goes on where it is when you press Resume."),
  interrupted: phrase("The training process has ended; nothing up to the last save is lost."),
};

/**
 * Of the job whose adapter another one waits for, by what that is at.
 * @type {Record<WaitsFor["state"], string>}
 */
const WAITS = {
  coming: phrase("Starts by itself when “{name}” has its adapter."),
  paused: phrase("“{name}” is paused: press Resume on it, and this job goes on after it."),
  failed: phrase("“{name}” has failed: resume it, or press Train on its node again."),
  ended: phrase("“{name}” has ended without an adapter: press Train on its node again."),
  deleted: phrase("“{name}” was deleted: press Train on its node again, or delete this job."),
};

/**
 * The job that a waiting one waits for; null once it waits for its turn alone.
 * @param {JobView} view
 */
const awaited = (view) => (view.phase === "queued" ? view.waits_for : null);

/**
 * "Waiting (2)" tells the place in the queue, of a job that waits for no other.
 * @param {JobView} view
 */
export function phaseLabel(view) {
  const other = awaited(view);
  if (other) return say("Waiting for “{name}”", { name: other.name });
  const draws = view.drawing && view.phase === "running";
  const label = draws ? say("Drawing") : say(LABELS[view.phase] ?? view.phase);
  return view.phase === "queued" && view.position ? `${label} (${view.position})` : label;
}

/**
 * What to say of a job: its own message, else what its phase means.
 * @param {JobView} view
 */
export function messageOf(view) {
  if (view.message) return said(view.message);
  const other = awaited(view);
  if (other) return say(WAITS[other.state], { name: other.name });
  if (view.phase === "finished" && view.adapter) return say("Ready to select: {file}", { file: view.adapter });
  if (view.phase === "stopped" && view.adapter) return say("Saved so far: {file}", { file: view.adapter });
  if (view.phase === "stopped" && view.drawing) {
    return say("Nothing is trained yet. Resume goes on drawing.");
  }
  return say(HINTS[view.phase] ?? "");
}

/**
 * 75 -> "1 min 15 s"; the two largest units.
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  /** @type {[number, string][]} */
  const parts = [
    [Math.floor(total / 86400), phrase("{count} d")],
    [Math.floor(total / 3600) % 24, phrase("{count} h")],
    [Math.floor(total / 60) % 60, phrase("{count} min")],
    [total % 60, phrase("{count} s")],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return say("{count} s", { count: 0 });
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, text]) => say(text, { count })).join(" ");
}

/** @param {JobView} view */
export function stepsOf(view) {
  const { step, steps } = view;
  if (view.drawing) return say("{step} / {steps} drawn to train on", { step, steps });
  return steps ? say("{step} / {steps} steps", { step, steps }) : say("No step yet");
}

/**
 * The time left while steps are made, else nothing: a waiting job has no honest estimate.
 * @param {JobView} view
 */
export function timeLeft(view) {
  if (view.phase !== "running" || view.eta_s === null) return "";
  return say("{time} left", { time: formatDuration(view.eta_s) });
}

/**
 * 0 to 1.
 * @param {JobView} view
 */
export function progressOf(view) {
  if (view.phase === "finished") return 1;
  return view.steps ? Math.min(1, view.step / view.steps) : 0;
}

/** @param {number} seconds */
function formatPace(seconds) {
  if (seconds < 0.095) return say("{count} ms/step", { count: Math.round(seconds * 1000) });
  return say("{count} s/step", {
    count: seconds < 10 ? seconds.toPrecision(2) : Math.round(seconds),
  });
}

/** @param {number} bytes */
function formatMemory(bytes) {
  const gigabytes = bytes / 2 ** 30;
  return gigabytes >= 1 ? `${gigabytes.toFixed(1)} GB` : `${Math.round(bytes / 2 ** 20)} MB`;
}

/**
 * "0.31 s/step · 3.2 GB": what is known of a job's cost.
 * @param {JobView} view
 */
export function costOf(view) {
  const figures = [];
  if (view.seconds_per_step !== null) figures.push(formatPace(view.seconds_per_step));
  if (view.memory_bytes) figures.push(formatMemory(view.memory_bytes));
  if (view.tier && view.tier !== "none") figures.push(say("memory tier {tier}", { tier: view.tier }));
  return figures.join(" · ");
}

/**
 * A loss with two or three digits that matter, "0" included.
 * @param {number} value
 */
export function formatLoss(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 0.001 && Math.abs(value) < 1000
    ? String(Number(value.toPrecision(3)))
    : value.toExponential(1);
}
