/**
 * What the server says, in the language that ComfyUI is set to.
 *
 * The server speaks English, in the files of jobs and in its log too. tools/said.py reads from its
 * code every text that it can say, and locales/<language>/main.json has the others for them: by
 * kind, with {0} for a value, which stays as it is, and {1 words} for one that is a text itself, of
 * that kind; with {1 words?} it can be a name as well. A text that is not known, or that can be read
 * in two ways, is said in English.
 */

import { compile, fits, readings, standsIn, isWhole, filled } from "./patterns.js";
import { part as partOf } from "./words.js";

/** @import { Pattern } from "./patterns.js" */
/** @typedef {{ text: string, known: number }} Said known: how many signs of it the texts have */
/** @typedef {Record<string, Record<string, string>>} Texts by kind and English text */
/** @typedef {(text: string, kind: string) => Said} Translate */

const PART = "stillMovingSaid"; // of main.json
const SENTENCE = "sentence"; // the kind of what is said by itself
const WORDS = "words"; // of what is said inside other texts; "words_…" has these, and its own
const MOST_READINGS = 200; // of one text by one pattern
const MOST_KEPT = 500; // texts that are remembered
const MOST_SIGNS = 2000; // of a text; no sentence is as long

/**
 * The reading of which most is known, translated; undefined where there is none.
 * @param {Pattern} pattern
 * @param {string} text
 * @param {Translate} translate
 */
function read(pattern, text, translate) {
  /** @type {{ pattern: Pattern, values: string[], parts: Said[], known: number } | undefined} */
  let best;
  let count = 0;
  for (const values of readings(pattern, text)) {
    if (++count > MOST_READINGS) break;
    /** @type {Said[]} */
    const parts = [];
    const isMeant = pattern.order.every((place, i) => {
      const [value, kind] = [values[place], pattern.kinds[place]];
      parts[place] = kind ? translate(value, kind) : { text: value, known: 0 };
      return i >= pattern.needed || !value || parts[place].known > 0;
    });
    if (!isMeant || (pattern.bare && !parts.some(({ known }) => known > 0))) continue;
    let known = parts.reduce((sum, it) => sum + it.known, pattern.weight);
    if (!values.every(isWhole)) known -= 0.5;
    if (!best || known > best.known) best = { pattern, values, parts, known };
  }
  return pattern.isError && !best?.parts.some(isKnownPart) ? undefined : best;
}

/** @type {(part: Said, place: number) => boolean} */
const isKnownPart = ({ known }, place) => place > 0 && known > 0;

/**
 * A list's items: what is in brackets is not parted.
 * @param {string} text
 * @param {string} join
 */
function split(text, join) {
  const items = [""];
  let depth = 0;
  for (let at = 0; at < text.length; ) {
    if (!depth && text.startsWith(join, at)) {
      items.push("");
      at += join.length;
      continue;
    }
    if (text[at] === "(") depth++;
    if (text[at] === ")" && depth) depth--;
    items[items.length - 1] += text[at++];
  }
  return items;
}

/** Translates by a language's texts. */
class Translator {
  /** @param {Texts} texts */
  constructor(texts) {
    this.texts = texts;
    /** @type {Map<string, Pattern[]>} */
    this.patterns = new Map();
    /** @type {Map<string, Said>} */
    this.parts = new Map(); // of the text that is being translated
    /** @type {Map<string, string>} */
    this.kept = new Map();
  }

  /** @param {string} kind */
  patternsOf(kind) {
    let patterns = this.patterns.get(kind);
    if (patterns) return patterns;
    const kinds = kind.startsWith(WORDS) ? new Set([kind, WORDS]) : [kind];
    patterns = [...kinds].flatMap((it) => Object.entries(this.texts[it] ?? {}).flatMap(compile));
    this.patterns.set(kind, patterns);
    return patterns;
  }

  /** @type {Translate} */
  byPattern(text, kind) {
    const others = kind.startsWith(WORDS) ? this.texts[WORDS] : undefined;
    const words = this.texts[kind]?.[text] ?? others?.[text];
    if (words) return { text: words, known: text.length + 1 }; // the very text, and no pattern
    const found = this.patternsOf(kind)
      .filter((pattern) => fits(pattern, text))
      .flatMap((pattern) => read(pattern, text, this.translate) ?? [])
      .sort((a, b) => b.known - a.known);
    // What is said by itself has words of its own; in values anything can stand.
    if (kind === SENTENCE) found.sort((a, b) => b.pattern.weight - a.pattern.weight);
    const [best, ...more] = found;
    if (!best || more.some((other) => standsIn(other, best) && standsIn(best, other))) {
      return { text, known: 0 };
    }
    return { text: filled(best.pattern, best.parts), known: Math.max(best.known, 1) };
  }

  /**
   * A list's items one by one. All must be known, but where files' names stand among the words:
   * else it may be no list.
   * @type {(text: string, kind: string, joins: [string, string][]) => Said}
   */
  inList(text, kind, [join, ...levels]) {
    if (!join) return { text, known: 0 };
    const parts = split(text, join[0]);
    if (parts.length < 2) return this.inList(text, kind, levels);
    const items = parts.map((it) => this.whole(it, kind, levels));
    const isList = kind.startsWith(`${WORDS}_`) || items.every(({ known }) => known > 0);
    const known = isList ? items.reduce((sum, it) => sum + it.known, 0) : 0;
    return { text: known > 0 ? items.map((it) => it.text).join(join[1]) : text, known };
  }

  /** @type {(text: string, kind: string, joins: [string, string][]) => Said} */
  whole(text, kind, joins) {
    const one = this.byPattern(text, kind);
    if (one.known > 0 && !kind.startsWith(WORDS)) return one;
    const list = this.inList(text, kind, joins);
    return list.known > one.known ? list : one;
  }

  /** @type {Translate} */
  translate = (text, kind) => {
    const key = `${kind} ${text}`;
    const before = this.parts.get(key);
    if (before) return before;
    const joins = Object.entries(this.texts.join ?? {}); // the one that holds least together first
    const part =
      kind === SENTENCE || kind === "error"
        ? this.byPattern(text, SENTENCE)
        : this.whole(text, kind, joins);
    this.parts.set(key, part);
    return part;
  };

  /** @param {string} text */
  say(text) {
    if (text.length > MOST_SIGNS) return text;
    const before = this.kept.get(text);
    if (before !== undefined) return before;
    this.parts.clear();
    const { text: words } = this.translate(text, SENTENCE);
    if (this.kept.size >= MOST_KEPT) this.kept.clear();
    this.kept.set(text, words);
    return words;
  }
}

/** @type {WeakMap<Texts, Translator>} */
const translators = new WeakMap();

/**
 * What the server has said, in the artist's language.
 * @param {string} text a job's message, a note, an error
 */
export function said(text) {
  const texts = /** @type {Texts | undefined} */ (partOf(PART));
  if (!texts) return text;
  let translator = translators.get(texts);
  if (!translator) translators.set(texts, (translator = new Translator(texts)));
  return translator.say(text);
}
