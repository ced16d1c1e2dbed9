/** What people read of a job's numbers and phases. */

import assert from "node:assert/strict";
import test from "node:test";
import { PHASES } from "../../web/js/phases.js";
import * as phrases from "../../web/js/phrases.js";
import { randomNumbers, view } from "./job.js";

const { costOf, formatDuration, formatLoss, messageOf, phaseLabel, progressOf, stepsOf, timeLeft } =
  phrases;
const UNITS = { d: 86400, h: 3600, min: 60, s: 1 };

test("a duration is said in its two largest units", () => {
  const said = {
    0: "0 s",
    0.4: "0 s",
    59.6: "1 min",
    60: "1 min",
    75: "1 min 15 s",
    155: "2 min 35 s",
    3600: "1 h",
    3605: "1 h",
    3661: "1 h 1 min",
    90_000: "1 d 1 h",
    8_640_000: "100 d",
  };
  for (const [seconds, text] of Object.entries(said)) {
    assert.equal(formatDuration(Number(seconds)), text);
  }
});

test("a duration is never negative", () => {
  assert.equal(formatDuration(-5), "0 s");
});

test("a duration that is read back misses less than the smaller of two neighbouring units", () => {
  const random = randomNumbers(1);
  for (let i = 0; i < 2000; i++) {
    const seconds = Math.floor(10 ** (random() * 7));
    const parts = [...formatDuration(seconds).matchAll(/(\d+) (d|h|min|s)/g)];
    assert.ok(parts.length >= 1 && parts.length <= 2);
    const total = parts.reduce((sum, [, count, unit]) => sum + count * UNITS[unit], 0);
    const sizes = Object.values(UNITS);
    const largest = sizes.indexOf(UNITS[parts[0][2]]);
    assert.ok(seconds - total >= 0 && seconds - total < (sizes[largest + 1] ?? 1), `${seconds}`);
  }
});

test("every phase has a label", () => {
  const labels = {
    queued: "Waiting",
    loading: "Loading",
    running: "Training",
    yielding: "Making room",
    paused: "Paused",
    interrupted: "Interrupted",
    stopped: "Stopped",
    finished: "Finished",
    failed: "Failed",
  };
  assert.deepEqual(Object.keys(labels), PHASES);
  for (const [phase, label] of Object.entries(labels)) {
    assert.equal(phaseLabel(view({ phase })), label);
  }
});

test("a phase of a newer server is shown as it is", () => {
  assert.equal(phaseLabel(view({ phase: "dreaming" })), "dreaming");
});

test("a waiting job says its place in the queue, any other says none", () => {
  assert.equal(phaseLabel(view({ phase: "queued", position: 2 })), "Waiting (2)");
  assert.equal(phaseLabel(view({ phase: "queued", position: null })), "Waiting");
  assert.equal(phaseLabel(view({ phase: "running", position: 2 })), "Training");
});

test("a job that waits for another says for which, and how it goes on", () => {
  const hints = {
    coming: /^Starts by itself when “my motion” has its adapter/,
    paused: /“my motion” is paused: press Resume/,
    failed: /“my motion” has failed: resume it, or press Train/,
    ended: /“my motion” has ended without an adapter: press Train/,
    deleted: /“my motion” was deleted: press Train/,
  };
  for (const [state, hint] of Object.entries(hints)) {
    const waits_for = { id: "a", name: "my motion", state };
    const waiting = view({ phase: "queued", position: 2, waits_for });
    assert.equal(phaseLabel(waiting), "Waiting for “my motion”");
    assert.match(messageOf(waiting), hint);
    assert.equal(phaseLabel(view({ phase: "paused", waits_for })), "Paused");
    assert.match(messageOf(view({ phase: "paused", waits_for })), /press Resume\.$/);
  }
});

test("a job's own message comes before everything else", () => {
  const changes = { message: "The disk is full.", adapter: "mine.safetensors" };
  for (const phase of PHASES) {
    assert.equal(messageOf(view({ phase, ...changes })), "The disk is full.");
  }
});

