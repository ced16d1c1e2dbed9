/**
 * A preset's numbers on a node: choosing a preset fills them in, changing one makes it custom.
 *
 * The server says them with the list of presets (nodes/train/preset_numbers.py, nodes/apply/scales.py).
 * A saved workflow keeps what it showed; on a trainer a 0, which older workflows have, was the preset's
 * number and is shown as that.
 */

/** @import { GraphNode, Widget } from "../../../scripts/app.js" */

/**
 * By the name of an input. One that hangs on another input is a table by what is chosen there.
 * @typedef {number | string} Value
 * @typedef {Record<string, Value | Record<string, Record<string, Value>>>} Numbers
 */

const CUSTOM = ", custom"; // behind the preset's name, as nodes/train/preset_numbers.py has it

/** @param {string} shown */
export const presetOf = (shown) =>
  shown.endsWith(CUSTOM) ? shown.slice(0, -CUSTOM.length) : shown;

/** @type {(widget: Widget, value: Value) => [Widget, Value]} */
const pair = (widget, value) => [widget, value];

/**
 * What a widget does when a person changes it, after what it did before.
 * @param {Widget} widget
 * @param {() => void} then
 */
function watch(widget, then) {
  const { callback } = widget;
  widget.callback = function (...given) {
    const answer = callback?.apply(this, given);
    then();
    return answer;
  };
}

/**
 * The list offers the presets, and beside them what is chosen: some frontends show no other value.
 * @param {Widget} preset
 * @param {string[]} names
 */
function offer(preset, names) {
  const shown = String(preset.value);
  const values = names.includes(shown) ? names : [...names, shown];
  if (preset.options) preset.options.values = values;
}

/**
 * Keep a node's preset and its numbers alike, from now on.
 * @param {GraphNode} node
 * @param {Record<string, Numbers> | undefined} presets as the server says them
 * @param {boolean} [zeroCounts] 0 is a number as any other
 */
export function watchNumbers(node, presets, zeroCounts = false) {
  const preset = node.widgets?.find(({ name }) => name === "preset");
  if (preset && presets) keepAlike(node, preset, presets, zeroCounts);
}

/**
 * {pairs(), tables()}: what the chosen preset has for a node's widgets.
 * @param {Widget[]} widgets
 * @param {Widget} preset
 * @param {Record<string, Numbers>} presets
 */
function valuesOf(widgets, preset, presets) {
  const numbers = () => Object.entries(presets[presetOf(String(preset.value))] ?? {});
  const find = (/** @type {string} */ key) => widgets.filter(({ name }) => name === key);

  /** The numbers that hang on another widget: which, on which, and the table. */
  const tables = () =>
    numbers().flatMap(([key, number]) =>
      Object.entries(typeof number === "object" ? number : {}).flatMap(([other, table]) => {
        const [[widget], [on]] = [find(key), find(other)];
        return widget && on ? [{ widget, on, table }] : [];
      }),
    );

  /** What the preset has for each widget. */
  const pairs = () => [
    ...numbers().flatMap(([key, number]) =>
      typeof number === "object" ? [] : find(key).map((widget) => pair(widget, number)),
    ),
    ...tables().flatMap(({ widget, on, table }) => {
      const number = table[String(on.value)];
      return number === undefined ? [] : [pair(widget, number)];
    }),
  ];

  return { pairs, tables };
}

/** @type {(node: GraphNode, preset: Widget, presets: Record<string, Numbers>, zeroCounts: boolean) => void} */
function keepAlike(node, preset, presets, zeroCounts) {
  preset.options = { ...preset.options }; // not those of all nodes of this kind
  const { pairs, tables } = valuesOf(node.widgets ?? [], preset, presets);

  /** @type {(empty: boolean) => void} */
  function fill(empty) {
    const missing = (/** @type {Widget} */ { value }) => (zeroCounts ? value === undefined : !value);
    for (const [widget, number] of pairs()) if (!empty || missing(widget)) widget.value = number;
  }

  /** A number that was the preset's stays the preset's when what it hangs on changes. */
  function follow() {
    for (const { widget, on, table } of tables()) {
      const number = table[String(on.value)];
      const own = Object.values(table).some((one) => one === widget.value);
      if (own && number !== undefined) widget.value = number;
    }
  }

  function rename() {
    const same = pairs().every(([{ value }, number]) => value === number);
    const base = presetOf(String(preset.value));
    preset.value = same ? base : base + CUSTOM;
    offer(preset, Object.keys(presets));
  }

  const then = (/** @type {() => void} */ first) => () => {
    first();
    rename();
  };
  watch(
    preset,
    then(() => fill(String(preset.value).endsWith(CUSTOM))),
  );
  for (const { on } of tables()) watch(on, then(follow));
  const complete = then(() => fill(true));
  const names = new Set(Object.values(presets).flatMap((numbers) => Object.keys(numbers)));
  for (const widget of node.widgets ?? []) if (names.has(widget.name)) watch(widget, complete);
  const { onConfigure } = node;
  node.onConfigure = function (...given) {
    onConfigure?.apply(this, given);
    complete();
  };
}
