/** ComfyUI's scripts/api.js, as far as the pack uses it. `server` answers in place of one. */

class Api extends EventTarget {
  /** (path, options) -> Response */
  server = async () => new Response("", { status: 503, statusText: "No Server" });

  fetchApi(path, options = {}) {
    return Promise.resolve(this.server(path, options));
  }

  /** language -> texts of every pack's locales/<language>/main.json */
  locales = {};

  async getCustomNodesI18n() {
    return this.locales;
  }

  apiURL(path) {
    return `/api${path}`;
  }

  async queuePrompt(number, { output, workflow }, { partialExecutionTargets } = {}) {
    const content = {
      prompt: output,
      extra_data: { extra_pnginfo: { workflow } },
      front: number === -1,
      partial_execution_targets: partialExecutionTargets,
    };
    const body = JSON.stringify(content);
    const response = await this.fetchApi("/prompt", { method: "POST", body });
    const answer = await response.json();
    if (response.status === 200) return answer;
    throw Object.assign(new Error("Prompt execution failed"), { response: answer });
  }

  /** An event of the websocket. */
  receive(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

export const api = new Api();
