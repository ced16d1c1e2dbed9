/** The sidebar tab: every job, and the order of the queue. */

import { buttonNamed, isVisible, settle, showOnPage, window } from "./page.js";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { PHASES } from "../../web/js/phases.js";
import { commandJob } from "../../web/js/actions.js";
import { registerSidebar, showBadge } from "../../web/js/sidebar.js";
import { jobs } from "../../web/js/store.js";
import { app } from "./comfyui/scripts/app.js";
import { numbered, view } from "./job.js";
import { Server } from "./server.js";

const manager = app.extensionManager;
let server;
let container;

registerSidebar();
const [tab] = manager.tabs;

beforeEach(async () => {
  tab.destroy();
  for (const { id } of jobs.all()) jobs.remove(id);
  server = new Server();
  Object.assign(manager, { toasts: [], questions: [], answer: true });
  container = document.createElement("div");
  showOnPage(container);
  tab.render(container);
});

/** Let the page know these jobs. */
async function show(...views) {
  for (const it of views) jobs.put(server.put(it));
  await settle();
}

const waiting = (count) =>
  Array.from({ length: count }, (_, i) => numbered(i + 1, { phase: "queued", position: i + 1 }));

const namesIn = (element) => [...element.querySelectorAll(".sm-name")].map((it) => it.textContent);
const cardOf = (number) => container.querySelector(`[data-job="${numbered(number).id}"]`);
const toasts = () => manager.toasts.map(({ summary, detail }) => [summary, detail]);

/** {heading: names} of the lists that can be seen. */
function sections() {
  const shown = [...container.querySelectorAll("section")].filter(isVisible);
  return Object.fromEntries(
    shown.map((section) => [section.querySelector("h3").textContent, namesIn(section)]),
  );
}

test("jobs are listed by what they do: at work, in the queue's order, ended", async () => {
  await show(
    numbered(1, { phase: "finished" }),
    numbered(2, { phase: "queued", position: 2 }),
    numbered(3, { phase: "queued", position: 1 }),
    numbered(4, { phase: "running" }),
    numbered(5, { phase: "paused" }),
  );
  assert.deepEqual(sections(), {
    Now: ["adapter 5", "adapter 4"],
    "Waiting, next one first": ["adapter 3", "adapter 2"],
    Ended: ["adapter 1"],
  });
});

test("every phase has its list", async () => {
  await show(...PHASES.map((phase, i) => numbered(i, { phase })));
  assert.equal(namesIn(container).length, PHASES.length);
});

test("without jobs the tab says how to begin one", async () => {
  const hint = container.querySelector(".sm-nothing");
  assert.ok(isVisible(hint));
  assert.match(hint.textContent, /Press Train/);
  assert.deepEqual(sections(), {});
  await show(view());
  assert.ok(!isVisible(hint));
});

test("a card moves with its job and stays the same element", async () => {
  await show(numbered(1, { phase: "queued", position: 1 }));
  const card = cardOf(1);
  await show(numbered(1, { phase: "running" }));
  assert.deepEqual(sections(), { Now: ["adapter 1"] });
  assert.equal(cardOf(1), card);
});

test("a card that stays in place is not touched, so it keeps its focus", async () => {
  await show(numbered(1), numbered(2));
  const changes = [];
  const observer = new window.MutationObserver((records) => changes.push(...records));
  for (const list of container.querySelectorAll("ul")) observer.observe(list, { childList: true });
  await show(numbered(1, { step: 501 }), numbered(2, { step: 501 }));
  assert.deepEqual(changes, []);
  await show(numbered(3));
  assert.notDeepEqual(changes, []);
});

test("a removed job has no card", async () => {
  await show(numbered(1), numbered(2));
  jobs.remove(numbered(2).id);
  await settle();
  assert.deepEqual(sections(), { Now: ["adapter 1"] });
});

test("a tab that is closed hears nothing, and one that is opened again shows all", async () => {
  await show(numbered(1));
  tab.destroy();
  await show(numbered(2));
  assert.deepEqual(namesIn(container), ["adapter 1"]);
  tab.render(container);
  assert.deepEqual(namesIn(container), ["adapter 2", "adapter 1"]);
  const first = container;
  container = document.createElement("div");
  tab.render(container); // ComfyUI does not always close what it opens again
  await show(numbered(3));
  assert.equal(namesIn(container).length, 3);
  assert.equal(namesIn(first).length, 2);
});

test("the tab's icon counts the jobs that go on by themselves", async () => {
  showBadge();
  assert.equal(tab.iconBadge, null);
  await show(...PHASES.map((phase, i) => numbered(i, { phase })));
  showBadge();
  assert.equal(tab.iconBadge, "4"); // queued, loading, running, yielding
});

