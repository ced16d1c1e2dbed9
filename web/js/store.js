/** The jobs that this page knows, by id: the server's events and answers go in, panels listen. */

/** @import { JobView } from "./types.js" */

/** @typedef {{ id: string, view: JobView | undefined, previous: JobView | undefined }} Change */

/**
 * A store of views. Listeners get a Change; its view is undefined for a removed job.
 * A view that is older (by `seq`) than the known one is dropped.
 */
export class Store {
  /** @type {Map<string, JobView>} */
  #views = new Map();
  /** @type {Set<(change: Change) => void>} */
  #listeners = new Set();
  /** @type {Set<Map<string, JobView | undefined>>} */
  #loads = new Set(); // of each load under way: the updates meanwhile, by id

  /** @type {(id: string, previous: JobView | undefined) => void} */
  #notify(id, previous) {
    const change = { id, view: this.#views.get(id), previous };
    for (const listener of [...this.#listeners]) listener(change);
  }

  /** @param {JobView} view */
  put(view) {
    for (const updates of this.#loads) updates.set(view.id, view);
    const previous = this.#views.get(view.id);
    if (previous && view.seq < previous.seq) return;
    this.#views.set(view.id, view);
    this.#notify(view.id, previous);
  }

  /** @param {string} id */
  remove(id) {
    for (const updates of this.#loads) updates.set(id, undefined);
    const previous = this.#views.get(id);
    if (this.#views.delete(id)) this.#notify(id, previous);
  }

  /**
   * Take over the server's whole list; what it said while it was asked comes on top.
   * @param {() => Promise<JobView[]>} fetchViews
   */
  async load(fetchViews) {
    /** @type {Map<string, JobView | undefined>} */
    const updates = new Map();
    this.#loads.add(updates);
    try {
      const list = await fetchViews();
      const before = this.#views;
      this.#views = new Map(list.map((view) => [view.id, view]));
      const ids = new Set([...before.keys(), ...this.#views.keys()]);
      for (const id of ids) this.#notify(id, before.get(id));
    } finally {
      this.#loads.delete(updates);
    }
    for (const [id, view] of updates) {
      if (view) this.put(view);
      else this.remove(id);
    }
  }

  /** @param {string} id */
  get(id) {
    return this.#views.get(id);
  }

  /** Every view, newest first. */
  all() {
    const views = [...this.#views.values()];
    return views.sort((a, b) => b.created - a.created || b.id.localeCompare(a.id));
  }

  /**
   * The newest job of a node.
   * @param {string | undefined} uid
   */
  byUid(uid) {
    return this.all().find((view) => view.uid === uid);
  }

  /** Those that wait for their turn, next one first. */
  waiting() {
    const views = this.all().filter((view) => view.phase === "queued");
    return views.sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity));
  }

  /**
   * Returns the function that ends it.
   * @param {(change: Change) => void} listener
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export const jobs = new Store();
