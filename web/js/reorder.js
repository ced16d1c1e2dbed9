/** The order of the waiting jobs: by buttons, or by dragging a card's handle. */

/**
 * A list with one of its items moved by some places; the same list where it cannot.
 * @param {string[]} ids
 * @param {string} id
 * @param {number} by
 */
export function moveBy(ids, id, by) {
  const from = ids.indexOf(id);
  const to = from + by;
  if (from < 0 || to < 0 || to >= ids.length) return ids;
  const others = ids.filter((other) => other !== id);
  return [...others.slice(0, to), id, ...others.slice(to)];
}

/**
 * A list with one item put before or behind another one.
 * @param {string[]} ids
 * @param {string} id
 * @param {string} target
 * @param {boolean} behind
 */
export function moveBeside(ids, id, target, behind) {
  if (id === target) return ids;
  const others = ids.filter((other) => other !== id);
  const to = others.indexOf(target) + (behind ? 1 : 0);
  return [...others.slice(0, to), id, ...others.slice(to)];
}

/** @type {(event: DragEvent) => HTMLElement | null} */
const cardAt = ({ target }) => (target instanceof Element ? target.closest(".sm-card") : null);

/**
 * Texts of a card, such as its log, can be dragged as well.
 * @type {(event: DragEvent) => boolean}
 */
const isHandle = ({ target }) => target instanceof Element && target.matches(".sm-handle");

/** @type {(event: DragEvent, card: Element) => boolean} */
function isBehind(event, card) {
  const { top, height } = card.getBoundingClientRect();
  return event.clientY > top + height / 2;
}

/** @param {HTMLElement} card */
const jobOf = (card) => card.dataset.job ?? "";

/**
 * Let the cards of a list be dragged by their handles.
 * @param {HTMLElement} list
 * @param {(id: string, target: string, behind: boolean) => void} drop called at the end
 */
export function enableDragging(list, drop) {
  let dragged = ""; // the id of the job whose card it is

  const clear = () => {
    for (const card of list.children) card.classList.remove("sm-before", "sm-behind", "sm-dragged");
  };

  list.addEventListener("dragstart", (event) => {
    const card = cardAt(event);
    if (!card || !event.dataTransfer || !isHandle(event)) return;
    dragged = jobOf(card);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged);
    event.dataTransfer.setDragImage(card, 12, 12);
    card.classList.add("sm-dragged");
  });
  list.addEventListener("dragover", (event) => {
    const card = cardAt(event);
    if (!dragged || !card) return;
    event.preventDefault();
    for (const other of list.children) other.classList.remove("sm-before", "sm-behind");
    card.classList.add(isBehind(event, card) ? "sm-behind" : "sm-before");
  });
  list.addEventListener("drop", (event) => {
    const card = cardAt(event);
    if (!dragged || !card) return;
    event.preventDefault();
    event.stopPropagation(); // else ComfyUI takes it for a workflow file
    drop(dragged, jobOf(card), isBehind(event, card));
  });
  list.addEventListener("dragend", () => {
    dragged = "";
    clear();
  });

  return { dragging: () => dragged !== "" };
}