test("the icon is found in every editor, and its lack is no error", () => {
  const original = manager.getSidebarTabs;
  try {
    manager.getSidebarTabs = undefined;
    manager.sidebarTabs = [{ id: "another" }];
    showBadge();
    manager.sidebarTabs = [{ id: "another" }, tab];
    tab.iconBadge = "old";
    showBadge();
    assert.equal(tab.iconBadge, null);
    manager.sidebarTabs = undefined;
    showBadge();
  } finally {
    manager.getSidebarTabs = original;
    delete manager.sidebarTabs;
  }
});

test("the buttons of a card change the order of the queue", async () => {
  await show(...waiting(3));
  buttonNamed(cardOf(1), "▼").click();
  await settle();
  const queue = sections()["Waiting, next one first"];
  assert.deepEqual(queue, ["adapter 2", "adapter 1", "adapter 3"]);
  assert.deepEqual(server.orders, [[2, 1, 3].map((number) => numbered(number).id)]);
});

test("the ends of the queue cannot be moved over", async () => {
  await show(...waiting(2));
  assert.ok(buttonNamed(cardOf(1), "▲").disabled);
  assert.ok(buttonNamed(cardOf(2), "▼").disabled);
});

/** Dispatch a drag event that bubbles. */
function fire(target, type, clientY = 0) {
  const event = new window.Event(type, { bubbles: true, cancelable: true });
  const dataTransfer = { setData() {}, setDragImage() {} };
  target.dispatchEvent(Object.assign(event, { clientY, dataTransfer }));
}

const dragStart = (number) => fire(cardOf(number).querySelector(".sm-handle"), "dragstart");
const dragEnd = (number) => fire(cardOf(number).querySelector(".sm-handle"), "dragend");

test("a card is dragged to its place in the queue", async () => {
  await show(...waiting(3));
  dragStart(3);
  fire(cardOf(1), "drop", -1); // above its middle
  dragEnd(3);
  await settle();
  const queue = sections()["Waiting, next one first"];
  assert.deepEqual(queue, ["adapter 3", "adapter 1", "adapter 2"]);
});

test("a drop that changes nothing is not sent", async () => {
  await show(...waiting(3));
  dragStart(1);
  fire(cardOf(2), "drop", -1);
  await settle();
  assert.deepEqual(server.orders, []);
});

test("the list holds still while a card is dragged, and catches up at the end", async () => {
  await show(...waiting(2));
  dragStart(1);
  await show(numbered(2, { phase: "running" }));
  assert.equal(sections()["Waiting, next one first"].length, 2);
  dragEnd(1);
  assert.deepEqual(sections(), { Now: ["adapter 2"], "Waiting, next one first": ["adapter 1"] });
});

test("an order that is refused says why", async () => {
  await show(...waiting(2));
  server.refusal = "disk: full.";
  buttonNamed(cardOf(1), "▼").click();
  await settle();
  assert.deepEqual(toasts(), [["Could not change the order", "disk: full."]]);
});

test("a button commands its job and shows the answer", async () => {
  await show(numbered(1));
  buttonNamed(cardOf(1), "Pause").click();
  await settle();
  assert.deepEqual(server.requests, [`POST /jobs/${numbered(1).id}/pause`]);
  assert.equal(cardOf(1).querySelector(".sm-phase").textContent, "Paused");
});

test("a refused command says why", async () => {
  server.refusal = "job: found 7, expected 8.";
  await commandJob("any", "save");
  assert.deepEqual(toasts(), [["Could not save the job", "job: found 7, expected 8."]]);
});

for (const answer of [false, true]) {
  test(`deleting asks first, and ${answer ? "yes" : "no"} means so`, async () => {
    await show(numbered(1, { phase: "finished" }));
    manager.answer = answer;
    buttonNamed(cardOf(1), "Delete").click();
    await settle();
    const [{ message }] = manager.questions;
    assert.match(message, new RegExp(`Delete adapter 1 \\(${numbered(1).id}\\)`));
    assert.deepEqual(server.requests, answer ? [`DELETE /jobs/${numbered(1).id}`] : []);
    assert.deepEqual(namesIn(container), answer ? [] : ["adapter 1"]);
  });
}

test("a job that cannot be deleted stays and says why", async () => {
  await show(numbered(1, { phase: "finished" }));
  server.refusal = "folder: in use.";
  buttonNamed(cardOf(1), "Delete").click();
  await settle();
  assert.deepEqual(toasts(), [["Could not delete the job", "folder: in use."]]);
  assert.deepEqual(namesIn(container), ["adapter 1"]);
});

test("a log that cannot be read tells why in its place", async () => {
  await show(numbered(1));
  server.refusal = "log: gone.";
  buttonNamed(cardOf(1), "Log").click();
  await settle();
  assert.equal(cardOf(1).querySelector(".sm-log").textContent, "log: gone.");
});

test("a card shows its own job's log", async () => {
  await show(numbered(1), numbered(2));
  buttonNamed(cardOf(2), "Log").click();
  await settle();
  assert.equal(cardOf(2).querySelector(".sm-log").textContent, `log of ${numbered(2).id}`);
});
