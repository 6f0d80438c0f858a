import { expect, it } from "vitest";
import { Actor, meaningOf, PATIENCE, TRY_AGAIN_STEPS, type ActorMessage, type Meaning, type Sight } from "../src/actor";
import { directionOf, facingAfter, type Intent } from "../src/keys";

const up: Intent = { kind: "named", name: "forward" };
const zap: Intent = { kind: "named", name: "fire_zap" };
const NOTHING: Sight = { facing: 0, step: 0, played: null };

const held = (action: string): Meaning => ({ action, hold: true });

function actor(resolve = (intent: Intent): Meaning | null => (intent.kind === "named" ? held(intent.name) : null)): { actor: Actor; sent: string[] } {
  const sent: string[] = [];
  const told = (message: ActorMessage): number => sent.push(message.type === "act" ? message.action : "release");
  return { actor: new Actor(resolve, () => NOTHING, told), sent };
}

const TURNS = ["noop", "forward", "turn_left", "turn_right"];
const STEPS = ["noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right"];

/** A subject on an endless floor that does what the page asks for, `late` steps after it was said; `heeds` says whether a turn turns. */
class Walk {
  readonly messages: ActorMessage[] = [];
  readonly played: string[] = [];
  readonly actor: Actor;
  sight: Sight = { facing: 0, step: 0, played: null };
  private readonly taps: string[] = [];
  private holds: string | null = null;

  constructor(private readonly actions: readonly string[], private readonly heeds: () => boolean = () => true, private readonly late = 0) {
    this.actor = new Actor(
      (intent, straight) => meaningOf(intent, this.sight.facing, "walk", actions, straight), () => this.sight, (message) => this.messages.push(message));
  }

  private readonly arrives: number[] = [];
  private heard = 0;

  /** Let a step be played and seen. */
  step(): void {
    while (this.arrives.length < this.messages.length) this.arrives.push(this.sight.step + this.late);
    for (; this.heard < this.messages.length && this.arrives[this.heard]! <= this.sight.step; this.heard++) {
      const message = this.messages[this.heard]!;
      if (message.type === "release") this.holds = null;
      else if (message.hold) this.holds = message.action;
      else this.taps.push(message.action);
    }
    const action = this.taps.shift() ?? this.holds ?? "noop";
    this.played.push(action);
    const facing = this.heeds() ? facingAfter(action, this.sight.facing) : this.sight.facing;
    this.sight = { facing, step: this.sight.step + 1, played: this.actions.includes(action) ? action : null };
    this.actor.refresh();
  }

  run(steps: number): string[] {
    for (let i = 0; i < steps; i++) this.step();
    return this.played;
  }
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

const down: Intent = { kind: "step", direction: 2 };
const left: Intent = { kind: "step", direction: 3 };

it.each([0, 1, 2])("turns one by one, as often as it is seen to turn, and then walks, %s steps late", (late) => {
  const walk = new Walk(STEPS, () => true, late);
  walk.actor.press("ArrowDown", down);
  walk.run(20);
  expect(walk.messages).toEqual([
    { type: "act", action: "turn_right", hold: false },
    { type: "act", action: "turn_right", hold: false },
    { type: "act", action: "forward", hold: true },
  ]);
  expect(walk.sight.facing).toBe(2);
});

it("asks again for a turn that is never seen to be played", () => {
  let step = 0;
  const messages: ActorMessage[] = [];
  const look = (): Sight => ({ facing: 3, step, played: "noop" });
  const a = new Actor(() => ({ action: "turn_left", hold: false }), look, (message) => messages.push(message));
  a.press("ArrowUp", { kind: "step", direction: 0 });
  for (step = 1; step <= 2 * TRY_AGAIN_STEPS; step++) a.refresh();
  expect(messages.length).toBe(3);
});

it("steps without turning where two turns turned nothing", () => {
  const walk = new Walk(STEPS, () => false);
  walk.actor.press("ArrowLeft", left);
  walk.run(6);
  expect(walk.played.slice(0, PATIENCE)).toEqual(["turn_left", "turn_left"]);
  expect(walk.played.slice(PATIENCE)).toEqual(["step_left", "step_left", "step_left", "step_left"]);
  expect(walk.played.slice(PATIENCE).map((action) => directionOf(action, 0))).toEqual([3, 3, 3, 3]);
  walk.actor.release("ArrowLeft");
  expect(walk.run(1).at(-1)).toBe("noop");
});

it("does not take one turn that failed for a habit", () => {
  let failed = 0;
  const walk = new Walk(STEPS, () => failed++ !== 0);
  walk.actor.press("ArrowDown", down);
  walk.run(5);
  expect(walk.played).toEqual(["turn_right", "turn_right", "turn_right", "forward", "forward"]);
});

it("turns on in every step where the world has no step to the side", () => {
  const walk = new Walk(TURNS, () => walk.sight.step >= 5);
  walk.actor.press("ArrowLeft", left);
  walk.run(8);
  expect(walk.played).toEqual([...Array<string>(6).fill("turn_left"), "forward", "forward"]);
});

it("tries to turn again with the next key", () => {
  const walk = new Walk(STEPS, () => walk.sight.step > 3);
  walk.actor.press("ArrowLeft", left);
  walk.run(4);
  walk.actor.release("ArrowLeft");
  walk.actor.press("ArrowDown", down);
  walk.run(4);
  expect(walk.played.slice(4)).toEqual(["turn_right", "turn_right", "forward", "forward"]);
});

it("does not walk on between two turns", () => {
  const walk = new Walk(STEPS, () => true, 1);
  walk.actor.press("ArrowUp", { kind: "step", direction: 0 });
  walk.run(3);
  walk.actor.press("ArrowDown", down);
  walk.run(9);
  const turning = walk.played.slice(walk.played.indexOf("turn_right"), walk.played.lastIndexOf("turn_right"));
  expect(turning).not.toContain("forward");
  expect(walk.played.at(-1)).toBe("forward");
});

it("says again what is held to a seat that knows nothing of it", () => {
  const { actor: a, sent } = actor();
  a.repeat();
  a.press("KeyW", up);
  a.refresh();
  a.repeat();
  a.release("KeyW");
  a.repeat();
  expect(sent).toEqual(["forward", "forward", "release"]);
});

it("goes back to a turn that is held as such", () => {
  const messages: ActorMessage[] = [];
  const a = new Actor((intent) => meaningOf(intent, 0, "walk", STEPS, false), () => NOTHING, (message) => messages.push(message));
  a.press("KeyQ", { kind: "named", name: "turn_left" });
  a.press("ArrowLeft", left);
  a.release("ArrowLeft");
  expect(messages.at(-1)).toEqual({ type: "act", action: "turn_left", hold: true });
});

it("holds a turn that was asked for as such", () => {
  const turn: Intent = { kind: "named", name: "turn_left" };
  expect(meaningOf(turn, 0, "walk", ["turn_left"], false)).toEqual(held("turn_left"));
  expect(meaningOf(turn, 0, "walk", ["noop"], false)).toBeNull();
});
