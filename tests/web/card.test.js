/** A job in the sidebar. */

import { buttonNamed, buttonTexts, isVisible, settle, showOnPage, window } from "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { createCard } from "../../web/js/card.js";
import { ENDED, PHASES } from "../../web/js/phases.js";
import { view } from "./job.js";

const HTML = "<b>bold</b>";

/** A card on a page; calls: what its buttons did. */
function create({ readLog = async () => "a log", id = "the job" } = {}) {
  const calls = [];
  const note = (name) => (...args) => calls.push([name, ...args]);
  const handlers = { act: note("act"), remove: note("remove"), move: note("move"), readLog };
  const card = createCard(id, handlers);
  const sidebar = document.createElement("div");
  sidebar.className = "sm-sidebar";
  sidebar.append(card.el);
  showOnPage(sidebar);
  return { ...card, calls, part: (name) => card.el.querySelector(`.sm-${name}`) };
}

test("a card says what its node says, and which kind it is and when it began", () => {
  const { el, part, show } = create();
  show(view({ message: "Look." }), -1, 0);
  assert.equal(part("name").textContent, "adapter 1");
  assert.equal(part("phase").textContent, "Training");
  assert.equal(part("message").textContent, "Look.");
  const created = new Date(view().created * 1000);
  const when = created.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  assert.equal(part("about").textContent, `Motion Adapter · ${when}`);
  assert.equal(el.dataset.job, "the job"); // what a drag carries
});

test("every kind has a name, and one of a newer server its own", () => {
  const kinds = {
    motion: "Motion Adapter",
    spatial: "Spatial Adapter",
    "customize-a-video": "Customize-A-Video",
    vmc: "VMC",
    newmove: "NewMove",
    later: "later",
  };
  const { part, show } = create();
  for (const [kind, name] of Object.entries(kinds)) {
    show(view({ kind }), -1, 0);
    assert.ok(part("about").textContent.startsWith(`${name} · `), kind);
  }
});

test("a job that has not ended is stopped when it is deleted, and the button says so", () => {
  const { el, calls, show } = create();
  for (const phase of PHASES) {
    const shown = view({ phase });
    show(shown, -1, 0);
    const text = ENDED.includes(phase) ? "Delete" : "Stop and delete";
    buttonNamed(el, text).click();
    assert.deepEqual(calls.pop(), ["remove", shown]);
  }
});

test("its buttons command it", () => {
  const { el, calls, show } = create();
  show(view({ id: "the job" }), -1, 0);
  buttonNamed(el, "Pause").click();
  buttonNamed(el, "Open folder").click();
  assert.deepEqual(calls, [
    ["act", "the job", "pause"],
    ["act", "the job", "open"],
  ]);
});

test("only a job in the queue can be moved, and only where there is room", () => {
  const { el, calls, part, show } = create();
  const [earlier, later] = ["▲", "▼"].map((text) => buttonNamed(el, text));
  show(view({ phase: "queued" }), -1, 3);
  assert.ok(!isVisible(part("mover")));
  const disabled = [0, 1, 2].map((place) => {
    show(view({ phase: "queued" }), place, 3);
    assert.ok(isVisible(part("mover")));
    return [earlier.disabled, later.disabled];
  });
  assert.deepEqual(disabled, [
    [true, false],
    [false, false],
    [false, true],
  ]);
  show(view({ phase: "queued" }), 1, 3);
  earlier.click();
  later.click();
  assert.deepEqual(calls, [
    ["move", "the job", -1],
    ["move", "the job", 1],
  ]);
});

test("the buttons that move a job can be read aloud, and its handle can be dragged", () => {
  const { el, handle } = create();
  const labels = ["▲", "▼"].map((text) => buttonNamed(el, text).ariaLabel);
  assert.deepEqual(labels, ["Train earlier", "Train later"]);
  assert.equal(handle.draggable, true);
  assert.ok(el.contains(handle));
});

test("the log is read when it is opened, and anew each time", async () => {
  const texts = ["first", "second"];
  const ids = [];
  const readLog = async (id) => {
    ids.push(id);
    return texts.shift();
  };
  const { el, part } = create({ readLog });
  const log = part("log");
  assert.ok(!isVisible(log));
  buttonNamed(el, "Log").click();
  assert.equal(log.textContent, "...");
  await settle();
  assert.ok(isVisible(log));
  assert.equal(log.textContent, "first");
  buttonNamed(el, "Log").click();
  assert.ok(!isVisible(log));
  assert.deepEqual(ids, ["the job"]);
  buttonNamed(el, "Log").click();
  await settle();
  assert.equal(log.textContent, "second");
});

test("a log is shown from its end", async () => {
  const { el, part } = create();
  Object.defineProperty(part("log"), "scrollHeight", { value: 4321 });
  buttonNamed(el, "Log").click();
  await settle();
  assert.equal(part("log").scrollTop, 4321);
});

test("an empty log is called so", async () => {
  const { el, part } = create({ readLog: async () => "" });
  buttonNamed(el, "Log").click();
  await settle();
  assert.equal(part("log").textContent, "The log is empty.");
});

test("nothing of a job is HTML, its log included", async () => {
  const { el, part, show } = create({ readLog: async () => HTML, id: HTML });
  show(view({ id: HTML, name: HTML, message: HTML, kind: HTML }), 0, 1);
  buttonNamed(el, "Log").click();
  await settle();
  assert.deepEqual([...el.querySelectorAll("b")], []);
  for (const name of ["name", "message", "log"]) assert.equal(part(name).textContent, HTML);
});

test("a press on a button never drags what is below", () => {
  const { el, show } = create();
  show(view(), 0, 1);
  const heard = [];
  el.addEventListener("pointerdown", (event) => heard.push(event.target));
  for (const button of el.querySelectorAll("button")) {
    button.dispatchEvent(new window.Event("pointerdown", { bubbles: true }));
  }
  assert.equal(buttonTexts(el).length, 9);
  assert.deepEqual(heard, []);
});
