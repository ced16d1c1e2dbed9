/** What a training node shows of its newest job: phase, progress, loss, samples and buttons. */

import { createActions } from "./actions.js";
import { h, setText } from "./dom.js";
import { createPlot } from "./plot.js";
import { costOf, messageOf, phaseLabel, progressOf, stepsOf, timeLeft } from "./phrases.js";
import { createSamples, createWarning } from "./samples.js";
import { say } from "./words.js";

/** @import { Act, JobView, Part } from "./types.js" */
/** @import { SampleUrl } from "./samples.js" */

const PLOT = 80; // the least height of the plot, which takes what room there is
const GAP = 5; // between the parts, as in the style sheet
const PADDING = 16; // above and below them
const START = 96; // for the panel that has not been drawn yet

/**
 * Name, phase, bar and step of a job; the sidebar's cards have them too.
 * @returns {Part}
 */
export function createHeader() {
  const name = h("span", { className: "sm-name" });
  const phase = h("span", { className: "sm-phase" });
  const fill = h("div", { className: "sm-fill" });
  const bar = h(
    "div",
    {
      className: "sm-bar",
      attrs: { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" },
    },
    fill,
  );
  const steps = h("span");
  const left = h("span", { className: "sm-left" });
  const el = h(
    "div",
    { className: "sm-header" },
    h("div", { className: "sm-row" }, name, phase),
    bar,
    h("div", { className: "sm-row sm-numbers" }, steps, left),
  );

  /** @param {JobView} view */
  function show(view) {
    setText(name, view.name);
    name.title = view.id;
    setText(phase, phaseLabel(view));
    phase.dataset.phase = view.phase;
    const percent = Math.round(progressOf(view) * 1000) / 10;
    fill.style.width = `${percent}%`;
    fill.dataset.phase = view.phase;
    bar.setAttribute("aria-valuenow", String(percent));
    bar.setAttribute("aria-label", view.name);
    setText(steps, stepsOf(view));
    setText(left, timeLeft(view));
  }

  return { el, show };
}

/**
 * The message of a job, or nothing.
 * @returns {Part}
 */
export function createMessage() {
  const el = h("div", { className: "sm-message" });

  /** @param {JobView} view */
  function show(view) {
    const text = messageOf(view);
    setText(el, text);
    el.hidden = !text;
    el.dataset.phase = view.phase;
  }

  return { el, show };
}

function createEmpty() {
  return h(
    "div",
    { className: "sm-nothing" },
    h("strong", { textContent: say("Press Train to start a job") }),
    h("span", {
      textContent: [
        say("It trains in the background while you go on working."),
        say("Run never trains: it gives the newest adapter of this node."),
      ].join(" "),
    }),
  );
}

/**
 * The height that the parts of a job need when the plot is at its least, in pixels.
 * @param {HTMLElement} job
 * @param {HTMLElement} plot
 */
function requiredHeight(job, plot) {
  const parts = /** @type {HTMLElement[]} */ ([...job.children]);
  const shown = parts.filter((part) => !part.hidden);
  const heights = shown.map((part) => (part === plot ? PLOT : part.offsetHeight));
  return heights.reduce((sum, height) => sum + height + GAP, -GAP);
}

/**
 * {el, show(view), height()}; height() is the least that shows all of it. Without a
 * view it says what to press.
 * @param {{ act: Act, sampleUrl: SampleUrl }} options
 */
export function createPanel({ act, sampleUrl }) {
  const header = createHeader();
  const plot = createPlot();
  const cost = h("div", { className: "sm-cost" });
  const message = createMessage();
  const warning = createWarning(act);
  const samples = createSamples(sampleUrl);
  const actions = createActions(act);
  const job = h(
    "div",
    { className: "sm-job" },
    header.el,
    plot.el,
    cost,
    message.el,
    warning.el,
    samples.el,
    actions.el,
  );
  const empty = createEmpty();
  const el = h("div", { className: "sm-panel" }, empty, job);
  let height = START;

  /** @param {JobView | undefined} view */
  function show(view) {
    empty.hidden = Boolean(view);
    job.hidden = !view;
    if (view) {
      for (const part of [header, message, warning, samples, actions]) part.show(view);
      plot.draw(view);
      setText(cost, costOf(view));
      cost.hidden = !cost.textContent;
    }
    if (!el.offsetHeight) return;
    height = PADDING + (view ? requiredHeight(job, plot.el) : empty.offsetHeight);
  }

  show(undefined);
  return { el, show, height: () => height };
}
