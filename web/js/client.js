/** The pack's own routes. Every function raises an Error with the server's reason. */

import { api } from "../../../scripts/api.js";

async function request(path, method = "GET", content = undefined) {
  const options = { method };
  if (content !== undefined) {
    options.body = JSON.stringify(content);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await api.fetchApi(`/still_moving${path}`, options);
  const reply = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(reply.error ?? `${response.status} ${response.statusText}`);
  return reply;
}

const jobPath = (id) => `/jobs/${encodeURIComponent(id)}`;

export const listJobs = async () => (await request("/jobs")).jobs;

/** command: pause, resume, stop, save, sample or open. Returns the job's view. */
export const sendCommand = (id, command) => request(`${jobPath(id)}/${command}`, "POST", {});

export const deleteJob = (id) => request(jobPath(id), "DELETE");

export const readLog = async (id) => (await request(`${jobPath(id)}/log`)).log;

/** ids: the waiting jobs, next one first. Returns the views of all jobs. */
export const reorder = async (ids) => (await request("/queue", "POST", { order: ids })).jobs;

/** Where a sample lies; ComfyUI lets browsers keep images for a day, so its age is in it. */
export const sampleUrl = (id, name, seq) =>
  api.apiURL(`/still_moving${jobPath(id)}/samples/${encodeURIComponent(name)}?v=${seq}`);
