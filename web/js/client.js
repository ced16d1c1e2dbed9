/** The pack's own routes. Every function raises an Error with the server's reason. */

import { api } from "../../../scripts/api.js";

/** @import { Command, JobView } from "./types.js" */

/**
 * @param {string} path
 * @param {"GET" | "POST" | "DELETE"} [method]
 * @param {object} [content]
 * @returns {Promise<unknown>} what the server answers with there
 */
async function request(path, method = "GET", content = undefined) {
  /** @type {RequestInit} */
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

/** @param {string} id */
const jobPath = (id) => `/jobs/${encodeURIComponent(id)}`;

/** Every job, newest first. */
export async function listJobs() {
  const reply = /** @type {{ jobs: JobView[] }} */ (await request("/jobs"));
  return reply.jobs;
}

/**
 * Returns the job's view.
 * @param {string} id
 * @param {Command} command
 */
export const sendCommand = (id, command) =>
  /** @type {Promise<JobView>} */ (request(`${jobPath(id)}/${command}`, "POST", {}));

/** @param {string} id */
export const deleteJob = (id) => request(jobPath(id), "DELETE");

/** @param {string} id */
export async function readLog(id) {
  const reply = /** @type {{ log: string }} */ (await request(`${jobPath(id)}/log`));
  return reply.log;
}

/**
 * Returns the views of all jobs.
 * @param {string[]} ids the waiting jobs, next one first
 */
export async function reorder(ids) {
  const reply = /** @type {{ jobs: JobView[] }} */ (
    await request("/queue", "POST", { order: ids })
  );
  return reply.jobs;
}

/**
 * Where a sample lies; ComfyUI lets browsers keep images for a day, so its age is in it.
 * @param {string} id
 * @param {string} name
 * @param {number} seq
 */
export const sampleUrl = (id, name, seq) =>
  api.apiURL(`/still_moving${jobPath(id)}/samples/${encodeURIComponent(name)}?v=${seq}`);
