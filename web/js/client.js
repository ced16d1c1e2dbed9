/** The pack's own routes, in words. Every function raises an Error with the server's reason. */

import { api } from "../../../scripts/api.js";

async function ask(path, method = "GET", content = undefined) {
  const options = { method };
  if (content !== undefined) {
    options.body = JSON.stringify(content);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await api.fetchApi(`/still_moving${path}`, options);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `${answer.status} ${answer.statusText}`);
  return said;
}

const place = (id) => `/jobs/${encodeURIComponent(id)}`;

export const listJobs = async () => (await ask("/jobs")).jobs;

/** what: pause, resume, stop, save, sample or open. Returns the job's view. */
export const command = (id, what) => ask(`${place(id)}/${what}`, "POST", {});

export const deleteJob = (id) => ask(place(id), "DELETE");

export const readLog = async (id) => (await ask(`${place(id)}/log`)).log;

/** ids: the waiting jobs, next one first. Returns the views of all jobs. */
export const reorder = async (ids) => (await ask("/queue", "POST", { order: ids })).jobs;

/** Where a sample lies; ComfyUI lets browsers keep images for a day, so its age is in it. */
export const sampleUrl = (id, name, seq) =>
  api.apiURL(`/still_moving${place(id)}/samples/${encodeURIComponent(name)}?v=${seq}`);
