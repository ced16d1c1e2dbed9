/** What ComfyUI's dialog is told of a node that failed. */

import "./page.js";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { api } from "./comfyui/scripts/api.js";
import { app } from "./comfyui/scripts/app.js";
import { watchFailures } from "../../web/js/failures.js";
import { loadWords } from "../../web/js/words.js";

const MAIN = new URL("../../locales/zh/main.json", import.meta.url);
const ERROR = "fps: found -3, expected more than 0, at most 1000. Leave it out to keep all.";
const SAID = "帧率：-3。需要：大于 0，最大 1000。留空则保留全部。";
const OURS = "StillMovingClipSet";
const USER_ERROR = "/comfy/custom_nodes/ComfyUI-StillMoving.common.errors.UserError";

watchFailures();

/** What ComfyUI hears of a failure. Node knows no phases of events: a browser shows that listeners
 * which are older than the pack's hear the same (tests/host/test_said.py). */
async function heard(detail, language = "zh") {
  api.locales = { zh: JSON.parse(readFileSync(MAIN, "utf8")) };
  app.extensionManager.settings["Comfy.Locale"] = language;
  await loadWords();
  let message;
  const listener = (event) => (message = event.detail.exception_message);
  api.addEventListener("execution_error", listener);
  api.receive("execution_error", { prompt_id: "p", node_type: OURS, ...detail });
  api.removeEventListener("execution_error", listener);
  return message;
}

test("a failure is said before ComfyUI shows it, and only what the pack has said", async () => {
  assert.equal(await heard({ exception_message: ERROR }), SAID);
  assert.equal(await heard({ exception_message: `${ERROR}\n` }), `${SAID}\n`);
  const core = { node_type: "KSampler", exception_message: ERROR };
  assert.equal(await heard(core), ERROR);
  assert.equal(await heard({ ...core, exception_type: USER_ERROR }), SAID);
  assert.equal(await heard({ exception_message: "CUDA error: x" }), "CUDA error: x");
});

test("why a node gave nothing is said behind ComfyUI's own words", async () => {
  const reason = "Nothing is trained yet: press Train on this node. Run does not train.";
  assert.equal(
    await heard({ exception_message: `Execution Blocked: ${reason}` }),
    "Execution Blocked: 还没有训练过：请在此节点上按“训练”。“运行”不会训练。",
  );
});

test("in English, and without a message, nothing is changed", async () => {
  assert.equal(await heard({ exception_message: `${ERROR}\n\ntips` }, "en"), `${ERROR}\n\ntips`);
  assert.equal(await heard({}), undefined);
});
