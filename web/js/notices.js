/** What ComfyUI says on behalf of a job: toasts, and a question before something is deleted. */

import { app } from "../../../scripts/app.js";
import { ENDED } from "./phases.js";
import { messageOf } from "./phrases.js";

const ENDINGS = {
  finished: { severity: "success", summary: "Training finished", life: 10_000 },
  stopped: { severity: "info", summary: "Training stopped", life: 10_000 },
  failed: { severity: "error", summary: "Training failed" },
};

function toast(options) {
  app.extensionManager.toast.add(options);
}

/** Show an error that a person can act on. */
export function showError(summary, error) {
  toast({ severity: "error", summary, detail: error.message ?? String(error), life: 15_000 });
}

/** Show something that is no error. */
export function showHint(summary, detail) {
  toast({ severity: "warn", summary, detail, life: 10_000 });
}

/** Say that a job has ended, and offer its adapter in every list of files. */
export async function announceEnd({ view, previous }) {
  if (!view || !previous || ENDED.includes(previous.phase) || !ENDED.includes(view.phase)) return;
  const message = messageOf(view);
  toast({ ...ENDINGS[view.phase], detail: message ? `${view.name}: ${message}` : view.name });
  if (view.adapter) await app.refreshComboInNodes();
}

/** Ask before something that cannot be undone. */
export async function confirmDeletion(title, message) {
  const { dialog } = app.extensionManager;
  if (!dialog?.confirm) return window.confirm(message);
  return (await dialog.confirm({ title, message, type: "delete" })) === true;
}
