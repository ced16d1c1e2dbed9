/** The picture of the loss: any numbers give a picture that is true to them. */

import { isVisible, showOnPage } from "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { axes, createPlot, rangeOf } from "../../web/js/plot.js";
import { randomNumbers, view } from "./job.js";

/** A plot of a job on a page, and its parts by their classes. */
function plotted(changes) {
  const plot = createPlot();
  const panel = document.createElement("div");
  panel.className = "sm-panel";
  panel.append(plot.el);
  showOnPage(panel);
  plot.draw(view(changes));
  const part = (name) => plot.el.querySelector(`.sm-${name}`);
  return { ...plot, part, path: (name) => part(name).getAttribute("d") ?? "" };
}

const count = (text, letter) => text.split(letter).length - 1;
const series = (values) => values.map((value, i) => [i + 1, value]);

test("all losses are one line, and the held-out ones are dots on another", () => {
  const { path, part } = plotted({});
  assert.equal(count(path("loss"), "M"), 1);
  assert.equal(count(path("loss"), "L"), 49); // 50 points
  assert.equal(count(path("average"), "L"), 49);
  assert.equal(count(path("held-line"), "L"), 2);
  assert.equal(count(path("held"), "M"), 3);
  for (const name of ["high", "low", "key-loss", "key-average", "key-held"]) {
    assert.ok(isVisible(part(name)), name);
  }
});

test("the picture shows all of it, stretched to the room that there is", () => {
  const picture = plotted({}).el.querySelector("svg");
  assert.equal(picture.getAttribute("viewBox"), "0 0 300 100");
  assert.equal(picture.getAttribute("preserveAspectRatio"), "none");
});

test("a job without held-out losses has no key for them", () => {
  const { part, draw } = plotted({ held_out: [] });
  assert.ok(!isVisible(part("key-held")));
  draw(view());
  assert.ok(isVisible(part("key-held")));
});

for (const points of [0, 1, 2, 200]) {
  test(`${points} losses can be drawn`, () => {
    const loss = Array.from({ length: points }, (_, step) => [step, 0.5]);
    const { part, path, el } = plotted({ loss, average: loss, held_out: [] });
    assert.ok(!path("loss").includes("NaN"));
    assert.equal(count(path("loss"), "L"), points === 1 ? 1 : Math.max(0, points - 1));
    assert.equal(part("no-points").textContent, "The loss shows here.");
    assert.equal(isVisible(part("no-points")), points === 0);
    assert.equal(isVisible(part("high")), points > 0);
    assert.equal(isVisible(el.querySelector("svg")), points > 0);
    assert.equal(el.classList.contains("sm-single"), points === 1);
  });
}

test("a loss that is no number is left out", () => {
  const { path } = plotted({
    loss: [
      [1, 0.5],
      [2, null],
      [3, NaN],
      [4, 0.25],
    ],
    average: undefined,
    held_out: null,
  });
  assert.equal(path("loss"), "M0.0 0.0L300.0 100.0");
  assert.equal(path("average"), "");
});

test("the labels are the highest and the lowest value", () => {
  const { part } = plotted({ loss: series([0.5, 0.25]), average: [], held_out: [] });
  assert.equal(part("high").textContent, "0.5");
  assert.equal(part("low").textContent, "0.25");
});

test("a range of more than a factor of 8 above 0 has a logarithmic axis, and says so", () => {
  const logarithmic = (...values) => axes(series(values), []).log;
  assert.ok(!logarithmic(1, 8));
  assert.ok(logarithmic(1, 8.01));
  assert.ok(!logarithmic(0, 8.01));
  assert.ok(!logarithmic(-1, 80));
  const { part } = plotted({ loss: series([1, 10, 100]), average: [], held_out: [] });
  assert.equal(part("low").textContent, "1 (log)");
  const { y } = axes(series([1, 10, 100]), []);
  assert.ok(Math.abs(y(10) - 50) < 1e-9);
});

test("single losses far off do not flatten the rest, but calm lines are never cut", () => {
  const noisy = series([...Array.from({ length: 99 }, (_, i) => 1 + i / 100), 1000]);
  assert.ok(rangeOf(noisy, [])[1] < 2);
  assert.equal(rangeOf(noisy, [[1, 1000]])[1], 1000);
  assert.equal(rangeOf(noisy.slice(0, 20).concat([[21, 1000]]), [])[1], 1000); // 2 % of 21 is none
});

test("a flat line lies in the middle", () => {
  for (const value of [0.5, 0, -3]) {
    const [low, high] = rangeOf(series([value, value]), []);
    assert.ok(low < value && value < high);
    const { y } = axes(series([value, value]), []);
    assert.ok(Math.abs(y(value) - 50) < 1e-9);
  }
});

test("without points there is no range and no axis", () => {
  assert.equal(rangeOf([], []), null);
  assert.equal(axes([], []), null);
});

test("all points lie inside the picture, later ones to the right, higher ones up", () => {
  const random = randomNumbers(5);
  const number = () => 10 ** (random() * 12 - 6) * (random() < 0.2 ? -1 : 1);
  for (let round = 0; round < 500; round++) {
    const noisy = series(Array.from({ length: 1 + Math.floor(random() * 200) }, number));
    const calm = series(Array.from({ length: Math.floor(random() * 20) }, number));
    const { x, y } = axes(noisy, calm);
    const points = [...noisy, ...calm].map(([step, value]) => ({ step, value }));
    for (const point of points) Object.assign(point, { x: x(point.step), y: y(point.value) });
    for (const point of points) {
      assert.ok(point.x >= 0 && point.x <= 300, `x ${point.x}`);
      assert.ok(point.y >= -1e-9 && point.y <= 100 + 1e-9, `y ${point.y}`);
    }
    points.sort((a, b) => a.value - b.value);
    points.slice(1).forEach((point, i) => assert.ok(point.y <= points[i].y + 1e-9));
    points.sort((a, b) => a.step - b.step);
    points.slice(1).forEach((point, i) => assert.ok(point.x >= points[i].x - 1e-9));
  }
});
