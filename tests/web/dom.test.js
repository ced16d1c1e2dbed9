/** Elements, and when they are drawn. */

import { frame, showOnPage, window } from "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { h, loadStyles, oncePerFrame, setText, svg } from "../../web/js/dom.js";

test("an element has its properties, attributes and children", () => {
  const child = h("b");
  const element = h("a", { className: "x", attrs: { "aria-label": "here" } }, child, "text");
  const html = '<a class="x" aria-label="here"><b></b>text</a>';
  assert.equal(element.outerHTML, html);
  assert.equal(element.firstChild, child);
});

test("a picture's element is SVG", () => {
  const circle = svg("circle", { r: 1 });
  assert.equal(circle.namespaceURI, "http://www.w3.org/2000/svg");
  assert.equal(svg("g", {}, circle).firstChild, circle);
  assert.equal(circle.getAttribute("r"), "1");
});

test("a text that has not changed is not written", async () => {
  const element = h("p", { textContent: "before" });
  const changes = [];
  const observer = new window.MutationObserver((records) => changes.push(...records));
  observer.observe(element, { childList: true });
  setText(element, "before");
  await frame();
  assert.deepEqual(changes, []);
  setText(element, "after");
  await frame();
  assert.notDeepEqual(changes, []);
  assert.equal(element.textContent, "after");
});

test("what is called often runs once for each picture", async () => {
  let runs = 0;
  const run = oncePerFrame(() => (runs += 1));
  for (let i = 0; i < 5; i++) run();
  assert.equal(runs, 0);
  await frame();
  assert.equal(runs, 1);
  run();
  await frame();
  assert.equal(runs, 2);
});

test("what calls itself runs again with the next picture", async () => {
  let runs = 0;
  const run = oncePerFrame(() => {
    runs += 1;
    if (runs < 2) run();
  });
  run();
  await frame();
  assert.equal(runs, 1);
  await frame();
  assert.equal(runs, 2);
});

test("a page gets the style sheet once", () => {
  showOnPage();
  loadStyles();
  loadStyles();
  const links = [...document.head.querySelectorAll("link")].map(({ href }) => href);
  assert.equal(links.length, 1);
  assert.match(links[0], /web\/css\/still_moving\.css$/);
});
