/** Train from outside: a button above a selected subgraph, for the training inside it. */

import { app } from "../../../scripts/app.js";
import { nodesIn, isTrainer } from "./graph.js";
import { train } from "./train.js";
import { say } from "./words.js";

/** @import { Command as ComfyCommand, GraphNode } from "../../../scripts/app.js" */

export const ID = "StillMoving.Train"; // locales/*/commands.json has its words
const TAKER = "StillMovingTrainSpatialAdapter"; // a press of it is for its Motion Adapter as well

/**
 * The node inside a subgraph that a press is meant for; none where several could be.
 * @param {Partial<GraphNode>} item what is selected; a group is no node
 */
export function trainerInside(item) {
  const trainers = nodesIn(item.subgraph).filter(isTrainer);
  const takers = trainers.filter(({ comfyClass }) => comfyClass === TAKER);
  const meant = takers.length ? takers : trainers;
  return meant.length === 1 ? meant[0] : undefined;
}

/**
 * What the editor's toolbox offers for a selected item.
 * @param {Partial<GraphNode>} item
 */
export const toolboxCommands = (item) => (trainerInside(item) ? [ID] : []);

/**
 * The command behind it.
 * @param {() => void} changed called when a node's button does
 * @returns {ComfyCommand}
 */
export const trainCommand = (changed) => ({
  id: ID,
  icon: "pi pi-bolt",
  label: () => say("Train"),
  async function() {
    for (const item of app.canvas?.selectedItems ?? []) {
      const node = trainerInside(item);
      if (node) await train(node, changed);
    }
  },
});
