/** The order of the waiting jobs: by buttons, or by dragging a card's handle. */

/** A list with one of its items moved by some places; the same list where it cannot. */
export function moveBy(ids, id, by) {
  const from = ids.indexOf(id);
  const to = from + by;
  if (from < 0 || to < 0 || to >= ids.length) return ids;
  const others = ids.filter((other) => other !== id);
  return [...others.slice(0, to), id, ...others.slice(to)];
}

/** A list with one item put before or behind another one. */
export function moveBeside(ids, id, target, behind) {
  if (id === target) return ids;
  const others = ids.filter((other) => other !== id);
  const to = others.indexOf(target) + (behind ? 1 : 0);
  return [...others.slice(0, to), id, ...others.slice(to)];
}

/** Let the cards of a list be dragged by their handles; drop(id, target, behind) at the end. */
export function enableDragging(list, drop) {
  let dragged = null;

  const cardAt = (event) => event.target.closest(".sm-card");
  const clear = () => {
    for (const card of list.children) card.classList.remove("sm-before", "sm-behind", "sm-dragged");
  };
  const isBehind = (event, card) => {
    const { top, height } = card.getBoundingClientRect();
    return event.clientY > top + height / 2;
  };

  list.addEventListener("dragstart", (event) => {
    const card = cardAt(event);
    dragged = card.dataset.job;
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
    drop(dragged, card.dataset.job, isBehind(event, card));
  });
  list.addEventListener("dragend", () => {
    dragged = null;
    clear();
  });

  return { dragging: () => dragged !== null };
}