test("an ended job names its adapter, if it has one", () => {
  const adapter = "mine.safetensors";
  assert.equal(messageOf(view({ phase: "finished", adapter })), `Ready to select: ${adapter}`);
  assert.equal(messageOf(view({ phase: "stopped", adapter })), `Saved so far: ${adapter}`);
  assert.equal(messageOf(view({ phase: "finished" })), "");
  assert.equal(messageOf(view({ phase: "running", adapter })), "");
});

test("a job that stands still says how it goes on", () => {
  assert.match(messageOf(view({ phase: "yielding" })), /goes on by itself/);
  assert.match(messageOf(view({ phase: "paused" })), /press Resume/);
  assert.match(messageOf(view({ phase: "interrupted" })), /nothing up to the last save is lost/);
});

test("steps are counted once there are any to make", () => {
  assert.equal(stepsOf(view({ step: 0 })), "0 / 1000 steps");
  assert.equal(stepsOf(view({ step: 500 })), "500 / 1000 steps");
  assert.equal(stepsOf(view({ step: 0, steps: 0 })), "No step yet");
});

test("a job that draws what it trains on counts that", () => {
  const drawing = view({ drawing: true, step: 5, steps: 24 });
  assert.equal(phaseLabel(drawing), "Drawing");
  assert.equal(stepsOf(drawing), "5 / 24 drawn to train on");
  assert.equal(timeLeft(drawing), "2 min 35 s left");
  assert.equal(phaseLabel(view({ ...drawing, phase: "paused" })), "Paused");
  assert.match(messageOf(view({ ...drawing, phase: "stopped" })), /Resume goes on drawing/);
  assert.equal(messageOf(view({ phase: "stopped" })), "");
});

test("only a job that makes steps has a time left", () => {
  for (const phase of PHASES) {
    assert.equal(timeLeft(view({ phase })), phase === "running" ? "2 min 35 s left" : "");
  }
  assert.equal(timeLeft(view({ eta_s: null })), "");
  assert.equal(timeLeft(view({ eta_s: 0 })), "0 s left");
});

test("progress goes from 0 to 1 and ends at 1", () => {
  assert.equal(progressOf(view({ step: 0 })), 0);
  assert.equal(progressOf(view({ step: 250 })), 0.25);
  assert.equal(progressOf(view({ step: 2000 })), 1);
  assert.equal(progressOf(view({ step: 0, steps: 0 })), 0);
  assert.equal(progressOf(view({ phase: "finished", step: 0, steps: 0 })), 1);
});

test("the cost is what is known of pace, memory and tier", () => {
  assert.equal(costOf(view()), "0.31 s/step · 3.0 GB · memory tier top");
  const unknown = { seconds_per_step: null, memory_bytes: null, tier: null };
  assert.equal(costOf(view(unknown)), "");
  assert.equal(costOf(view({ ...unknown, tier: "none" })), "");
  const memory = (bytes) => costOf(view({ ...unknown, memory_bytes: bytes }));
  assert.equal(memory(300 * 2 ** 20), "300 MB");
  assert.equal(memory(2 ** 30), "1.0 GB");
});

test("a pace has two digits, in milliseconds where it is fast", () => {
  const unknown = { memory_bytes: null, tier: null };
  const pace = (seconds) => costOf(view({ ...unknown, seconds_per_step: seconds }));
  assert.equal(pace(0), "0 ms/step");
  assert.equal(pace(0.0312), "31 ms/step");
  assert.equal(pace(0.1), "0.10 s/step");
  assert.equal(pace(1.234), "1.2 s/step");
  assert.equal(pace(12.6), "13 s/step");
});

test("a loss is short, and read back it is nearly the same", () => {
  const random = randomNumbers(2);
  for (let i = 0; i < 2000; i++) {
    const value = 10 ** (random() * 16 - 8) * (random() < 0.5 ? -1 : 1);
    const text = formatLoss(value);
    const far = Math.abs(value) < 0.001 || Math.abs(value) >= 1000;
    assert.ok(text.length <= 8, text);
    assert.ok(Math.abs(Number(text) / value - 1) <= (far ? 0.05 : 0.00501), `${value} ${text}`);
    assert.equal(text.includes("e"), far, text);
  }
  assert.equal(formatLoss(0), "0");
  assert.equal(formatLoss(0.12345), "0.123");
  assert.equal(formatLoss(0.00012345), "1.2e-4");
});
