/** The strip of samples and the warning beside it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { view } from "./job.js";
import { buttonNamed, isVisible, showOnPage } from "./page.js";
import { chosen, createSamples, createWarning } from "../../web/js/samples.js";

const sampleUrl = (id, file, seq) => `/samples/${id}/${file}?v=${seq}`;
const texts = (el, selector) => [...el.querySelectorAll(selector)].map((it) => it.textContent);
const srcs = (el) => [...el.querySelectorAll("img")].map((image) => image.getAttribute("src"));
const FILES = [0, 100, 200, 300, 400, 500, 600].map((step) => `${step}.webp`);

function create(changes) {
  const strip = createSamples(sampleUrl);
  showOnPage(strip.el);
  strip.show(view(changes));
  return strip;
}

test("the first and the newest samples are shown with their steps, a row a scale", () => {
  const { el } = create({ id: "a", seq: 7, samples: FILES, scales: [1, 0, -1] });
  const steps = [0, 200, 300, 400, 500, 600];
  assert.deepEqual(texts(el, "figcaption"), steps.map((step) => `step ${step}`));
  assert.deepEqual(srcs(el), steps.map((step) => `/samples/a/${step}.webp?v=7`));
  assert.deepEqual(texts(el, ".sm-scales span"), ["1", "0", "-1"]);
  assert.equal(el.querySelector("img").alt, "Step 0: scale 1, 0, -1");
});

test("few samples are all shown, once", () => {
  for (const count of [0, 1, 5, 6]) assert.deepEqual(chosen(FILES.slice(0, count)), FILES.slice(0, count));
});

test("a sample says how much it moves, where that was measured", () => {
  const { el } = create({ samples: ["100.webp", "200.webp"], motion: [[200, 0.123, 1]] });
  const titles = [...el.querySelectorAll("button")].map(({ title }) => title);
  assert.equal(titles[0], "Step 100: scale 1, 0");
  assert.equal(titles[1], "Step 200: scale 1, 0. Motion: 0.12, 1.00 px per frame");
});

test("samples of a job from before scales were told have no rows", () => {
  const { el } = create({ samples: ["100.webp"], scales: [] });
  assert.deepEqual(texts(el, ".sm-scales span"), []);
  assert.equal(el.querySelector("img").alt, "step 100");
});

test("a press shows a sample large, the arrows the others, Escape none", () => {
  const { el } = create({ samples: ["100.webp", "200.webp"] });
  el.querySelectorAll("button")[1].click();
  const large = document.querySelector(".sm-large");
  const press = (key) => large.dispatchEvent(new window.KeyboardEvent("keydown", { key }));
  assert.match(srcs(large)[0], /200/);
  press("ArrowLeft");
  assert.match(srcs(large)[0], /100/);
  press("ArrowLeft");
  assert.match(srcs(large)[0], /100/);
  press("ArrowRight");
  assert.match(large.querySelector("p").textContent, /^Step 200/);
  press("Escape");
  assert.equal(document.querySelector(".sm-large"), null);
});

test("motion that is lost is told, with Stop and save beside it while there is something to stop", () => {
  const commands = [];
  const { el, show } = createWarning((...command) => commands.push(command));
  showOnPage(el);
  show(view({ id: "a" }));
  assert.ok(!isVisible(el));
  show(view({ id: "a", lost_motion: [0.21, 0.774] }));
  assert.ok(isVisible(el));
  assert.match(el.textContent, /0\.21 px per frame, without it 0\.77/);
  buttonNamed(el, "Stop and save").click();
  assert.deepEqual(commands, [["a", "stop"]]);
  show(view({ id: "a", phase: "finished", lost_motion: [0.21, 0.774] }));
  assert.ok(isVisible(el));
  assert.ok(!isVisible(el.querySelector("button")));
});
