/** What a page is told of a job. No script, so ComfyUI does not load it. */

import type { Phase } from "./phases.js";

export type Kind = "motion" | "spatial" | "customize-a-video" | "vmc" | "newmove";

/** [step over all stages, value] */
export type Point = [number, number];

/** The job whose adapter another one waits for: WaitsFor in training/queue/host.py. */
export interface WaitsFor {
  id: string;
  name: string;
  /** "coming": by itself; with all others somebody has to do something. */
  state: "coming" | "paused" | "failed" | "ended" | "deleted";
}

/** The JSON that the server makes of a job: JobView in training/queue/host.py. */
export interface JobView {
  /** The name of its folder. */
  id: string;
  /** For people. */
  name: string;
  kind: Kind;
  /** Of the node that began it. */
  uid: string;
  /** Seconds since 1970. */
  created: number;
  /** How it shares the device with ComfyUI's queue. */
  policy: "yield" | "keep" | "share";
  phase: Phase;
  /** From 0. */
  stage: number;
  /** Whether what it trains on is being drawn: then `step` and `steps` count that. */
  drawing: boolean;
  /** Of its stage, as `steps`. */
  step: number;
  steps: number;
  /** Seconds to the end of its stage; only while it makes steps. */
  eta_s: number | null;
  seconds_per_step: number | null;
  memory_bytes: number | null;
  /** What is computed twice to save memory. */
  tier: "none" | "top" | "two" | "all" | null;
  /** Of what went wrong or is to be known; may be empty. */
  message: string;
  loss: Point[];
  average: Point[];
  held_out: Point[];
  /** The file's name, when it has ended and can be selected. */
  adapter: string | null;
  /** In the queue, from 1. */
  position: number | null;
  /** Until that one's adapter is taken. */
  waits_for: WaitsFor | null;
  /** The files' names, oldest first. */
  samples: string[];
  /** Of the adapter in the newest sample, from top to bottom. */
  scales: number[];
  /** [step over all stages, px per frame at each scale], a sample. */
  motion: number[][];
  /** [px per frame, px without it] of a Spatial Adapter that takes most of the motion away. */
  lost_motion: [number, number] | null;
  /** Rises with every change. */
  seq: number;
}

/** What becomes of a job at a press of a button. */
export type Command = "pause" | "resume" | "stop" | "save" | "sample" | "open";

/** Command a job. */
export type Act = (id: string, command: Command) => void;

/** A part of the page that shows a job. */
export interface Part {
  el: HTMLElement;
  show(view: JobView): void;
}
