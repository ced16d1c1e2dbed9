/** The sidebar tab "Still-Moving jobs": every job of this ComfyUI, and the order of the queue. */

import { app } from "../../../scripts/app.js";
import { commandJob } from "./actions.js";
import { createCard } from "./card.js";
import * as client from "./client.js";
import { h, oncePerFrame } from "./dom.js";
import { confirmDeletion, showError } from "./notices.js";
import { ENDED, PAUSABLE } from "./phases.js";
import { enableDragging, moveBeside, moveBy } from "./reorder.js";
import { jobs } from "./store.js";
import { phrase, say } from "./words.js";

/** @import { JobView } from "./types.js" */
/** @typedef {ReturnType<typeof createCard>} Card */

const ID = "still-moving-jobs";
const TITLE = phrase("Still-Moving jobs");

/** @param {JobView} view */
async function remove(view) {
  const { name, id } = view;
  const question = [
    say("Delete {name} ({id}) and its folder?", { name, id }),
    say("Adapters that it has finished stay."),
  ].join(" ");
  if (!(await confirmDeletion(say("Delete this job?"), question))) return;
  try {
    await client.deleteJob(view.id);
    jobs.remove(view.id);
  } catch (error) {
    showError(say("Could not delete the job"), error);
  }
}

/** @param {string} id */
async function readLog(id) {
  try {
    return await client.readLog(id);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const waitingIds = () => jobs.waiting().map(({ id }) => id);

/** @param {string[]} ids */
async function reorder(ids) {
  if (ids.join() === waitingIds().join()) return;
  try {
    for (const view of await client.reorder(ids)) jobs.put(view);
  } catch (error) {
    showError(say("Could not change the order"), error);
  }
}

/** @type {(id: string, by: number) => Promise<void>} */
const move = (id, by) => reorder(moveBy(waitingIds(), id, by));

/**
 * A heading with a list below it; gone while the list is empty.
 * @param {string} title
 */
function createSection(title) {
  const list = h("ul", { className: "sm-list" });
  const el = h("section", {}, h("h3", { textContent: title }), list);

  /** @param {Card[]} cards */
  function show(cards) {
    el.hidden = !cards.length;
    const now = cards.map(({ el: card }) => card);
    // Elements that stay in place keep their focus and their scroll.
    if (now.some((card, i) => list.children[i] !== card) || list.children.length > now.length) {
      list.replaceChildren(...now);
    }
  }

  return { el, list, show };
}

/** {el, update()}: all jobs in three lists, those at work first. */
function createList() {
  const [now, queue, ended] = [
    say("Now"),
    say("Waiting, next one first"),
    say("Ended"),
  ].map(createSection);
  const empty = h("p", {
    className: "sm-nothing",
    textContent: say(
      "No jobs yet. Press Train on a Train Motion Adapter or a Train Spatial Adapter node.",
    ),
  });
  const el = h("div", { className: "sm-sidebar" }, empty, now.el, queue.el, ended.el);
  /** @type {Map<string, Card>} */
  const cards = new Map();
  const handlers = { act: commandJob, readLog, remove, move };
  const drag = enableDragging(queue.list, (id, target, behind) =>
    reorder(moveBeside(waitingIds(), id, target, behind)),
  );

  /** @param {JobView} view */
  function cardOf(view) {
    const card = cards.get(view.id) ?? createCard(view.id, handlers);
    cards.set(view.id, card);
    return card;
  }

  function update() {
    if (drag.dragging()) return; // a list that changes under the pointer loses the drag
    const [all, waiting] = [jobs.all(), jobs.waiting()];
    for (const id of cards.keys()) if (!jobs.get(id)) cards.delete(id);
    for (const view of all) cardOf(view).show(view, waiting.indexOf(view), waiting.length);
    const others = all.filter((view) => view.phase !== "queued");
    now.show(others.filter((view) => !ENDED.includes(view.phase)).map(cardOf));
    queue.show(waiting.map(cardOf));
    ended.show(others.filter((view) => ENDED.includes(view.phase)).map(cardOf));
    empty.hidden = all.length > 0;
  }

  queue.list.addEventListener("dragend", update);
  return { el, update };
}

/** The number of jobs at work or waiting, on the tab's icon. */
export function showBadge() {
  const { extensionManager } = app;
  const tabs = extensionManager.getSidebarTabs?.() ?? extensionManager.sidebarTabs;
  const tab = tabs?.find(({ id }) => id === ID);
  const count = jobs.all().filter(({ phase }) => PAUSABLE.includes(phase)).length;
  if (tab) tab.iconBadge = count ? String(count) : null;
}

/** Add the tab. Call once, in setup(). */
export function registerSidebar() {
  let unsubscribe = () => {};
  app.extensionManager.registerSidebarTab({
    id: ID,
    icon: "pi pi-chart-line",
    title: say(TITLE),
    tooltip: say(TITLE),
    type: "custom",
    render(container) {
      unsubscribe();
      const { el, update } = createList();
      container.replaceChildren(el);
      unsubscribe = jobs.subscribe(oncePerFrame(update));
      update();
    },
    destroy: () => unsubscribe(),
  });
}
