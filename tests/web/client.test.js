/** The pack's routes as pages call them. */

import assert from "node:assert/strict";
import test from "node:test";
import * as client from "../../web/js/client.js";
import { api } from "./comfyui/scripts/api.js";

/** Answer the next requests with this; returns the list of [path, options] that came. */
function answering(content, status = 200, statusText = "") {
  const requests = [];
  api.server = (path, options) => {
    requests.push([path, options]);
    return new Response(content, { status, statusText });
  };
  return requests;
}

test("every call has its route and its method", async () => {
  const requests = answering('{"jobs": [1], "log": "text"}');
  assert.deepEqual(await client.listJobs(), [1]);
  await client.sendCommand("an id", "pause");
  await client.deleteJob("a/b");
  assert.equal(await client.readLog("c"), "text");
  assert.deepEqual(await client.reorder(["b", "a"]), [1]);
  const calls = requests.map(([path, { method, body }]) => [method, path, body]);
  assert.deepEqual(calls, [
    ["GET", "/still_moving/jobs", undefined],
    ["POST", "/still_moving/jobs/an%20id/pause", "{}"],
    ["DELETE", "/still_moving/jobs/a%2Fb", undefined],
    ["GET", "/still_moving/jobs/c/log", undefined],
    ["POST", "/still_moving/queue", '{"order":["b","a"]}'],
  ]);
});

test("a content is said to be JSON", async () => {
  const requests = answering("{}");
  await client.reorder([]);
  assert.deepEqual(requests[0][1].headers, { "Content-Type": "application/json" });
});

test("a refusal is raised with the server's reason", async () => {
  answering('{"error": "job: found 7, expected 8."}', 400);
  await assert.rejects(client.sendCommand("a", "save"), { message: "job: found 7, expected 8." });
});

test("a server that gives no reason is quoted", async () => {
  answering("<h1>Bad gateway</h1>", 502, "Bad Gateway");
  await assert.rejects(client.listJobs(), { message: "502 Bad Gateway" });
});

test("a sample's address tells its job, its file and its age", () => {
  const url = client.sampleUrl("a b", "100?.webp", 7);
  assert.equal(url, "/api/still_moving/jobs/a%20b/samples/100%3F.webp?v=7");
});
