/** Toasts about jobs, and the question before one is deleted. */

import { window } from "./page.js";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { announceEnd, confirmDeletion, showError, showHint } from "../../web/js/notices.js";
import { ENDED, PHASES } from "../../web/js/phases.js";
import { app } from "./comfyui/scripts/app.js";
import { view } from "./job.js";

const { extensionManager } = app;

beforeEach(() => {
  extensionManager.toasts = [];
  extensionManager.questions = [];
  app.refreshed = 0;
});

test("the end of a job is said when its phase becomes one of an end, and only then", async () => {
  for (const before of PHASES) {
    for (const phase of PHASES) {
      extensionManager.toasts = [];
      await announceEnd({ previous: view({ phase: before }), view: view({ phase }) });
      const ends = ENDED.includes(phase) && !ENDED.includes(before);
      assert.equal(extensionManager.toasts.length, ends ? 1 : 0, `${before}, then ${phase}`);
    }
  }
});

test("neither jobs that had ended before nor removed ones are announced", async () => {
  await announceEnd({ previous: undefined, view: view({ phase: "finished" }) });
  await announceEnd({ previous: view(), view: undefined });
  assert.deepEqual(extensionManager.toasts, []);
});

test("a toast says how a job ended, and a failure stays until it is read", async () => {
  const ends = {
    finished: ["success", "Training finished", 10_000],
    stopped: ["info", "Training stopped", 10_000],
    failed: ["error", "Training failed", undefined],
  };
  for (const [phase, expected] of Object.entries(ends)) {
    extensionManager.toasts = [];
    await announceEnd({ previous: view(), view: view({ phase, message: "why" }) });
    const [{ severity, summary, life, detail }] = extensionManager.toasts;
    assert.deepEqual([severity, summary, life], expected);
    assert.equal(detail, "adapter 1: why");
  }
});

test("a job without a message is announced by its name", async () => {
  await announceEnd({ previous: view(), view: view({ phase: "finished" }) });
  assert.equal(extensionManager.toasts[0].detail, "adapter 1");
});

test("a new adapter can be selected at once, and without one no list is read again", async () => {
  await announceEnd({ previous: view(), view: view({ phase: "failed" }) });
  assert.equal(app.refreshed, 0);
  const adapter = "mine.safetensors";
  await announceEnd({ previous: view(), view: view({ phase: "finished", adapter }) });
  assert.equal(app.refreshed, 1);
  assert.match(extensionManager.toasts[1].detail, /Ready to select: mine\.safetensors/);
});

test("errors and hints are told apart", () => {
  showError("No", new Error("why"));
  showError("No", "because");
  showHint("Look", "there");
  const shown = extensionManager.toasts.map((it) => [it.severity, it.summary, it.detail]);
  assert.deepEqual(shown, [
    ["error", "No", "why"],
    ["error", "No", "because"],
    ["warn", "Look", "there"],
  ]);
});

test("only a clear yes deletes", async () => {
  for (const [answer, expected] of [
    [true, true],
    [false, false],
    [null, false], // the dialog was closed
  ]) {
    extensionManager.answer = answer;
    assert.equal(await confirmDeletion("Delete?", "All of it."), expected);
  }
  const asked = { title: "Delete?", message: "All of it.", type: "delete" };
  assert.deepEqual(extensionManager.questions, [asked, asked, asked]);
});

test("an editor without a dialog lets the browser ask", async () => {
  const { dialog } = extensionManager;
  const questions = [];
  window.confirm = (message) => questions.push(message) > 1;
  try {
    extensionManager.dialog = undefined;
    assert.equal(await confirmDeletion("Delete?", "All of it."), false);
    assert.equal(await confirmDeletion("Delete?", "All of it."), true);
    assert.deepEqual(questions, ["All of it.", "All of it."]);
  } finally {
    extensionManager.dialog = dialog;
  }
});
