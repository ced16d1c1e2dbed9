/** What ComfyUI's own dialog says of a node that failed by the pack, in the artist's language. */

import { api } from "../../../scripts/api.js";
import { isOurType } from "./graph.js";
import { said } from "./said.js";

const BLOCKED = "Execution Blocked: "; // what ComfyUI puts before a reason that a node gave
const OURS = /\.common\.errors\.UserError$/; // a sampler of ComfyUI raises it, too

/** Put the words in before anybody else hears of it. Call once, while the page loads. */
export function watchFailures() {
  api.addEventListener(
    "execution_error",
    ({ detail }) => {
      const { exception_message: message, exception_type: error, node_type: type } = detail;
      if (!message || !(isOurType(type) || OURS.test(error ?? ""))) return;
      const from = message.startsWith(BLOCKED) ? BLOCKED.length : 0;
      const [line] = message.slice(from).split("\n"); // behind it, what ComfyUI has to say
      const rest = message.slice(from + line.length);
      detail.exception_message = message.slice(0, from) + said(line) + rest;
    },
    // Else ComfyUI's own listeners come first: those of its stores are older.
    { capture: true },
  );
}
