/** The jobs that a page knows, whatever comes in which order. */

import assert from "node:assert/strict";
import test from "node:test";
import { Store } from "../../web/js/store.js";
import { numbered, randomNumbers, view } from "./job.js";

/** A store with these views, and the changes that a listener gets from then on. */
function storeOf(...views) {
  const store = new Store();
  for (const it of views) store.put(it);
  const changes = [];
  const unsubscribe = store.subscribe((change) => changes.push(change));
  return { store, changes, unsubscribe };
}

const ids = (views) => views.map(({ id }) => id);

test("an older view never replaces a newer one", () => {
  const newer = view({ seq: 5, phase: "paused" });
  const { store, changes } = storeOf(newer);
  store.put(view({ seq: 4, phase: "running" }));
  assert.equal(store.get(newer.id), newer);
  assert.deepEqual(changes, []);
});

test("listeners get the view and the one before it", () => {
  const [first, second] = [view({ seq: 1 }), view({ seq: 2 })];
  const { store, changes } = storeOf();
  store.put(first);
  store.put(second);
  store.remove(first.id);
  assert.deepEqual(changes, [
    { id: first.id, view: first, previous: undefined },
    { id: first.id, view: second, previous: first },
    { id: first.id, view: undefined, previous: second },
  ]);
});

test("a job that is not there is not removed", () => {
  const { store, changes } = storeOf();
  store.remove("nobody");
  assert.deepEqual(changes, []);
});

test("a listener can leave, also while it listens", () => {
  const store = new Store();
  const calls = [];
  const leave = store.subscribe(() => {
    calls.push("first");
    leave();
  });
  store.subscribe(() => calls.push("second"));
  store.put(view({ seq: 1 }));
  store.put(view({ seq: 2 }));
  assert.deepEqual(calls, ["first", "second", "second"]);
});

test("jobs are listed newest first, those of one second by their id", () => {
  const { store } = storeOf(
    numbered(1),
    numbered(3),
    numbered(2, { created: numbered(3).created }),
    numbered(4, { created: 0 }),
  );
  const expected = [numbered(3), numbered(2), numbered(1), numbered(4)];
  assert.deepEqual(ids(store.all()), ids(expected));
});

test("a node's job is its newest one", () => {
  const { store } = storeOf(numbered(2, { uid: "a" }), numbered(1, { uid: "a" }), numbered(3));
  assert.equal(store.byUid("a").id, numbered(2).id);
  assert.equal(store.byUid("b"), undefined);
});

test("those that wait are listed by their place in the queue", () => {
  const { store } = storeOf(
    numbered(1, { phase: "queued", position: null }),
    numbered(2, { phase: "queued", position: 2 }),
    numbered(3, { phase: "queued", position: 1 }),
    numbered(4, { phase: "running", position: null }),
  );
  assert.deepEqual(ids(store.waiting()), ids([numbered(3), numbered(2), numbered(1)]));
});

test("the server's list takes the place of all that was known, whatever its seq", async () => {
  const { store, changes } = storeOf(numbered(1, { seq: 9 }), numbered(2));
  const [first, third] = [numbered(1, { seq: 0, phase: "finished" }), numbered(3)];
  await store.load(async () => [first, third]);
  assert.deepEqual(store.all(), [third, first]);
  assert.deepEqual(ids(changes).sort(), ids([numbered(1), numbered(2), numbered(3)]));
  const gone = changes.find(({ id }) => id === numbered(2).id);
  assert.equal(gone.view, undefined);
  assert.deepEqual(gone.previous, numbered(2));
});

test("what the server says while its list is on the way comes on top of it", async () => {
  const { store } = storeOf(numbered(1));
  await store.load(async () => {
    store.put(numbered(2, { seq: 7 }));
    store.put(numbered(1, { seq: 8 }));
    store.remove(numbered(3).id);
    return [numbered(1, { seq: 3 }), numbered(3)];
  });
  assert.deepEqual(store.all(), [numbered(2, { seq: 7 }), numbered(1, { seq: 8 })]);
});

test("of a list that is on the way and an event, the newer one counts", async () => {
  const { store } = storeOf();
  await store.load(async () => {
    store.put(numbered(1, { seq: 3 }));
    return [numbered(1, { seq: 5 })];
  });
  assert.equal(store.get(numbered(1).id).seq, 5);
});

test("a list that does not come leaves what is known, and later ones work", async () => {
  const { store } = storeOf(numbered(1));
  await assert.rejects(
    store.load(async () => {
      throw new Error("no server");
    }),
    /no server/,
  );
  assert.deepEqual(ids(store.all()), ids([numbered(1)]));
  await store.load(async () => []);
  assert.deepEqual(store.all(), []);
});

test("in whatever order events come, each job ends in its newest view", () => {
  const random = randomNumbers(4);
  const below = (limit) => Math.floor(random() * limit);
  for (let round = 0; round < 200; round++) {
    const events = Array.from({ length: 20 }, (_, seq) => numbered(below(4), { seq, step: seq }));
    for (let i = events.length - 1; i > 0; i--) {
      const j = below(i + 1);
      [events[i], events[j]] = [events[j], events[i]];
    }
    const { store } = storeOf(...events);
    for (const shown of store.all()) {
      const seqs = events.filter(({ id }) => id === shown.id).map(({ seq }) => seq);
      assert.equal(shown.seq, Math.max(...seqs));
    }
    assert.equal(store.all().length, new Set(ids(events)).size);
  }
});
