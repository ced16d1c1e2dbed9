/** What a node says of its last run that is no error: lines below its widgets. */

import { h, setText } from "./dom.js";
import { said } from "./said.js";

/** @import { GraphNode, Output } from "../../../scripts/app.js" */

const MARGIN = 4; // around the widget
const PADDING = 12; // above and below the lines, as in the style sheet
const MOST = 220; // pixels; more lines than that are scrolled

/** @typedef {{ show(lines: string[]): void }} Notes */

/**
 * Make a node high enough for its widgets; never less high than it is.
 * @param {GraphNode} node
 */
export function growNode(node) {
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  node.setDirtyCanvas(true, true);
}

/**
 * A widget of lines, made when there are some for the first time.
 * @param {GraphNode} node
 * @returns {Notes}
 */
function createNotes(node) {
  const list = h("ul", {});
  const el = h("div", { className: "sm-notes" }, list);
  const height = () =>
    list.childElementCount ? Math.min(list.offsetHeight + PADDING + 2 * MARGIN, MOST) : 0;
  const widget = node.addDOMWidget("still_moving_notes", "still_moving_notes", el, {
    hideOnZoom: false,
    getMinHeight: height,
    getMaxHeight: height,
    serialize: false,
    margin: MARGIN,
  });
  widget.serialize = false;
  // Only once it is on the page, as wide as the node, the lines have their height.
  new ResizeObserver(() => growNode(node)).observe(list);

  /** @param {string[]} lines */
  function show(lines) {
    list.replaceChildren(
      ...lines.map((line) => {
        const item = h("li");
        setText(item, said(line));
        return item;
      }),
    );
    el.hidden = !lines.length;
    growNode(node);
  }

  return { show };
}

/**
 * Show what each run of a node has to say, from now on.
 * @param {GraphNode} node
 */
export function watchNotes(node) {
  /** @type {Notes | undefined} */
  let notes;
  const { onExecuted } = node;
  node.onExecuted = function (output, ...rest) {
    onExecuted?.call(this, output, ...rest);
    const lines = output?.still_moving_notes ?? [];
    if (lines.length) notes ??= createNotes(this);
    notes?.show(lines);
  };
}
