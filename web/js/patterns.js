/** English texts with places for values, and what stands in those places of a given text. */

/**
 * @typedef Pattern an English text
 * @property {string[]} fixed what stands before, between and behind its places
 * @property {string[]} kinds of its places, "" for a value
 * @property {string} words the text in the other language
 * @property {number} weight signs that are fixed
 * @property {number[]} order of its places: first those that must be known
 * @property {number} needed how many these are; none in a text that has words of its own
 * @property {boolean} bare whether it has none: then one at least must be known
 * @property {boolean} isError whether it is the shape of errors, of which a part must be known
 */
/** @typedef {{ pattern: Pattern, values: string[], parts: { known: number }[] }} Reading */

const PLACE = /\{(\d+)(?: (\w+)(\?)?)?\}/g;

/**
 * The pattern of a text with places; none for one without.
 * @param {[english: string, words: string]} text
 * @returns {Pattern[]}
 */
export function compile([english, words]) {
  const kinds = [...english.matchAll(PLACE)].map(([, , kind]) => kind ?? "");
  if (!kinds.length) return [];
  const fixed = english.replace(PLACE, "\0").split("\0");
  const isError = kinds.includes("found") && kinds.includes("next_move");
  const bare = !isError && !fixed.some((text) => /\p{L}/u.test(text));
  const places = [...english.matchAll(PLACE)];
  const isNeeded = (/** @type {number} */ i) => bare && kinds[i] !== "" && !places[i][3];
  const all = kinds.map((_, i) => i);
  const order = [...all.filter(isNeeded), ...all.filter((i) => !isNeeded(i))];
  const needed = all.filter(isNeeded).length;
  // Of two that say as much, the one that puts together less.
  const weight = (bare ? 0 : isError ? 1 : fixed.join("").length) - 0.25;
  return [{ fixed, kinds, words, weight, order, needed, bare, isError }];
}

/**
 * Whether a text has what is fixed in a pattern, in its order.
 * @param {Pattern} pattern
 * @param {string} text
 */
export function fits({ fixed }, text) {
  const last = fixed.length - 1;
  if (!text.startsWith(fixed[0]) || !text.endsWith(fixed[last])) return false;
  let at = fixed[0].length;
  for (const part of fixed.slice(1, last)) {
    at = text.indexOf(part, at);
    if (at < 0) return false;
    at += part.length;
  }
  return at <= text.length - fixed[last].length;
}

/**
 * The values with which a pattern that fits is a text, in every way; first places shortest first.
 * @param {Pattern} pattern
 * @param {string} text
 * @returns {Generator<string[]>}
 */
export function* readings({ fixed, kinds }, text) {
  const end = text.length - fixed[fixed.length - 1].length;

  /** @type {(place: number, from: number) => Generator<string[]>} */
  function* rest(place, from) {
    if (place === kinds.length - 1) {
      yield [text.slice(from, end)];
      return;
    }
    const next = fixed[place + 1];
    for (let at = text.indexOf(next, from); at >= 0; at = text.indexOf(next, at + 1)) {
      if (at + next.length > end) return;
      const value = text.slice(from, at);
      for (const others of rest(place + 1, at + next.length)) yield [value, ...others];
      if (at === text.length) return;
    }
  }

  yield* rest(0, fixed[0].length);
}

/**
 * A fixed text without the signs at its ends, which another pattern can have, too.
 * @param {string} text
 */
function coreOf(text) {
  const core = text.replace(/^\W+|\W+$/g, "");
  return core.length > 3 ? core : text;
}

/**
 * Whether all that is fixed in one pattern stands in one value of another's reading that is not
 * known: where that is so both ways, the text can be meant by either.
 * @param {Reading} inner
 * @param {Reading} outer
 */
export const standsIn = (inner, outer) =>
  outer.values.some(
    (value, i) =>
      !outer.parts[i].known && inner.pattern.fixed.every((text) => value.includes(coreOf(text))),
  );

/**
 * Whether a value has both ends of its brackets and quotes.
 * @param {string} value
 */
export function isWhole(value) {
  let depth = 0;
  for (const sign of value) {
    if (sign === "(") depth++;
    if (sign === ")" && --depth < 0) return false;
  }
  return depth === 0 && value.split("'").length % 2 === 1;
}

/** @type {(pattern: Pattern, parts: { text: string }[]) => string} */
export const filled = ({ words }, parts) =>
  words.replace(PLACE, (_, number) => parts[Number(number)].text);
