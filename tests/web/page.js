/** A page without a browser: import this first where elements are made. */

import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const STYLES = new URL("../../web/css/still_moving.css", import.meta.url);

// pretendToBeVisual: it calls requestAnimationFrame's functions.
export const { window } = new JSDOM("", { url: "http://comfyui.test/", pretendToBeVisual: true });
globalThis.window = window;
globalThis.document = window.document;
globalThis.Element = window.Element;
// Without a layout nothing has a size that could change.
globalThis.ResizeObserver = class {
  observe() {}
};
globalThis.requestAnimationFrame = window.requestAnimationFrame;

/** The next picture: what was due before it has been drawn. */
export const frame = () => new Promise((resolve) => window.requestAnimationFrame(resolve));

/** Wait until all that is under way has been answered and drawn. */
export async function settle() {
  for (let round = 0; round < 5; round++) await new Promise(setImmediate);
  await frame();
}

/** Put elements, under the pack's own style sheet, on an otherwise empty page. */
export function showOnPage(...elements) {
  const style = document.createElement("style");
  style.textContent = readFileSync(STYLES, "utf8");
  document.head.replaceChildren(style);
  document.body.replaceChildren(...elements);
}

/** Whether the style sheet lets an element be seen. */
export function isVisible(element) {
  if (element === document.body) return true;
  if (element.hidden) return false; // the style sheet's !important is lost on jsdom
  const { display, visibility } = window.getComputedStyle(element);
  return display !== "none" && visibility !== "hidden" && isVisible(element.parentElement);
}

/** The texts of the buttons that can be seen in an element. */
export const buttonTexts = (element) =>
  [...element.querySelectorAll("button")].filter(isVisible).map((it) => it.textContent);

/** The button with this text. */
export function buttonNamed(element, text) {
  const button = [...element.querySelectorAll("button")].find((it) => it.textContent === text);
  if (!button) throw new Error(`There is no button ${text}`);
  return button;
}
