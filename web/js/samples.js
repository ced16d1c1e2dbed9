/** A job's samples: a strip over the training's time, a row a scale; one of them large; a warning. */

import { button, h, setText } from "./dom.js";
import { STOPPABLE } from "./phases.js";
import { say } from "./words.js";

/** @import { Act, JobView, Part } from "./types.js" */
/** @typedef {(id: string, file: string, seq: number) => string} SampleUrl */

const NEWEST = 5; // samples that are shown, after the first one

/** @param {string} file */
const stepOf = (file) => file.replace(/\.\w+$/, "");

/**
 * "Step 200: scale 1, 0, -1": what is seen, from top to bottom.
 * @param {JobView} view
 * @param {string} file
 */
function describe(view, file) {
  const step = stepOf(file);
  const scales = view.scales ?? [];
  if (!scales.length) return say("step {step}", { step });
  return say("Step {step}: scale {scales}", { step, scales: scales.join(", ") });
}

/**
 * "Motion: 0.02, 0.77, 1.31 px per frame", in the order of the rows; empty where nobody measured.
 * @param {JobView} view
 * @param {string} file
 */
function motionOf(view, file) {
  const row = (view.motion ?? []).find(([step]) => String(step) === stepOf(file));
  if (!row) return "";
  const values = row.slice(1).map((value) => value.toFixed(2));
  return say("Motion: {values} px per frame", { values: values.join(", ") });
}

/**
 * The first sample and the newest ones, oldest first.
 * @param {readonly string[]} files
 */
export function chosen(files) {
  return files.filter((_, i) => i === 0 || i >= files.length - NEWEST);
}

/**
 * One sample over the whole page, until a press or Escape; the arrows go through the others.
 * @param {JobView} view
 * @param {string} file
 * @param {SampleUrl} sampleUrl
 */
function openLarge(view, file, sampleUrl) {
  const files = view.samples;
  let place = files.indexOf(file);
  const picture = h("img", { draggable: false });
  const caption = h("p");
  const el = h(
    "div",
    { className: "sm-large", tabIndex: -1, attrs: { role: "dialog", "aria-modal": "true" } },
    picture,
    caption,
  );

  function show() {
    const now = files[place];
    picture.src = sampleUrl(view.id, now, view.seq);
    picture.alt = describe(view, now);
    setText(caption, [picture.alt, motionOf(view, now)].filter(Boolean).join(". "));
  }

  el.addEventListener("click", () => el.remove());
  el.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the editor has its own meaning for these
    if (event.key === "Escape") el.remove();
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
    place = Math.min(Math.max(place + by, 0), files.length - 1);
    show();
  });
  show();
  document.body.append(el);
  el.focus();
}

/** @type {(view: JobView, file: string, sampleUrl: SampleUrl) => HTMLElement} */
function sampleOf(view, file, sampleUrl) {
  const description = describe(view, file);
  const title = [description, motionOf(view, file)].filter(Boolean).join(". ");
  const src = sampleUrl(view.id, file, view.seq);
  const picture = h("img", { src, alt: description, draggable: false });
  const open = button("", () => openLarge(view, file, sampleUrl), { title });
  open.append(picture);
  const caption = h("figcaption", { textContent: say("step {step}", { step: stepOf(file) }) });
  return h("figure", {}, open, caption);
}

/** @type {(sampleUrl: SampleUrl) => Part} */
export function createSamples(sampleUrl) {
  const scales = h("div", { className: "sm-scales", title: say("Scale of the adapter") });
  const strip = h("div", { className: "sm-strip" });
  const el = h("div", { className: "sm-samples" }, scales, strip);
  let shown = "";

  /** @param {JobView} view */
  function show(view) {
    const files = chosen(view.samples ?? []);
    el.hidden = !files.length;
    // Made anew only when the files change, else every event would load the pictures again.
    const now = JSON.stringify([view.id, files, view.scales]);
    if (now === shown) return;
    shown = now;
    const rows = view.scales ?? [];
    el.style.setProperty("--sm-rows", String(rows.length || 1));
    scales.replaceChildren(...rows.map((scale) => h("span", { textContent: String(scale) })));
    strip.replaceChildren(...files.map((file) => sampleOf(view, file, sampleUrl)));
    strip.scrollLeft = strip.scrollWidth; // the newest
  }

  return { el, show };
}

/**
 * That a Spatial Adapter takes the motion away, and what to do; nothing else.
 * @param {Act} act
 * @returns {Part}
 */
export function createWarning(act) {
  let id = "";
  const text = h("span");
  const stop = button(say("Stop and save"), () => act(id, "stop"));
  const el = h("div", { className: "sm-warning" }, text, stop);

  /** @param {JobView} view */
  function show(view) {
    id = view.id;
    el.hidden = !view.lost_motion;
    stop.hidden = !STOPPABLE.includes(view.phase);
    if (!view.lost_motion) return;
    const [now, without] = view.lost_motion.map((value) => value.toFixed(2));
    const told = say(
      "With this adapter the newest sample moves {now} px per frame, without it {without}. Trained for longer it may stand still.",
      { now, without },
    );
    setText(text, told);
  }

  return { el, show };
}
