/** The words that page and server exchange: version 1 of the contract. Knows no socket and no document. */

export type SeatKind = "human" | "idle" | "random" | "policy";

export interface Seat {
  subject: number;
  kind: SeatKind;
  name: string;
  mine: boolean;
  /** True while the seat waits for a person who lost the connection. */
  held?: boolean;
}

export interface WorldInfo {
  name: string;
  title: string;
  grid: [number, number];
  actions: string[];
  subjects: number;
  scenes?: number;
  /** The colour of each subject's ring; empty where subjects look alike. */
  colours?: string[];
}

export interface RoomInfo {
  room: string;
  world: string;
  people: number;
  seats_free: number;
}

export interface InsideSubject {
  x: number;
  y: number;
  next_x: number;
  next_y: number;
  attention: number[];
}

/** What was played from one start or fork on. */
export interface BranchInfo {
  /** As frames name it. */
  branch: number;
  /** As people call it: counted from 1 since the world began. */
  ordinal: number;
  /** The step at which it left another branch, null for the first. */
  forked: number | null;
  last: number;
}

export interface Welcome {
  type: "welcome";
  room: string;
  you: string | number;
  token: string;
  world: WorldInfo;
  step: number;
  first: number;
  last: number;
  branch: number;
  branches: BranchInfo[];
  hz: number;
  paused: boolean;
  seats: Seat[];
  people: number;
  simulator: boolean;
}

export interface Status {
  type: "status";
  paused: boolean;
  hz: number;
  real_hz: number;
  slow: boolean;
  message: string | null;
  first: number;
  last: number;
  branch: number;
  branches: BranchInfo[];
  step: number;
}

export type ServerMessage =
  | Welcome
  | Status
  | { type: "seats"; seats: Seat[]; people?: number }
  | { type: "notice"; message: string }
  | { type: "error"; code: string; message: string }
  | { type: "pong"; t: number; server_ms: number }
  /** `saved` names a scene that new rooms may start from. */
  | { type: "exported"; url: string; name: string; saved?: string }
  | { type: "palette"; png: string; count: number }
  | { type: "overlay"; step: number; subjects: InsideSubject[] }
  | { type: "closed"; reason: string };

export type EditOp =
  | { op: "move"; subject: number; x: number; y: number }
  | { op: "face"; subject: number; facing: number }
  | { op: "add"; x: number; y: number }
  | { op: "remove"; subject: number }
  | { op: "paint"; x: number; y: number; tile: number };

export type ClientMessage =
  | { type: "hello"; name: string; token: string | null }
  | { type: "take"; subject: number }
  | { type: "seat"; subject: number; kind: Exclude<SeatKind, "human"> }
  | { type: "act"; action: string; hold: boolean }
  | { type: "leave" | "release" | "pause" | "resume" | "step" | "save_scene" | "palette" }
  | { type: "reset"; scene: number | null; seed: number | null }
  | { type: "world"; world: string; scene: number }
  | { type: "speed"; hz: number }
  | { type: "scrub" | "fork"; step: number }
  | { type: "branch"; branch: number }
  | { type: "export"; format: "mp4" | "gif" | "replay" }
  | { type: "edit"; ops: EditOp[] }
  | { type: "load_scene"; data: string }
  | { type: "overlay" | "check"; on: boolean }
  | { type: "ping"; t: number };
