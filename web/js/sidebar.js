/** The sidebar tab "Still-Moving jobs": every job of this ComfyUI, and the order of the queue. */

import { app } from "../../../scripts/app.js";
import { createCard } from "./card.js";
import * as client from "./client.js";
import { h, once } from "./dom.js";
import { complain, sure } from "./notices.js";
import { letDrag, moved, placed } from "./reorder.js";
import { ACTIVE, ENDED, jobs } from "./store.js";

const ID = "still-moving-jobs";
const TITLE = "Still-Moving jobs";

/** Command a job; what the server refuses is shown. */
export async function act(id, what) {
  try {
    jobs.put(await client.command(id, what));
  } catch (error) {
    complain(`Could not ${what} the job`, error);
  }
}

async function remove(view) {
  const what = `Delete ${view.name} (${view.id}) and its folder?`;
  const question = `${what} Adapters that it has finished stay.`;
  if (!(await sure("Delete this job?", question))) return;
  try {
    await client.deleteJob(view.id);
    jobs.remove(view.id);
  } catch (error) {
    complain("Could not delete the job", error);
  }
}

async function readLog(id) {
  try {
    return await client.readLog(id);
  } catch (error) {
    return error.message;
  }
}

const waitingIds = () => jobs.waiting().map(({ id }) => id);

async function reorder(ids) {
  if (ids.join() === waitingIds().join()) return;
  try {
    for (const view of await client.reorder(ids)) jobs.put(view);
  } catch (error) {
    complain("Could not change the order", error);
  }
}

const move = (id, by) => reorder(moved(waitingIds(), id, by));

/** A heading with a list below it; gone while the list is empty. */
function createSection(title) {
  const list = h("ul", { className: "sm-list" });
  const el = h("section", {}, h("h3", { textContent: title }), list);

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
  const [now, queue, ended] = ["Now", "Waiting, next one first", "Ended"].map(createSection);
  const empty = h("p", {
    className: "sm-nothing",
    textContent:
      "No jobs yet. Press Train on a Train Motion Adapter or a Train Spatial Adapter node.",
  });
  const el = h("div", { className: "sm-sidebar" }, empty, now.el, queue.el, ended.el);
  const cards = new Map();
  const drag = letDrag(queue.list, (id, target, behind) =>
    reorder(placed(waitingIds(), id, target, behind)),
  );

  function cardOf(view) {
    const known = cards.get(view.id) ?? createCard(view.id, { act, readLog, remove, move });
    cards.set(view.id, known);
    return known;
  }

  function update() {
    if (drag.dragging()) return; // a list that changes under the pointer loses the drag
    const [all, waiting] = [jobs.all(), jobs.waiting()];
    for (const id of cards.keys()) if (!jobs.get(id)) cards.delete(id);
    for (const view of all) cardOf(view).show(view, waiting.indexOf(view), waiting.length);
    const others = all.filter((view) => view.phase !== "queued");
    now.show(others.filter((view) => !ENDED.has(view.phase)).map(cardOf));
    queue.show(waiting.map(cardOf));
    ended.show(others.filter((view) => ENDED.has(view.phase)).map(cardOf));
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
  const count = jobs.all().filter(({ phase }) => ACTIVE.has(phase) && phase !== "paused").length;
  if (tab) tab.iconBadge = count ? String(count) : null;
}

/** Add the tab. Call once, in setup(). */
export function registerSidebar() {
  let leave = () => {};
  app.extensionManager.registerSidebarTab({
    id: ID,
    icon: "pi pi-chart-line",
    title: TITLE,
    tooltip: TITLE,
    type: "custom",
    render(place) {
      leave();
      const { el, update } = createList();
      place.replaceChildren(el);
      leave = jobs.subscribe(once(update));
      update();
    },
    destroy: () => leave(),
  });
}
