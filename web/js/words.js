/**
 * The page's own words in the language that ComfyUI is set to; said.js has the server's.
 *
 * The English text is the key; locales/<language>/main.json of the pack has the others, which
 * ComfyUI hands out. A text that is not there, or not yet, is said in English.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const PART = "stillMoving"; // of main.json

/** @typedef {Record<string, Record<string, unknown>>} Texts parts of main.json by name */

/** @type {Record<string, Texts>} */
let languages = {};

/** Ask the server for all languages, once: before anything is said. */
export async function loadWords() {
  languages = (await api.getCustomNodesI18n().catch(() => ({}))) ?? {};
}

/** The language as ComfyUI names it, such as "en" or "zh". */
export const language = () => app.extensionManager.setting?.get("Comfy.Locale") ?? "en";

/**
 * A part of main.json in the artist's language; undefined where it has none.
 * @param {string} name
 */
export const part = (name) => languages[language()]?.[name];

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
  const said = part(PART)?.[text] ?? text;
  return String(said).replace(/\{(\w+)\}/g, (name, key) => String(values[key] ?? name));
}
