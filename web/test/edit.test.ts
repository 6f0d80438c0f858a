import { describe, expect, it } from "vitest";
import { waitBefore } from "../src/connection";
import { MOST_SUBJECTS, operations } from "../src/editor";
import { enlargement } from "../src/stage";
import { explain, isLoopback } from "../src/invite";
import { toBase64 } from "../src/scenes";
import type { SubjectState } from "../src/wire";

const states: SubjectState[] = [{ x: 2, y: 3, facing: 3, alive: true, action: null, reward: 0 }];

describe("operations", () => {
  it("moves, turns, adds, removes and paints", () => {
    expect(operations("move", 5, 6, 0, states, 0)).toEqual([{ op: "move", subject: 0, x: 5, y: 6 }]);
    expect(operations("turn", 2, 3, 0, states, 0)).toEqual([{ op: "face", subject: 0, facing: 0 }]);
    expect(operations("add", 1, 1, null, states, 0)).toEqual([{ op: "add", x: 1, y: 1 }]);
    expect(operations("remove", 2, 3, 0, states, 0)).toEqual([{ op: "remove", subject: 0 }]);
    expect(operations("paint", 4, 4, null, states, 9)).toEqual([{ op: "paint", x: 4, y: 4, tile: 9 }]);
  });

  it("does nothing where there is nothing to do", () => {
    expect(operations("move", 2, 3, 0, states, 0)).toEqual([]);
    expect(operations("turn", 0, 0, null, states, 0)).toEqual([]);
    for (const tool of ["add", "paint"] as const) expect(operations(tool, 2, 3, null, states, 0)).toEqual([]);
    const many = Array.from({ length: MOST_SUBJECTS }, () => states[0]!);
    expect(operations("add", 1, 1, null, many, 0)).toEqual([]);
  });
});

it("turns any bytes into base64", () => {
  const bytes = Uint8Array.from({ length: 20_001 }, (_, i) => (i * 31) % 256);
  expect([...Buffer.from(toBase64(bytes), "base64")]).toEqual([...bytes]);
});

it("knows addresses that only this machine reaches", () => {
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"]) expect(isLoopback(host)).toBe(true);
  for (const host of ["192.168.0.4", "example.org", "127x"]) expect(isLoopback(host)).toBe(false);
});

it("waits longer from try to try, up to a limit", () => {
  const waits = [1, 2, 3, 4, 5, 6, 7].map((attempt) => waitBefore(attempt, 0.5));
  expect(waits[0]).toBeCloseTo(300);
  expect(waits[1]).toBeCloseTo(600);
  expect(Math.max(...waits)).toBeCloseTo(5000);
});

describe("enlargement", () => {
  it("is whole where that fits well", () => {
    for (const [best, factor] of [[8.9, 8], [4.99, 4], [3.1, 3], [1, 1]] as const) expect(enlargement(best, 1)).toBe(factor);
  });

  it("keeps cells whole where a whole factor would waste the window", () => {
    for (const [best, ratio] of [[0.3, 1], [0.97, 1], [1.9, 1], [2.4, 2], [6.9, 2], [9.9, 3]] as const) {
      const factor = enlargement(best, ratio);
      expect(factor * 8).toBe(Math.round(factor * 8));
      expect(factor).toBeLessThanOrEqual(best);
      expect(factor).toBeGreaterThan(0.8 * best);
    }
  });
});

it("says for whom an invite link is good", () => {
  expect(explain(new URL("http://192.168.0.4:8765/?room=a&key=b"))).toMatch(/whoever opens/i);
  expect(explain(new URL("http://localhost:8765/?room=a&key=b"))).toMatch(/printed/);
  expect(explain(new URL("http://127.0.0.1:8765/?room=a"))).toMatch(/--host/);
});
