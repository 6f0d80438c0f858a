import { expect, it } from "vitest";
import { Actor, meaningOf, type ActorMessage, type Meaning } from "../src/actor";
import type { Intent } from "../src/keys";

const up: Intent = { kind: "named", name: "forward" };
const zap: Intent = { kind: "named", name: "fire_zap" };

const held = (action: string): Meaning => ({ action, hold: true, moment: "" });

function actor(resolve = (intent: Intent): Meaning | null => (intent.kind === "named" ? held(intent.name) : null)): { actor: Actor; sent: string[] } {
  const sent: string[] = [];
  const told = (message: ActorMessage): number => sent.push(message.type === "act" ? message.action : "release");
  return { actor: new Actor(resolve, told), sent };
}

it("holds while pressed and lets go", () => {
  const { actor: a, sent } = actor();
  a.press("KeyW", up);
  a.release("KeyW");
  a.release("KeyW");
  expect(sent).toEqual(["forward", "release"]);
});

it("goes on with what is still pressed", () => {
  const { actor: a, sent } = actor();
  a.press("KeyW", up);
  a.press("Space", zap);
  a.release("Space");
  a.release("KeyW");
  expect(sent).toEqual(["forward", "fire_zap", "forward", "release"]);
});

it("says nothing for actions that the world has not", () => {
  const { actor: a, sent } = actor(() => null);
  a.press("Space", zap);
  a.release("Space");
  expect(sent).toEqual([]);
});

it("follows what a key comes to mean", () => {
  let name = "forward";
  const { actor: a, sent } = actor(() => held(name));
  a.press("ArrowUp", { kind: "step", direction: 0 });
  a.refresh();
  name = "step_left";
  a.refresh();
  a.releaseAll();
  expect(sent).toEqual(["forward", "step_left", "release"]);
});

it("turns one by one, as often as it is seen to turn, and then walks", () => {
  const actions = ["forward", "turn_right"];
  const step: Intent = { kind: "step", direction: 2 };
  let facing = 0;
  let now = 1;
  const messages: ActorMessage[] = [];
  const means = (intent: Intent): Meaning | null => meaningOf(facing === 2 ? "forward" : "turn_right", intent, facing, now, actions);
  const a = new Actor(means, (message) => messages.push(message));
  a.press("ArrowDown", step);
  now = 2;
  a.refresh(); // the turn is under way: nothing is said twice
  facing = 1;
  a.refresh();
  facing = 2;
  a.refresh();
  a.refresh();
  expect(messages).toEqual([
    { type: "act", action: "turn_right", hold: false },
    { type: "act", action: "turn_right", hold: false },
    { type: "act", action: "forward", hold: true },
  ]);
});

it("tries a turn again that does not happen", () => {
  let now = 0;
  const messages: ActorMessage[] = [];
  const a = new Actor((intent) => meaningOf("turn_left", intent, 3, now, ["turn_left"]), (message) => messages.push(message));
  a.press("ArrowUp", { kind: "step", direction: 0 });
  for (now = 1; now < 9; now++) a.refresh();
  expect(messages.length).toBe(3);
});

it("holds a turn that was asked for as such", () => {
  expect(meaningOf("turn_left", { kind: "named", name: "turn_left" }, 0, 5, ["turn_left"])).toEqual(held("turn_left"));
  expect(meaningOf("turn_left", { kind: "named", name: "turn_left" }, 0, 5, ["noop"])).toBeNull();
});
