/** The jobs that this page knows, by id: the server's events and answers go in, panels listen. */

/**
 * A store of views. Listeners get ({id, view, previous}); view is undefined for a removed job.
 * A view that is older (by `seq`) than the known one is dropped.
 */
export function createStore() {
  let views = new Map();
  const listeners = new Set();
  const loads = new Set(); // of each load under way: the updates meanwhile, by id

  function notify(id, previous) {
    const change = { id, view: views.get(id), previous };
    for (const listener of [...listeners]) listener(change);
  }

  function put(view) {
    for (const updates of loads) updates.set(view.id, view);
    const previous = views.get(view.id);
    if (previous && view.seq < previous.seq) return;
    views.set(view.id, view);
    notify(view.id, previous);
  }

  function remove(id) {
    for (const updates of loads) updates.set(id, undefined);
    const previous = views.get(id);
    if (views.delete(id)) notify(id, previous);
  }

  /** Take over the server's whole list; what it said while it was asked comes on top. */
  async function load(fetchViews) {
    const updates = new Map();
    loads.add(updates);
    try {
      const list = await fetchViews();
      const before = views;
      views = new Map(list.map((view) => [view.id, view]));
      for (const id of new Set([...before.keys(), ...views.keys()])) notify(id, before.get(id));
    } finally {
      loads.delete(updates);
    }
    for (const [id, view] of updates) view ? put(view) : remove(id);
  }

  /** Every view, newest first. */
  function all() {
    return [...views.values()].sort((a, b) => b.created - a.created || b.id.localeCompare(a.id));
  }

  return {
    put,
    remove,
    load,
    all,
    get: (id) => views.get(id),
    /** The newest job of a node. */
    byUid: (uid) => all().find((view) => view.uid === uid),
    /** Those that wait for their turn, next one first. */
    waiting: () =>
      all()
        .filter((view) => view.phase === "queued")
        .sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity)),
    /** Returns the function that ends it. */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export const jobs = createStore();
