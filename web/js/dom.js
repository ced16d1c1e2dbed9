/** Elements without a framework. All text goes through textContent: nothing of a job is HTML. */

const SVG = "http://www.w3.org/2000/svg";
const STYLES = new URL("../css/still_moving.css", import.meta.url).href;

/**
 * An element with these properties (class, title, ...), attributes in `attrs`, and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]> & { attrs?: Record<string, string> }} [options]
 * @param {...(Node | string)} children
 */
export function h(tag, { attrs = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attrs)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * An SVG element with these attributes and children.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attrs]
 * @param {...SVGElement} children
 */
export function svg(tag, attrs = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attrs)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * A button that the canvas below never sees pressed.
 * @param {string} text
 * @param {() => void} onclick
 * @param {Partial<HTMLButtonElement>} [properties]
 */
export function button(text, onclick, properties = {}) {
  const element = h("button", { type: "button", textContent: text, onclick, ...properties });
  element.addEventListener("pointerdown", (event) => event.stopPropagation());
  return element;
}

/**
 * Write a text only where it changed: events come four times a second.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A function that runs this one once before the next picture, however often it is called.
 * @param {() => void} run
 */
export function oncePerFrame(run) {
  let requested = false;
  return () => {
    if (requested) return;
    requested = true;
    requestAnimationFrame(() => {
      requested = false;
      run();
    });
  };
}

/** Add the pack's style sheet to the page, once. */
export function loadStyles() {
  if (document.querySelector(`link[href="${STYLES}"]`)) return;
  document.head.append(h("link", { rel: "stylesheet", href: STYLES }));
}
