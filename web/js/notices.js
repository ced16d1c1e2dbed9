/** What ComfyUI says on behalf of a job: toasts, and a question before something is deleted. */

import { app } from "../../../scripts/app.js";
import { ENDED } from "./phases.js";
import { messageOf } from "./phrases.js";
import { said } from "./said.js";
import { phrase, say } from "./words.js";

/** @import { Toast } from "../../../scripts/app.js" */
/** @import { Phase } from "./phases.js" */
/** @import { Change } from "./store.js" */

/** @type {Partial<Record<Phase, Toast>>} */
const ENDINGS = {
  finished: { severity: "success", summary: phrase("Training finished"), life: 10_000 },
  stopped: { severity: "info", summary: phrase("Training stopped"), life: 10_000 },
  failed: { severity: "error", summary: phrase("Training failed") },
};

/** @param {Toast} options */
function toast(options) {
  app.extensionManager.toast.add(options);
}

/**
 * Show an error that a person can act on.
 * @param {string} summary
 * @param {unknown} error
 */
export function showError(summary, error) {
  const detail = said(error instanceof Error ? error.message : String(error));
  toast({ severity: "error", summary, detail, life: 15_000 });
}

/**
 * Show something that is no error.
 * @param {string} summary
 * @param {string} detail
 */
export function showHint(summary, detail) {
  toast({ severity: "warn", summary, detail, life: 10_000 });
}

/**
 * Say that a job has ended, and offer its adapter in every list of files.
 * @param {Change} change
 */
export async function announceEnd({ view, previous }) {
  const ending = view && ENDINGS[view.phase];
  if (!ending || !previous || ENDED.includes(previous.phase)) return;
  const message = messageOf(view);
  toast({ ...ending, summary: say(ending.summary), detail: message ? `${view.name}: ${message}` : view.name });
  if (view.adapter) await app.refreshComboInNodes();
}

/**
 * Ask before something that cannot be undone.
 * @param {string} title
 * @param {string} message
 */
export async function confirmDeletion(title, message) {
  const { dialog } = app.extensionManager;
  if (!dialog?.confirm) return window.confirm(message);
  return (await dialog.confirm({ title, message, type: "delete" })) === true;
}
