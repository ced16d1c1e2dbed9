/** The groups of phases, held against each other. */

import assert from "node:assert/strict";
import test from "node:test";
import * as groups from "../../web/js/phases.js";

const { ACTIVE, ENDED, PAUSABLE, PHASES, RESUMABLE, SAMPLABLE, SAVABLE, STOPPABLE } = groups;
const without = (phases, others) => phases.filter((phase) => !others.includes(phase));
const sorted = (phases) => [...phases].sort();

test("every group holds known phases, each once", () => {
  for (const [name, group] of Object.entries(groups)) {
    assert.deepEqual(without(group, PHASES), [], name);
    assert.equal(new Set(group).size, group.length, name);
  }
});

test("a job has ended, holds its Train button or has lost its process", () => {
  assert.deepEqual(sorted([...ENDED, ...ACTIVE, "interrupted"]), sorted(PHASES));
});

test("what holds the Train button can be paused until it is", () => {
  assert.deepEqual(PAUSABLE, without(ACTIVE, ["paused"]));
});

test("only a finished job can be told nothing, and nothing ended can be stopped", () => {
  assert.deepEqual(without(PHASES, [...PAUSABLE, ...RESUMABLE]), ["finished"]);
  assert.deepEqual(sorted(STOPPABLE), sorted(without(PHASES, ENDED)));
});

test("a job goes on or can be resumed, never both", () => {
  assert.deepEqual(without(PAUSABLE, RESUMABLE), PAUSABLE);
});

test("only a job with an adapter in memory saves, and only one with the device draws", () => {
  assert.deepEqual(SAVABLE, ["running", "yielding"]);
  assert.deepEqual(SAMPLABLE, ["running"]);
});
