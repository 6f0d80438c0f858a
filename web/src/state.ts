/** What the page knows of its room, and how each message changes it. Pure: no socket, no document. */

import type { BranchInfo, InsideSubject, Seat, ServerMessage, WorldInfo } from "./protocol";
import type { FrameMessage, SubjectState } from "./wire";

export type Phase = "connecting" | "live" | "lost" | "closed";

export interface RoomState {
  phase: Phase;
  room: string;
  token: string | null;
  world: WorldInfo | null;
  seats: Seat[];
  people: number;
  simulator: boolean;
  paused: boolean;
  hz: number;
  realHz: number;
  slow: boolean;
  message: string | null;
  first: number;
  last: number;
  branch: number;
  /** All that can be gone on with, in the order in which they were begun. */
  branches: BranchInfo[];
  /** The step that is on the screen. */
  step: number;
  subjects: SubjectState[];
  inside: { step: number; subjects: InsideSubject[] } | null;
  latency: number | null;
  /** Why the room is closed for good. */
  reason: string | null;
}

export type RoomEvent =
  | ServerMessage
  | { type: "frame"; frame: FrameMessage }
  | { type: "phase"; phase: Phase }
  | { type: "latency"; ms: number }
  | { type: "overlay_off" };

/** Return what is known of a room before anything came. */
export function initialState(room: string): RoomState {
  return {
    phase: "connecting", room, token: null, world: null, seats: [], people: 0, simulator: false, paused: false,
    hz: 8, realHz: 0, slow: false, message: null, first: 0, last: 0, branch: 0, branches: [], step: 0, subjects: [], inside: null,
    latency: null, reason: null,
  };
}

/** Return the state after an event; states are never changed in place. */
export function reduce(state: RoomState, event: RoomEvent): RoomState {
  switch (event.type) {
    case "welcome":
      return {
        ...state, phase: "live", room: event.room, token: event.token, world: event.world, seats: event.seats,
        people: event.people, simulator: event.simulator, paused: event.paused, hz: event.hz, first: event.first,
        last: event.last, branch: event.branch, branches: event.branches, step: event.step, inside: null, reason: null,
      };
    case "seats":
      return { ...state, seats: event.seats, people: event.people ?? state.people };
    case "status":
      return {
        ...state, paused: event.paused, hz: event.hz, realHz: event.real_hz, slow: event.slow, message: event.message,
        first: event.first, last: event.last, step: event.step, branch: event.branch, branches: event.branches,
      };
    case "frame":
      return withFrame(state, event.frame);
    case "overlay":
      return { ...state, inside: { step: event.step, subjects: event.subjects } };
    case "overlay_off":
      return { ...state, inside: null };
    case "latency":
      return { ...state, latency: event.ms };
    case "phase":
      return state.phase === "closed" ? state : { ...state, phase: event.phase };
    case "closed":
      return { ...state, phase: "closed", reason: event.reason };
    default:
      return state;
  }
}

function withFrame(state: RoomState, frame: FrameMessage): RoomState {
  if (frame.simulator) return state;
  const grew = frame.branch !== state.branch || frame.step > state.last;
  return {
    ...state, step: frame.step, branch: frame.branch, subjects: frame.subjects,
    last: grew ? frame.step : state.last,
  };
}

/** Return the seat that this page holds, or null. */
export function mySeat(state: RoomState): Seat | null {
  return state.seats.find((seat) => seat.mine) ?? null;
}

/** Return the first seat that nobody holds, or null: the room is full. */
export function freeSeat(state: RoomState): Seat | null {
  return state.seats.find((seat) => isFree(seat) && (state.subjects[seat.subject]?.alive ?? true))
    ?? state.seats.find(isFree) ?? null;
}

/** Return whether a person may take a seat. */
export function isFree(seat: Seat): boolean {
  return seat.kind !== "human" && !seat.held;
}

/** Return whether this page may pause, look back and edit: whoever has a seat may, and anybody while nobody has. */
export function maySteer(state: RoomState): boolean {
  return mySeat(state) !== null || !state.seats.some((seat) => seat.kind === "human" && !seat.held);
}

/** Return whether the screen shows an earlier step than the newest one. */
export function isPast(state: RoomState): boolean {
  return state.paused && state.step < state.last;
}
