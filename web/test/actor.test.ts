import { expect, it } from "vitest";
import { Actor, type ActorMessage } from "../src/actor";
import type { Intent } from "../src/keys";

const up: Intent = { kind: "named", name: "forward" };
const zap: Intent = { kind: "named", name: "fire_zap" };

function actor(resolve = (intent: Intent): string | null => (intent.kind === "named" ? intent.name : null)): { actor: Actor; sent: string[] } {
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
  const { actor: a, sent } = actor(() => name);
  a.press("ArrowUp", { kind: "step", direction: 0 });
  a.refresh();
  name = "step_left";
  a.refresh();
  a.releaseAll();
  expect(sent).toEqual(["forward", "step_left", "release"]);
});
