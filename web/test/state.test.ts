import { describe, expect, it } from "vitest";
import type { Seat, ServerMessage, Welcome } from "../src/protocol";
import { branchTitle } from "../src/branches";
import { freeSeat, initialState, isFree, isPast, mySeat, reduce, type RoomState } from "../src/state";
import type { FrameMessage, SubjectState } from "../src/wire";

const seat = (subject: number, over: Partial<Seat> = {}): Seat => ({ subject, kind: "policy", name: "", mine: false, ...over });
const subject = (over: Partial<SubjectState> = {}): SubjectState => ({ x: 1, y: 1, facing: 0, alive: true, action: 0, reward: 0, ...over });

const WELCOME: Welcome = {
  type: "welcome", room: "r", you: 1, token: "t", step: 4, first: 0, last: 4, branch: 1, hz: 8, paused: false, people: 1, simulator: false,
  branches: [{ branch: 1, ordinal: 1, forked: null, last: 4 }],
  world: { name: "coins", title: "Coins", grid: [17, 17], actions: ["noop", "forward"], subjects: 2 },
  seats: [seat(0), seat(1)],
};

const frame = (step: number, over: Partial<FrameMessage> = {}): { type: "frame"; frame: FrameMessage } => ({
  type: "frame", frame: { kind: "delta", simulator: false, step, branch: 1, subjects: [subject(), subject()], payload: new Uint8Array(0), ...over },
});

function after(...events: Parameters<typeof reduce>[1][]): RoomState {
  return events.reduce(reduce, initialState("r"));
}

describe("reduce", () => {
  it("takes everything from a welcome", () => {
    expect(after(WELCOME)).toMatchObject({ phase: "live", token: "t", step: 4, last: 4, people: 1, world: { name: "coins" } });
  });

  it("does not change the state that it is given", () => {
    const before = after(WELCOME);
    const copy = structuredClone(before);
    reduce(before, frame(5));
    reduce(before, { type: "seats", seats: [seat(0, { mine: true, kind: "human" })] });
    expect(before).toEqual(copy);
  });

  it("moves on with new frames and keeps the newest step while it looks back", () => {
    const live = after(WELCOME, frame(5), frame(6));
    expect(live).toMatchObject({ step: 6, last: 6 });
    const status: ServerMessage = { type: "status", paused: true, hz: 8, real_hz: 8, slow: false, message: null, first: 0, last: 6, branch: 1, branches: WELCOME.branches, step: 6 };
    const back = reduce(reduce(live, status), frame(2));
    expect(back).toMatchObject({ step: 2, last: 6 });
    expect(isPast(back)).toBe(true);
    expect(isPast(live)).toBe(false);
  });

  it("lets a new branch end earlier", () => {
    expect(after(WELCOME, frame(90), frame(40, { branch: 2 }))).toMatchObject({ step: 40, last: 40, branch: 2 });
  });

  it("knows the branches that the room names last", () => {
    const branches = [...WELCOME.branches, { branch: 2, ordinal: 2, forked: 1, last: 3 }];
    const status: ServerMessage = { type: "status", paused: true, hz: 8, real_hz: 8, slow: false, message: null, first: 0, last: 3, branch: 2, branches, step: 3 };
    expect(after(WELCOME).branches).toEqual(WELCOME.branches);
    expect(after(WELCOME, status)).toMatchObject({ branch: 2, branches, last: 3 });
    expect(after(WELCOME, status, frame(4, { branch: 2 })).branches).toEqual(branches);
    expect(after(WELCOME, status, WELCOME).branches).toEqual(WELCOME.branches);
  });

  it("ignores the simulator's frames", () => {
    expect(after(WELCOME, frame(99, { simulator: true }))).toMatchObject({ step: 4 });
  });

  it("stays closed, and says why", () => {
    const closed = after(WELCOME, { type: "closed", reason: "full" }, { type: "phase", phase: "lost" });
    expect(closed).toMatchObject({ phase: "closed", reason: "full" });
  });

  it("forgets the inside when it is switched off, and what it does not know", () => {
    const shown = after(WELCOME, { type: "overlay", step: 4, subjects: [] });
    expect(shown.inside).toEqual({ step: 4, subjects: [] });
    expect(reduce(shown, { type: "overlay_off" }).inside).toBeNull();
    expect(reduce(shown, { type: "later" } as unknown as ServerMessage)).toBe(shown);
  });
});

describe("seats", () => {
  it("knows which is mine and which are free", () => {
    const state = { ...after(WELCOME), seats: [seat(0, { kind: "human" }), seat(1, { kind: "human", mine: true }), seat(2, { kind: "idle" })] };
    expect(mySeat(state)?.subject).toBe(1);
    expect(freeSeat(state)?.subject).toBe(2);
  });

  it("does not offer a seat that waits for somebody", () => {
    expect(isFree(seat(0, { held: true }))).toBe(false);
    expect(freeSeat({ ...after(WELCOME), seats: [seat(0, { kind: "human", held: true })] })).toBeNull();
  });

  it("offers a living subject first", () => {
    const state = reduce(after(WELCOME), frame(5, { subjects: [subject({ alive: false }), subject()] }));
    expect(freeSeat(state)?.subject).toBe(1);
    const none = reduce(state, frame(6, { subjects: [subject({ alive: false }), subject({ alive: false })] }));
    expect(freeSeat(none)?.subject).toBe(0);
  });
});

describe("branches", () => {
  it("are called by number and by the step at which they left", () => {
    expect(branchTitle({ branch: 7, ordinal: 1, forked: null, last: 9 })).toBe("Branch 1");
    expect(branchTitle({ branch: 9, ordinal: 3, forked: 12, last: 20 })).toBe("Branch 3, from step 12");
  });
});
