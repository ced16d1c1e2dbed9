/** The order of waiting jobs: the lists that buttons and drags make. */

import "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { enableDragging, moveBeside, moveBy } from "../../web/js/reorder.js";
import { randomNumbers } from "./job.js";

const ids = ["a", "b", "c", "d"];
const without = (list, id) => list.filter((other) => other !== id);

/** Calls law(list, id, random) for lists of 1 to 8 names. */
function forManyLists(law) {
  const random = randomNumbers(3);
  const below = (limit) => Math.floor(random() * limit);
  for (let i = 0; i < 1000; i++) {
    const list = Array.from({ length: 1 + below(8) }, (_, at) => `job ${at}`);
    law(list, list[below(list.length)], below);
  }
}

test("a job is moved by places, and the others keep their order", () => {
  forManyLists((list, id, below) => {
    const to = below(list.length);
    const moved = moveBy(list, id, to - list.indexOf(id));
    assert.equal(moved.indexOf(id), to);
    assert.deepEqual(without(moved, id), without(list, id));
  });
});

test("a job that cannot be moved leaves the list as it is", () => {
  assert.equal(moveBy(ids, "a", -1), ids);
  assert.equal(moveBy(ids, "d", 1), ids);
  assert.equal(moveBy(ids, "gone", 1), ids);
});

test("a dragged job lies right before or behind another one", () => {
  forManyLists((list, id, below) => {
    const target = list[below(list.length)];
    const behind = below(2) === 1;
    const moved = moveBeside(list, id, target, behind);
    if (id !== target) assert.equal(moved.indexOf(id) - moved.indexOf(target), behind ? 1 : -1);
    assert.deepEqual(without(moved, id), without(list, id));
    assert.equal(moved.length, list.length);
  });
});

test("a job that is dropped on itself stays", () => {
  assert.equal(moveBeside(ids, "b", "b", true), ids);
});

/** A list of cards, each 20 px high, and what was dropped in it. */
function createList() {
  const list = document.createElement("ul");
  const drops = [];
  list.innerHTML = ids
    .map((id) => `<li class="sm-card" data-job="${id}"><i class="sm-handle"></i>some text</li>`)
    .join("");
  const cards = Object.fromEntries([...list.children].map((card) => [card.dataset.job, card]));
  for (const [i, card] of [...list.children].entries()) {
    card.getBoundingClientRect = () => ({ top: 20 * i, height: 20 });
  }
  const drag = enableDragging(list, (...drop) => drops.push(drop));
  return { list, cards, drops, drag };
}

/** Dispatch a drag event; returns it. It bubbles, and records what is given to dataTransfer. */
function fire(target, type, clientY = 0) {
  const event = new window.Event(type, { bubbles: true, cancelable: true });
  const data = {};
  const dataTransfer = { setData: (kind, text) => (data[kind] = text), setDragImage() {} };
  Object.assign(event, { clientY, dataTransfer, data });
  target.dispatchEvent(event);
  return event;
}

const handleOf = (card) => card.querySelector(".sm-handle");

test("a card that is dragged by its handle is dropped beside the one below the pointer", () => {
  const { cards, drops, drag } = createList();
  const start = fire(handleOf(cards.a), "dragstart");
  assert.equal(start.data["text/plain"], "a");
  assert.equal(start.dataTransfer.effectAllowed, "move");
  assert.ok(drag.dragging());
  assert.ok(cards.a.classList.contains("sm-dragged"));
  fire(cards.c, "drop", 45);
  fire(cards.c, "drop", 55);
  assert.deepEqual(drops, [
    ["a", "c", false],
    ["a", "c", true],
  ]);
});

test("one line shows where the card would be put", () => {
  const { list, cards } = createList();
  const marks = () =>
    [...list.children].map((card) =>
      ["sm-before", "sm-behind"].filter((name) => card.classList.contains(name)).join(),
    );
  fire(handleOf(cards.a), "dragstart");
  assert.ok(fire(cards.b, "dragover", 25).defaultPrevented); // else nothing can be dropped there
  assert.deepEqual(marks(), ["", "sm-before", "", ""]);
  fire(cards.b, "dragover", 35);
  assert.deepEqual(marks(), ["", "sm-behind", "", ""]);
  fire(cards.c, "dragover", 45);
  assert.deepEqual(marks(), ["", "", "sm-before", ""]);
});

test("the end of a drag leaves no mark and nothing that could be dropped", () => {
  const { list, cards, drops, drag } = createList();
  fire(handleOf(cards.a), "dragstart");
  fire(cards.b, "dragover", 25);
  fire(handleOf(cards.a), "dragend");
  assert.ok(!drag.dragging());
  assert.doesNotMatch(list.innerHTML, /sm-(before|behind|dragged)/);
  fire(cards.c, "drop", 45);
  assert.deepEqual(drops, []);
});

test("a drop never reaches ComfyUI, which would take it for a workflow", () => {
  const { list, cards } = createList();
  const page = document.createElement("div");
  const heard = [];
  page.append(list);
  page.addEventListener("drop", (event) => heard.push(event));
  fire(handleOf(cards.a), "dragstart");
  assert.ok(fire(cards.c, "drop", 45).defaultPrevented);
  assert.deepEqual(heard, []);
});

test("a text of a card that is dragged moves no card", () => {
  const { cards, drag } = createList();
  for (const target of [cards.a, cards.a.lastChild]) {
    const { data } = fire(target, "dragstart");
    assert.deepEqual(data, {});
    assert.ok(!drag.dragging());
  }
});

test("files that are dragged over the list are ComfyUI's", () => {
  const { cards, drops } = createList();
  assert.ok(!fire(cards.b, "dragover").defaultPrevented);
  assert.ok(!fire(cards.b, "drop").defaultPrevented);
  assert.deepEqual(drops, []);
});
