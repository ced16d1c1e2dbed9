/** What the page says, in the language that ComfyUI is set to. */

import "./page.js";
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { api } from "./comfyui/scripts/api.js";
import { app } from "./comfyui/scripts/app.js";
import { formatDuration, phaseLabel } from "../../web/js/phrases.js";
import { language, loadWords, say } from "../../web/js/words.js";
import { view } from "./job.js";

const CODE = new URL("../../web/js/", import.meta.url);
const LOCALES = new URL("../../locales/", import.meta.url);
const TEXT = /\b(?:say|phrase)\(\s*"((?:[^"\\]|\\.)*)"/g;
/** Where people read what stands behind it. */
const SHOWN =
  /\b(?:title|textContent|label|ariaLabel|alt|tooltip|summary|placeholder): (?=["`])(?!"\W"?)/;

const sources = readdirSync(CODE)
  .filter((name) => name.endsWith(".js"))
  .map((name) => [name, readFileSync(new URL(name, CODE), "utf8")]);
const said = sources.flatMap(([, text]) => [...text.matchAll(TEXT)].map(([, found]) => found));
const others = readdirSync(LOCALES).filter((name) => name !== "en");
const wordsOf = (name) =>
  JSON.parse(readFileSync(new URL(`${name}/main.json`, LOCALES), "utf8")).stillMoving;
const names = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([name]) => name).sort();

async function speak(name, texts) {
  api.locales = { [name]: { stillMoving: texts } };
  app.extensionManager.settings["Comfy.Locale"] = name;
  await loadWords();
}

afterEach(() => speak("en", {}));

test("every language has every text, with the same names in it, and no other", () => {
  assert.ok(said.length > 60 && others.length > 0);
  for (const name of others) {
    const texts = wordsOf(name);
    assert.deepEqual(Object.keys(texts).sort(), [...new Set(said)].sort(), name);
    for (const [text, translated] of Object.entries(texts)) {
      assert.deepEqual(names(translated), names(text), `${name}: ${text}`);
      assert.ok(translated.trim());
    }
  }
});

test("nothing is shown that no language can say", () => {
  for (const [name, text] of sources) {
    const bare = text.split("\n").filter((line) => SHOWN.test(line));
    assert.deepEqual(bare, [], name);
  }
});

test("a text is said in the language of ComfyUI, with its numbers", async () => {
  await speak("zh", wordsOf("zh"));
  assert.equal(language(), "zh");
  assert.equal(formatDuration(75), "1 分 15 秒");
  assert.equal(phaseLabel(view({ phase: "queued", position: 2 })), "等待中 (2)");
  app.extensionManager.settings["Comfy.Locale"] = "en"; // changed while the page is open
  assert.equal(formatDuration(75), "1 min 15 s");
});

test("what a language lacks is said in English, and so is everything without an answer", async () => {
  await speak("fr", { Pause: "Pauser" });
  assert.equal(say("Pause"), "Pauser");
  assert.equal(say("{time} left", { time: "2 s" }), "2 s left");
  const { getCustomNodesI18n } = api;
  api.getCustomNodesI18n = () => Promise.reject(new Error("503"));
  await loadWords();
  api.getCustomNodesI18n = getCustomNodesI18n;
  assert.equal(say("Pause"), "Pause");
});

test("a name that looks like a placeholder stays as it is", async () => {
  assert.equal(say("Saved so far: {file}", { file: "{name} $& $1" }), "Saved so far: {name} $& $1");
  assert.equal(say("{step} / {steps} steps", { step: 0, steps: 9 }), "0 / 9 steps");
});
