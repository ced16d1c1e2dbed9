/** What the server says, in the language of ComfyUI: every text that its code has. */

import "./page.js";
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { api } from "./comfyui/scripts/api.js";
import { app } from "./comfyui/scripts/app.js";
import { said } from "../../web/js/said.js";
import { loadWords } from "../../web/js/words.js";
import { randomNumbers } from "./job.js";

const LOCALES = new URL("../../locales/", import.meta.url);
const languages = readdirSync(LOCALES).filter((name) => name !== "en");
const textsOf = (name) =>
  JSON.parse(readFileSync(new URL(`${name}/main.json`, LOCALES), "utf8")).stillMovingSaid;
const PLACE = /\{(\d+)(?: (\w+)\??)?\}/g;
const FRAME = "{0 subject}: found {1 found}, expected {2 expected}. {3 next_move}";
const VALUES = ["dog (2).safetensors", "'a red one'", "(320, 768)", "C:\\maps\\x.png", "Größe"];

/** What says a language's texts. */
async function translator(texts) {
  await speak("xx", texts);
  return said;
}

async function speak(name, texts) {
  api.locales = { [name]: { stillMovingSaid: texts } };
  app.extensionManager.settings["Comfy.Locale"] = name;
  await loadWords();
}

afterEach(() => speak("en", undefined));

