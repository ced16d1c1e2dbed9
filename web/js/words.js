/**
 * The page's words in the language that ComfyUI is set to.
 *
 * The English text is the key; locales/<language>/main.json of the pack has the others, which
 * ComfyUI hands out. A text that is not there, or not yet, is said in English.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const PART = "stillMoving"; // of main.json

/** @type {Record<string, Record<string, string>>} */
let languages = {};

/** Ask the server for all languages, once: before anything is said. */
export async function loadWords() {
  const all = await api.getCustomNodesI18n().catch(() => ({}));
  languages = Object.fromEntries(
    Object.entries(all ?? {}).map(([language, texts]) => [language, texts[PART] ?? {}]),
  );
}

/** The language as ComfyUI names it, such as "en" or "zh". */
export const language = () => app.extensionManager.setting?.get("Comfy.Locale") ?? "en";

/**
 * Marks a text that is said later, so that a test finds it: phrase("Pause") is "Pause".
 * @template {string} Text
 * @param {Text} text
 */
export const phrase = (text) => text;

/**
 * A text in the artist's language, with its {names} filled in.
 * @param {string} text in English
 * @param {Record<string, string | number>} [values]
 */
export function say(text, values = {}) {
  const said = languages[language()]?.[text] ?? text;
  return said.replace(/\{(\w+)\}/g, (name, key) => String(values[key] ?? name));
}
