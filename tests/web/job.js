/** Jobs as the server describes them, and numbers that look random and are the same every time. */

/** A job's view: running, half done, with 50 losses. */
export function view(changes = {}) {
  const loss = Array.from({ length: 50 }, (_, i) => [10 * (i + 1), 0.4 / (i + 2) + 0.02 * (i % 3)]);
  return {
    id: "20260101-120001-adapter-0001",
    name: "adapter 1",
    kind: "motion",
    uid: "uid-of-no-node",
    created: 1_767_268_801,
    policy: "yield",
    phase: "running",
    drawing: false,
    stage: 1,
    step: 500,
    steps: 1000,
    eta_s: 155,
    seconds_per_step: 0.31,
    memory_bytes: 3 * 2 ** 30,
    tier: "top",
    message: "",
    loss,
    average: loss.map(([step]) => [step, 4.2 / step]),
    held_out: [
      [100, 0.1],
      [300, 0.05],
      [500, 0.03],
    ],
    adapter: null,
    position: null,
    waits_for: null,
    samples: [],
    scales: [1, 0],
    motion: [],
    lost_motion: null,
    seq: 1,
    ...changes,
  };
}

/** The same, the number-th of several. */
export const numbered = (number, changes = {}) =>
  view({
    id: `20260101-1200${String(number).padStart(2, "0")}-adapter`,
    name: `adapter ${number}`,
    created: 1_767_268_800 + number,
    ...changes,
  });

/** A function that gives numbers from 0 to 1 (mulberry32). */
export function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
