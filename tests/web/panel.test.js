/** What a training node shows of its job. */

import { buttonNamed, buttonTexts, isVisible, showOnPage, window } from "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { createPanel } from "../../web/js/panel.js";
import { PHASES } from "../../web/js/phases.js";
import { view } from "./job.js";

const HTML = "<img src=x onerror='window.harmed = true'><b>bold</b>";

/** A panel on a page; commands: what its buttons gave. */
function create() {
  const commands = [];
  const sampleUrl = (id, file, seq) => `/samples/${id}/${file}?v=${seq}`;
  const panel = createPanel({ act: (...command) => commands.push(command), sampleUrl });
  showOnPage(panel.el);
  return { ...panel, commands, part: (name) => panel.el.querySelector(`.sm-${name}`) };
}

const srcs = (el) => [...el.querySelectorAll("img")].map((image) => image.getAttribute("src"));

test("a node without a job says what to press, and nothing else", () => {
  const { el, part, show } = create();
  for (const shown of [undefined, view(), undefined]) {
    show(shown);
    assert.equal(isVisible(part("nothing")), !shown);
    assert.equal(isVisible(part("job")), Boolean(shown));
  }
  assert.match(part("nothing").textContent, /Press Train.*Run never trains/);
  assert.deepEqual(buttonTexts(el), []);
});

test("a running job shows its numbers", () => {
  const { el, part, show } = create();
  show(view({ name: "my adapter" }));
  assert.equal(part("name").textContent, "my adapter");
  assert.equal(part("name").title, view().id);
  assert.equal(part("phase").textContent, "Training");
  assert.equal(part("numbers").textContent, "500 / 1000 steps2 min 35 s left");
  assert.equal(part("cost").textContent, "0.31 s/step · 3.0 GB · memory tier top");
  assert.ok(isVisible(part("plot")));
  assert.deepEqual(buttonTexts(el), ["Pause", "Stop and save", "Save now", "Sample"]);
});

test("the bar says how far the job is, to the eye and to a screen reader", () => {
  const { part, show } = create();
  show(view({ name: "mine", step: 333.33 }));
  assert.equal(part("fill").style.width, "33.3%");
  const bar = part("bar");
  assert.equal(bar.getAttribute("role"), "progressbar");
  const values = ["valuemin", "valuemax", "valuenow"].map((it) => bar.getAttribute(`aria-${it}`));
  assert.deepEqual(values, ["0", "100", "33.3"]);
  assert.equal(bar.getAttribute("aria-label"), "mine");
});

test("the phase gives name, bar and message their colours", () => {
  const { part, show } = create();
  for (const phase of PHASES) {
    show(view({ phase }));
    for (const name of ["phase", "fill", "message"]) assert.equal(part(name).dataset.phase, phase);
  }
});

test("what is not known takes no room", () => {
  const { part, show } = create();
  show(view({ seconds_per_step: null, memory_bytes: null, tier: null }));
  for (const name of ["cost", "message", "samples"]) assert.ok(!isVisible(part(name)), name);
  show(view({ message: "Look.", samples: ["100.webp"] }));
  for (const name of ["cost", "message", "samples"]) assert.ok(isVisible(part(name)), name);
  assert.equal(part("message").textContent, "Look.");
});

test("a job's words are never HTML", () => {
  const { el, part, show } = create();
  show(view({ name: HTML, message: HTML, phase: HTML, adapter: HTML, tier: HTML, id: HTML }));
  assert.deepEqual([...el.querySelectorAll("b, img")], []);
  for (const name of ["name", "message", "phase"]) assert.equal(part(name).textContent, HTML);
});

test("a sample's name is never HTML", () => {
  const { el, show } = create();
  show(view({ samples: [`${HTML}.webp`] }));
  assert.deepEqual([...el.querySelectorAll("b")], []);
  assert.equal(el.querySelector("figcaption").textContent, `step ${HTML}`);
});

test("samples are not loaded again while they are the same", () => {
  const { el, show } = create();
  show(view({ seq: 1, samples: ["100.webp"] }));
  const image = el.querySelector("img");
  show(view({ seq: 2, step: 501, samples: ["100.webp"] }));
  assert.equal(el.querySelector("img"), image);
  assert.match(srcs(el)[0], /v=1$/);
  show(view({ seq: 3, samples: ["100.webp", "200.webp"] }));
  assert.equal(srcs(el).length, 2);
  show(view({ seq: 4, id: "another", samples: ["100.webp", "200.webp"] }));
  assert.match(srcs(el)[0], /another.*v=4$/);
  show(view({ seq: 5, id: "another", samples: [] }));
  assert.deepEqual(srcs(el), []);
});

test("the buttons command the job that is shown", () => {
  const { el, commands, show } = create();
  show(view({ id: "first" }));
  show(view({ id: "second" }));
  buttonNamed(el, "Save now").click();
  assert.deepEqual(commands, [["second", "save"]]);
});

/** Run with elements of these heights, by class; jsdom itself lays nothing out. */
function withHeights(heights, run) {
  const { prototype } = window.HTMLElement;
  const original = Object.getOwnPropertyDescriptor(prototype, "offsetHeight");
  const get = function () {
    return isVisible(this) ? (heights[this.className] ?? 0) : 0;
  };
  Object.defineProperty(prototype, "offsetHeight", { configurable: true, get });
  try {
    run();
  } finally {
    Object.defineProperty(prototype, "offsetHeight", original);
  }
}

const HEIGHTS = {
  "sm-panel": 500,
  "sm-nothing": 60,
  "sm-header": 40,
  "sm-plot": 333, // it takes what room there is
  "sm-cost": 15,
  "sm-message": 70,
  "sm-samples": 75,
  "sm-actions": 22,
};
const [PADDING, GAP, PLOT] = [16, 5, 80];

test("the height holds every part that is shown, and the plot at its least", () => {
  const { show, height } = create();
  withHeights(HEIGHTS, () => {
    show(view());
    assert.equal(height(), PADDING + 40 + GAP + PLOT + GAP + 15 + GAP + 22);
    show(view({ message: "memory: found little. ".repeat(14) }));
    assert.equal(height(), PADDING + 40 + GAP + PLOT + GAP + 15 + GAP + 70 + GAP + 22);
    show(undefined);
    assert.equal(height(), PADDING + 60);
  });
});

test("a panel that is not on the page keeps the height that it had", () => {
  const { show, height } = create();
  const start = height();
  assert.ok(start > 0);
  show(view({ message: "long" }));
  assert.equal(height(), start);
});
