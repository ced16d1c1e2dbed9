/** One job in the sidebar: what its node shows of it, and what can be done to its folder. */

import { createActions } from "./actions.js";
import { button, h, setText } from "./dom.js";
import { createHeader, createMessage } from "./panel.js";
import { ENDED } from "./phases.js";
import { createWarning } from "./samples.js";
import { language, phrase, say } from "./words.js";

/** @import { Act, JobView, Kind } from "./types.js" */
/** @typedef {(id: string, by: number) => void} Move */

/** @type {Record<Kind, string>} */
const KINDS = {
  motion: phrase("Motion Adapter"),
  spatial: phrase("Spatial Adapter"),
  "customize-a-video": "Customize-A-Video",
  vmc: "VMC",
  newmove: "NewMove",
};
/** @type {Intl.DateTimeFormatOptions} */
const WHEN = { dateStyle: "medium", timeStyle: "short" };

/** @param {(id: string) => Promise<string>} readLog */
function createLog(readLog) {
  const el = h("pre", { className: "sm-log", tabIndex: 0, hidden: true });

  /** @param {string} id */
  async function toggle(id) {
    el.hidden = !el.hidden;
    if (el.hidden) return;
    setText(el, "...");
    setText(el, (await readLog(id)) || say("The log is empty."));
    el.scrollTop = el.scrollHeight;
  }

  return { el, toggle };
}

/**
 * What moves a waiting job: a handle to drag, and two buttons for those who do not drag.
 * @param {string} id
 * @param {Move} move
 */
function createMover(id, move) {
  /** @type {(text: string, by: number, title: string) => HTMLButtonElement} */
  const arrow = (text, by, title) =>
    button(text, () => move(id, by), { title, ariaLabel: title });
  const up = arrow("▲", -1, say("Train earlier"));
  const down = arrow("▼", 1, say("Train later"));
  const handle = h("span", {
    className: "sm-handle",
    draggable: true,
    textContent: "⠿",
    title: say("Drag to change the order"),
  });
  const el = h("div", { className: "sm-mover" }, handle, up, down);

  /** @type {(place: number, count: number) => void} */
  function show(place, count) {
    el.hidden = place < 0;
    up.disabled = place === 0;
    down.disabled = place === count - 1;
  }

  return { el, handle, show };
}

/**
 * {el, handle, show(view, place, count)}; place: in the queue from 0, -1 for a job not in it.
 * @typedef Handlers what its buttons do
 * @property {Act} act
 * @property {(id: string) => Promise<string>} readLog
 * @property {(view: JobView) => void} remove
 * @property {Move} move
 * @param {string} id
 * @param {Handlers} handlers
 */
export function createCard(id, { act, readLog, remove, move }) {
  const header = createHeader();
  const message = createMessage();
  const warning = createWarning(act);
  const actions = createActions(act);
  const mover = createMover(id, move);
  const log = createLog(readLog);
  const about = h("div", { className: "sm-about" });
  /** @type {JobView} */
  let shown;
  const discard = button(say("Delete"), () => remove(shown), {
    title: say("Delete the job and its folder"),
  });
  const folder = h(
    "div",
    { className: "sm-actions" },
    button(say("Open folder"), () => act(id, "open"), {
      title: say("On the machine that ComfyUI runs on"),
    }),
    button(say("Log"), () => log.toggle(id), { title: say("What the training process wrote") }),
    discard,
  );
  const inner = [header.el, about, message.el, warning.el, actions.el, folder, log.el];
  const main = h("div", { className: "sm-card-main" }, ...inner);
  const el = h("li", { className: "sm-card" }, mover.el, main);
  el.dataset.job = id;

  /** @type {(view: JobView, place: number, count: number) => void} */
  function show(view, place, count) {
    shown = view;
    for (const part of [header, message, warning, actions]) part.show(view);
    mover.show(place, count);
    const created = new Date(view.created * 1000).toLocaleString(language(), WHEN);
    setText(about, `${say(KINDS[view.kind] ?? view.kind)} · ${created}`);
    discard.textContent = say(ENDED.includes(view.phase) ? "Delete" : phrase("Stop and delete"));
  }

  return { el, handle: mover.handle, show };
}
