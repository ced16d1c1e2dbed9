/** The loss over a job's whole history, as a small SVG with HTML labels. */

import { h, setText, svg } from "./dom.js";
import { formatLoss } from "./phrases.js";
import { say } from "./words.js";

/** @import { JobView, Point } from "./types.js" */

const WIDTH = 300;
const HEIGHT = 100;
const LOG_FROM = 8; // a range of more than this factor is read better on a log axis
const OUTLIERS = 0.02; // this share of single losses may lie outside on each side

/** @param {Point[]} points */
const finite = (points) => (points ?? []).filter((point) => point.every(Number.isFinite));

/**
 * [low, high] that shows all of the calm lines and all but the outliers of the noisy one.
 * @param {Point[]} noisy
 * @param {Point[]} calm
 * @returns {[number, number] | null}
 */
export function rangeOf(noisy, calm) {
  const sorted = noisy.map(([, value]) => value).sort((a, b) => a - b);
  const cut = Math.floor(sorted.length * OUTLIERS);
  const values = sorted.slice(cut, sorted.length - cut).concat(calm.map(([, value]) => value));
  if (!values.length) return null;
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (low < high) return [low, high];
  const room = Math.abs(low) * 0.1 || 1;
  return [low - room, high + room];
}

/**
 * {x, y, log}: functions from a step and a value into the picture; y is clamped to it.
 * @typedef {{ low: number, high: number, log: boolean, x: Axis, y: Axis }} Axes
 * @typedef {(value: number) => number} Axis
 * @param {Point[]} noisy
 * @param {Point[]} calm
 * @returns {Axes | null}
 */
export function axes(noisy, calm) {
  const range = rangeOf(noisy, calm);
  if (!range) return null;
  const [low, high] = range;
  const steps = [...noisy, ...calm].map(([step]) => step);
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  const log = low > 0 && high / low > LOG_FROM;
  const scale = log ? Math.log : (/** @type {number} */ value) => value;
  const fraction = (/** @type {number} */ value) =>
    (scale(Math.min(Math.max(value, low), high)) - scale(low)) / (scale(high) - scale(low));
  return {
    low,
    high,
    log,
    x: (step) => (last > first ? ((step - first) / (last - first)) * WIDTH : WIDTH / 2),
    y: (value) => HEIGHT * (1 - fraction(value)),
  };
}

/** @type {(axes: Axes, point: Point) => string} */
const at = ({ x, y }, [step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`;

// A line to its own place is a dot, round at any size of the picture: strokes do not scale.
/** @type {(axes: Axes, point: Point) => string} */
const dot = (axis, point) => `M${at(axis, point)}L${at(axis, point)}`;
/** @type {(axes: Axes, points: Point[]) => string} */
const dots = (axis, points) => points.map((point) => dot(axis, point)).join("");

/** @type {(axes: Axes, points: Point[]) => string} */
function line(axis, points) {
  if (points.length < 2) return dots(axis, points);
  return `M${points.map((point) => at(axis, point)).join("L")}`;
}

/** The lines and dots of the picture, and the picture. */
function createPicture() {
  const path = (/** @type {string} */ name) =>
    svg("path", { class: name, "vector-effect": "non-scaling-stroke" });
  const paths = {
    loss: path("sm-loss"),
    average: path("sm-average"),
    heldLine: path("sm-held-line"),
    held: path("sm-held"),
  };
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...Object.values(paths),
  );
  return { paths, picture };
}

/** {el, draw(view)}. */
export function createPlot() {
  const { paths, picture } = createPicture();
  const high = h("span", { className: "sm-high" });
  const low = h("span", { className: "sm-low" });
  const heldKey = h("span", { className: "sm-key-held", textContent: say("held out") });
  const keys = h(
    "span",
    { className: "sm-keys" },
    h("span", { className: "sm-key-loss", textContent: say("loss") }),
    h("span", { className: "sm-key-average", textContent: say("average") }),
    heldKey,
  );
  const empty = h("span", { className: "sm-no-points", textContent: say("The loss shows here.") });
  const labels = h("div", { className: "sm-plot-labels" }, high, keys, low);
  const el = h("div", { className: "sm-plot" }, picture, labels, empty);

  /** @param {JobView} view */
  function draw(view) {
    const [loss, average, held] = [view.loss, view.average, view.held_out].map(finite);
    const axis = axes(loss, [...average, ...held]);
    el.classList.toggle("sm-empty", !axis);
    el.classList.toggle("sm-single", loss.length === 1);
    if (!axis) return;
    paths.loss.setAttribute("d", line(axis, loss));
    paths.average.setAttribute("d", line(axis, average));
    paths.heldLine.setAttribute("d", line(axis, held));
    paths.held.setAttribute("d", dots(axis, held));
    setText(high, formatLoss(axis.high));
    setText(low, formatLoss(axis.low) + (axis.log ? ` (${say("log")})` : ""));
    heldKey.hidden = !held.length;
  }

  return { el, draw };
}
