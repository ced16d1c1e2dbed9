/** The pack's routes and /prompt, for jobs in states that real training is hard to bring into. */

import { api } from "./comfyui/scripts/api.js";

const PHASE_AFTER = { pause: "paused", resume: "running", stop: "stopped" };

const json = (content, status = 200) => new Response(JSON.stringify(content), { status });

/** requests: what came, as "POST /jobs/<id>/pause". */
export class Server {
  views = new Map();
  requests = [];
  orders = [];
  prompts = [];
  refusal = null; // the reason for which everything is refused
  promptAnswer = () => json({ prompt_id: `p${this.prompts.length}`, node_errors: {} });
  seq = 1;

  constructor() {
    api.server = (path, options) => this.answer(path, options);
  }

  /** Change a job, and tell the page. */
  push(view) {
    api.receive("still_moving.job", this.put(view));
  }

  put(view) {
    this.seq += 1;
    this.views.set(view.id, { ...view, seq: this.seq });
    return this.views.get(view.id);
  }

  drop(id) {
    this.views.delete(id);
    api.receive("still_moving.removed", { id });
  }

  answer(path, { method = "GET", body } = {}) {
    this.requests.push(`${method} ${path.replace("/still_moving", "")}`);
    const content = body && JSON.parse(body);
    if (path === "/prompt") {
      this.prompts.push(content);
      return this.promptAnswer();
    }
    if (this.refusal) return json({ error: this.refusal }, 400);
    const [, , section, id, verb] = path.split("/").map(decodeURIComponent);
    if (section === "queue") this.order(content.order);
    else if (verb === "log") return json({ log: `log of ${id}` });
    else if (verb) return json(this.obey(id, verb));
    else if (method === "DELETE") {
      this.views.delete(id);
      return json({ removed: id });
    }
    return json({ jobs: [...this.views.values()] });
  }

  obey(id, command) {
    const job = this.views.get(id);
    return this.put({ ...job, phase: PHASE_AFTER[command] ?? job.phase });
  }

  order(ids) {
    this.orders.push(ids);
    ids.forEach((id, i) => this.put({ ...this.views.get(id), position: i + 1 }));
  }
}
