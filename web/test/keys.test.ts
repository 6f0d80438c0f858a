import { describe, expect, it } from "vitest";
import { actionOf, canStep, directionOf, facingAfter, intentOfGamepad, intentOfKey, legend, ownActions, steeringOf, type Direction, type Steering } from "../src/keys";

const MOVES = ["noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right"];
const HARVEST = [...MOVES, "fire_zap", "eat", "fire_2"];

const means = (code: string, actions = HARVEST, facing = 0, steering: Steering = "facing"): string | null => {
  const intent = intentOfKey(code, actions);
  return intent && actionOf(intent, facing, steering, actions);
};

describe("keys", () => {
  it.each([
    ["KeyW", "forward"], ["KeyS", "backward"], ["KeyA", "step_left"], ["KeyD", "step_right"], ["ArrowUp", "forward"], ["ArrowDown", "backward"],
    ["ArrowLeft", "step_left"], ["ArrowRight", "step_right"], ["KeyQ", "turn_left"], ["KeyE", "turn_right"],
    ["Space", "fire_zap"], ["Digit1", "eat"], ["Numpad2", "fire_2"],
  ])("%s means %s, whatever the facing", (code, action) => {
    for (const facing of [0, 1, 2, 3]) expect(means(code, HARVEST, facing)).toBe(action);
  });

  it("means nothing where the world has no such action", () => {
    for (const code of ["Space", "Digit1", "Digit9"]) expect(means(code, MOVES)).toBeNull();
    expect(means("KeyQ", ["noop", "forward"])).toBeNull();
    expect(means("KeyX")).toBeNull();
    expect(means("Digit0")).toBeNull();
  });

  it("leads where the arrow points on the screen when steering by the screen", () => {
    const arrows: [string, Direction][] = [["ArrowUp", 0], ["ArrowRight", 1], ["ArrowDown", 2], ["ArrowLeft", 3]];
    for (const facing of [0, 1, 2, 3]) {
      for (const [code, direction] of arrows) expect(directionOf(means(code, HARVEST, facing, "screen")!, facing)).toBe(direction);
    }
  });

  it("turns first and then walks, the short way round, when it walks", () => {
    expect([0, 1, 2, 3].map((facing) => means("ArrowUp", HARVEST, facing, "walk"))).toEqual(["forward", "turn_left", "turn_right", "turn_right"]);
    expect([0, 1, 2, 3].map((facing) => means("KeyA", HARVEST, facing, "walk"))).toEqual(["turn_left", "turn_right", "turn_right", "forward"]);
    expect(means("KeyA", ["forward", "step_left"], 0, "walk")).toBe("step_left");
  });

  it("knows its steerings by name", () => {
    expect([steeringOf("screen"), steeringOf("facing"), steeringOf("nonsense"), steeringOf(null)]).toEqual(["screen", "facing", "walk", "walk"]);
  });

  it("turns the steps of every facing into directions of the frame", () => {
    expect(directionOf("forward", 1)).toBe(1);
    expect(directionOf("step_left", 0)).toBe(3);
    expect(directionOf("backward", 3)).toBe(1);
    expect(directionOf("fire_zap", 0)).toBeNull();
  });

  it("lists the own actions and a key for each in the legend", () => {
    expect(ownActions(HARVEST)).toEqual(["fire_zap", "eat", "fire_2"]);
    const keys = legend(HARVEST).flatMap((row) => row.codes.flat());
    expect(keys).toEqual(expect.arrayContaining(["KeyW", "KeyQ", "Space", "Digit1", "Digit2"]));
    for (const code of keys) expect(means(code)).not.toBeNull();
    expect(legend(["noop", "forward"]).flatMap((row) => row.keys)).not.toContain("Q");
  });
});

describe("gamepad", () => {
  const press = (...buttons: number[]): boolean[] => Array.from({ length: 17 }, (_, i) => buttons.includes(i));

  it("steps with cross and stick, turns with the shoulders, acts with the buttons", () => {
    expect(intentOfGamepad([0, 0], press(12), HARVEST)).toEqual({ kind: "step", direction: 0 });
    expect(intentOfGamepad([0.9, 0.2], press(), HARVEST)).toEqual({ kind: "step", direction: 1 });
    expect(intentOfGamepad([0.1, 0.8], press(), HARVEST)).toEqual({ kind: "step", direction: 2 });
    expect(intentOfGamepad([0.3, 0.3], press(), HARVEST)).toBeNull();
    expect(intentOfGamepad([], press(4), HARVEST)).toEqual({ kind: "named", name: "turn_left" });
    expect(intentOfGamepad([], press(0), HARVEST)).toEqual({ kind: "named", name: "fire_zap" });
    expect(intentOfGamepad([], press(1), HARVEST)).toEqual({ kind: "named", name: "eat" });
    expect(intentOfGamepad([], press(0), MOVES)).toBeNull();
  });
});

it("knows where a turn leads, and whether a world can step there without one", () => {
  expect([facingAfter("turn_right", 3), facingAfter("turn_left", 0), facingAfter("forward", 2)]).toEqual([0, 3, 2]);
  const up = { kind: "step", direction: 0 } as const;
  expect([0, 1, 2, 3].map((facing) => canStep(up, facing, ["forward", "step_left"]))).toEqual([true, true, false, false]);
  expect(canStep({ kind: "named", name: "forward" }, 0, MOVES)).toBe(false);
});
