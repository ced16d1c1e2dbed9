/**
 * A preset's numbers on a trainer: choosing a preset fills them in, changing one makes it custom.
 *
 * The server says them with the list of presets (nodes/train/preset_numbers.py). A saved workflow keeps
 * what it showed; a 0, which older workflows have, was the preset's number and is shown as that.
 */

/** @import { GraphNode, Widget } from "../../../scripts/app.js" */

/** @typedef {Record<string, number>} Numbers by the name of an input */

const CUSTOM = ", custom"; // behind the preset's name, as nodes/train/preset_numbers.py has it

/** @param {string} shown */
export const presetOf = (shown) =>
  shown.endsWith(CUSTOM) ? shown.slice(0, -CUSTOM.length) : shown;

/** @type {(widget: Widget, number: number) => [Widget, number]} */
const pair = (widget, number) => [widget, number];

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
 */
export function watchNumbers(node, presets) {
  const preset = node.widgets?.find(({ name }) => name === "preset");
  if (preset && presets) keepAlike(node, preset, presets);
}

/** @type {(node: GraphNode, preset: Widget, presets: Record<string, Numbers>) => void} */
function keepAlike(node, preset, presets) {
  preset.options = { ...preset.options }; // not those of all nodes of this kind
  const widgets = node.widgets ?? [];
  const base = () => presetOf(String(preset.value));
  /** @returns {[Widget, number][]} */
  const numbers = () =>
    Object.entries(presets[base()] ?? {}).flatMap(([key, number]) =>
      widgets.filter(({ name }) => name === key).map((widget) => pair(widget, number)),
    );

  /** @type {(empty: boolean) => void} */
  function fill(empty) {
    for (const [widget, number] of numbers()) if (!empty || !widget.value) widget.value = number;
  }

  function rename() {
    const same = numbers().every(([{ value }, number]) => value === number);
    preset.value = same ? base() : base() + CUSTOM;
    offer(preset, Object.keys(presets));
  }

  watch(preset, () => {
    fill(String(preset.value).endsWith(CUSTOM));
    rename();
  });
  for (const [widget] of numbers()) {
    watch(widget, () => {
      fill(true);
      rename();
    });
  }
  const { onConfigure } = node;
  node.onConfigure = function (...given) {
    onConfigure?.apply(this, given);
    fill(true);
    rename();
  };
}
