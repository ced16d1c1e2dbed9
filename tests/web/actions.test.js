/** The buttons that command a job. */

import { buttonNamed, buttonTexts, isVisible, showOnPage, window } from "./page.js";
import assert from "node:assert/strict";
import test from "node:test";
import { createActions } from "../../web/js/actions.js";
import { PHASES } from "../../web/js/phases.js";
import { view } from "./job.js";

const BUTTONS = {
  queued: ["Pause", "Stop and save"],
  loading: ["Pause", "Stop and save"],
  running: ["Pause", "Stop and save", "Save now", "Sample"],
  yielding: ["Pause", "Stop and save", "Save now"],
  paused: ["Resume", "Stop and save"],
  interrupted: ["Resume", "Stop and save"],
  stopped: ["Resume"],
  failed: ["Resume"],
  finished: [],
};

/** Buttons on a page, inside a panel, and the commands that they give. */
function create() {
  const commands = [];
  const actions = createActions((...command) => commands.push(command));
  const panel = document.createElement("div");
  panel.className = "sm-panel";
  panel.append(actions.el);
  showOnPage(panel);
  return { ...actions, panel, commands };
}

test("a job can be told what its phase allows, whatever it was before", () => {
  assert.deepEqual(Object.keys(BUTTONS).sort(), [...PHASES].sort());
  const { el, show } = create();
  for (const before of PHASES) {
    for (const phase of PHASES) {
      show(view({ phase: before }));
      show(view({ phase }));
      assert.deepEqual(buttonTexts(el), BUTTONS[phase], `${before}, then ${phase}`);
      assert.equal(isVisible(el), BUTTONS[phase].length > 0);
    }
  }
});

test("a job that draws what it trains on has nothing to save or to sample", () => {
  const { el, show } = create();
  show(view({ drawing: true }));
  assert.deepEqual(buttonTexts(el), ["Pause", "Stop and save"]);
});

test("a job in a phase of a newer server can be told nothing", () => {
  const { el, show } = create();
  show(view({ phase: "dreaming" }));
  assert.ok(!isVisible(el));
});

test("a button commands the job that is shown", () => {
  const { el, show, commands } = create();
  show(view({ id: "first" }));
  buttonNamed(el, "Pause").click();
  show(view({ id: "second", phase: "paused" }));
  buttonNamed(el, "Resume").click();
  show(view({ id: "second" }));
  for (const text of ["Stop and save", "Save now", "Sample"]) buttonNamed(el, text).click();
  assert.deepEqual(commands, [
    ["first", "pause"],
    ["second", "resume"],
    ["second", "stop"],
    ["second", "save"],
    ["second", "sample"],
  ]);
});

test("a press on a button never drags the node below it", () => {
  const { el, panel, show } = create();
  show(view());
  const heard = [];
  panel.addEventListener("pointerdown", (event) => heard.push(event.target));
  el.dispatchEvent(new window.Event("pointerdown", { bubbles: true }));
  assert.deepEqual(heard, [el]);
  buttonNamed(el, "Pause").dispatchEvent(new window.Event("pointerdown", { bubbles: true }));
  assert.deepEqual(heard, [el]);
});

test("every button explains itself", () => {
  const { el } = create();
  for (const button of el.querySelectorAll("button")) assert.notEqual(button.title, "");
});
