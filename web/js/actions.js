/** The row of buttons that command a job; only those that its phase allows are there. */

import { button, h } from "./dom.js";

const ALIVE = ["loading", "running", "yielding"];

const ACTIONS = [
  {
    what: "pause",
    label: "Pause",
    phases: ["queued", ...ALIVE],
    title: "Save and wait until Resume is pressed",
  },
  {
    what: "resume",
    label: "Resume",
    phases: ["paused", "stopped", "failed", "interrupted"],
    title: "Go on from the last step that was saved",
  },
  {
    what: "stop",
    label: "Stop and save",
    phases: ["queued", ...ALIVE, "paused", "interrupted"],
    title: "End the training and keep the adapter as it is now",
  },
  {
    what: "save",
    label: "Save now",
    phases: ["running", "yielding"],
    title: "Write a checkpoint and go on",
  },
  {
    what: "sample",
    label: "Sample",
    phases: ["running"],
    title: "Make a small clip at scale 1 and at scale 0 with the adapter as it is now",
  },
];

/** {el, show(view)}. act(id, what) is called with the job that is shown. */
export function createActions(act) {
  let id = null;
  const made = ACTIONS.map(({ what, label, title, phases }) => ({
    what,
    phases,
    element: button(label, () => act(id, what), { title }),
  }));
  const el = h("div", { className: "sm-actions" }, ...made.map(({ element }) => element));

  function show(view) {
    id = view.id;
    const allowed = new Set(
      made.filter(({ phases }) => phases.includes(view.phase)).map(({ what }) => what),
    );
    for (const { what, element } of made) element.hidden = !allowed.has(what);
    el.hidden = allowed.size === 0;
  }

  return { el, show };
}