/** Fills texts of a language, and says what is to come out: {said, words, values}. */
function filler(texts, seed) {
  const random = randomNumbers(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const plain = Object.fromEntries(
    Object.entries(texts).map(([kind, all]) => [
      kind,
      Object.entries(all).filter(([text]) => !text.match(PLACE) && !/^[\s,;:]|[\s,;:]$/.test(text)),
    ]),
  );

  /** value(number): what stands in a place without words. */
  function fill(english, words, value = (number) => `${number}${pick(VALUES)}`) {
    const values = [];
    const inside = {};
    const put = english.replace(PLACE, (_, number, kind) => {
      if (kind === "error") inside[number] = frame(texts, "x: 1", pick(plain.found));
      else if (kind) inside[number] = pick(plain[kind].length ? plain[kind] : plain.words);
      else values.push(value(number));
      inside[number] ??= [values.at(-1), values.at(-1)];
      return inside[number][0];
    });
    return [put, words.replace(PLACE, (_, number) => inside[number][1]), values];
  }

  return { fill, pick };
}

/** An error of which one part is told: [in English, in the language]. */
function frame(texts, subject, found, kind = "found") {
  const parts = { subject: [subject, subject], expected: ["Q", "Q"], next_move: ["Z!", "Z!"] };
  // One other part is known, so that it is known to be an error.
  const one = kind === "found" ? "expected" : "found";
  parts[one] = Object.entries(texts[one]).find(([text]) => text === "none");
  parts[kind] = found;
  const put = (text, which) =>
    text.replace(PLACE, (_, number) => parts[PARTS[number]][which]);
  return [put(FRAME, 0), put(texts.sentence[FRAME], 1)];
}

const PARTS = ["subject", "found", "expected", "next_move"];

for (const name of languages) {
  test(`${name}: every text that the server can say is said, with its values`, async () => {
    const texts = textsOf(name);
    const translate = await translator(texts);
    const { fill } = filler(texts, 1);
    const wrong = [];
    for (const [kind, all] of Object.entries(texts)) {
      for (const [english, words] of Object.entries(all)) {
        if (english === FRAME || !["sentence", ...PARTS].includes(kind)) continue;
        const [put, expected] = fill(english, words);
        const [text, translated] = PARTS.includes(kind)
          ? frame(texts, "it", [put, expected], kind)
          : [put, expected];
        const got = translate(text);
        if (got !== translated) wrong.push([text, got, translated]);
      }
    }
    assert.deepEqual(wrong, []);
  });
}

for (const name of languages) {
  test(`${name}: a value that has the words of another text stays as it is`, async () => {
    const texts = textsOf(name);
    const translate = await translator(texts);
    const { fill, pick } = filler(texts, 2);
    const all = Object.entries(texts.sentence).filter(([text]) => text !== FRAME);
    const broken = [];
    let translated = 0;
    // Texts without a word of their own are known by what stands in them.
    const hasWords = (text) => /\p{L}/u.test(text.replace(PLACE, ""));
    const told = all.filter(([text]) => /\{\d+\}/.test(text) && hasWords(text));
    for (const [english, words] of told) {
      const [other] = fill(...pick(all));
      const [text, expected, values] = fill(english, words, () => other);
      const got = translate(text);
      translated += got === expected;
      if (!values.every((value) => got.includes(value))) broken.push([text, got]);
    }
    assert.deepEqual(broken, []);
    assert.ok(translated > told.length / 2, `${translated} of ${told.length}`);
  });
}

const UNKNOWN = [
  "",
  "no",
  "CUDA error: an illegal memory access was encountered",
  "cats in snow, found nothing, expected it.",
  "x: found y, expected z. w",
  "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
  "a file",
  "2 files and 3 dogs: none of them",
  "(".repeat(300),
];

test("what no text has is said as it is", async () => {
  for (const name of languages) {
    const translate = await translator(textsOf(name));
    for (const text of UNKNOWN) assert.equal(translate(text), text);
  }
});

test("in English the server is heard as it speaks", async () => {
  const zh = textsOf("zh");
  const [text] = Object.keys(zh.sentence).filter((it) => it.startsWith("Nothing is trained"));
  assert.equal(said(text), text);
  await speak("zh", zh);
  assert.equal(said(text), zh.sentence[text]);
  app.extensionManager.settings["Comfy.Locale"] = "en"; // changed while the page is open
  assert.equal(said(text), text);
});

test("a list is said part by part, and what is in brackets stays together", async () => {
  await speak("zh", textsOf("zh"));
  assert.equal(
    said("2 files left out: a.png: unreadable data (no picture of a known kind); b, c.mp4: a file"),
    "2 个文件未采用：a.png：数据无法读取（不是已知类型的图像）；b, c.mp4：是文件",
  );
  assert.equal(
    said("3 files whose frames repeat: a of b.webp (at 24 fps, it has 10), c of d.mp4, number 3"),
    "3 个文件的帧有重复：a of b.webp（要求每秒 24 帧，实际为 10）、c of d.mp4、第 3 个",
  );
});

test("an error is said with the error that it is about", async () => {
  await speak("zh", textsOf("zh"));
  const error = "/a/b.pt: found no such file, expected a job's file. Delete the job.";
  assert.equal(
    said(`The adapter is in the job's folder only: ${error}`),
    "适配器只在任务的文件夹中：/a/b.pt：没有这个文件。需要：任务的文件。请删除该任务。",
  );
});

test("a page's time is not for translating", async () => {
  const zh = textsOf("zh");
  const { fill } = filler(zh, 3);
  const texts = Object.entries(zh.next_move).map(([text, words]) => {
    const value = "a long, long name of a folder that is there and has (many) words ".repeat(4);
    const [move] = fill(text, words);
    return `${value}: found ${value}, expected a file in ${value}. ${move}`;
  });
  const translate = await translator(zh);
  const start = performance.now();
  for (const text of texts) translate(text);
  const each = (performance.now() - start) / texts.length;
  assert.ok(each < 100, `${each} ms for a text of ${texts[0].length} signs`); // 1.4 on two busy cores
});

test("a job's state in one line is said with its message", async () => {
  await speak("zh", textsOf("zh"));
  const error = "memory: found too little while loading the network, expected room for it.";
  assert.equal(
    said(`No adapter yet. cat, failed, 10 of 40 steps: ${error} Then resume..`),
    "还没有适配器。cat，失败，步数 10 / 40：内存：在加载网络时不足。需要：足够的内存。然后按“继续”。。",
  );
  assert.equal(
    said("Training has begun: dog, queued, no step yet: waits for cat"),
    "训练已开始：dog，等待中，还没有步：等待“cat”",
  );
});
