/** Which key, button or stick means which action of a world. Knows names and facings, no document. */

/**
 * What up means. "walk": up on the screen, turning there first, as most games have it. "screen": up on the screen without
 * turning. "facing": forward, as in Melting Pot.
 */
export const STEERINGS = ["walk", "screen", "facing"] as const;
export type Steering = (typeof STEERINGS)[number];
export const DEFAULT_STEERING: Steering = "walk";

/** Return a steering by its name, the default for any other text. */
export function steeringOf(name: string | null): Steering {
  return STEERINGS.find((known) => known === name) ?? DEFAULT_STEERING;
}

const COMMON = ["noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right"];
/** Steps by quarter turns to the right of the facing. */
const STEPS = ["forward", "step_right", "backward", "step_left"] as const;

export type Direction = 0 | 1 | 2 | 3; // up, right, down, left on the keys

const DIRECTIONS: Record<string, Direction> = {
  KeyW: 0, ArrowUp: 0, KeyD: 1, ArrowRight: 1, KeyS: 2, ArrowDown: 2, KeyA: 3, ArrowLeft: 3,
};

export type Intent =
  | { kind: "step"; direction: Direction }
  | { kind: "named"; name: string };

/** Return the actions of a world that not every world has, in its order. */
export function ownActions(actions: readonly string[]): string[] {
  return actions.filter((name) => !COMMON.includes(name));
}

/** Return what a key (KeyboardEvent.code) asks for in a world, or null. */
export function intentOfKey(code: string, actions: readonly string[]): Intent | null {
  const direction = DIRECTIONS[code];
  if (direction !== undefined) return { kind: "step", direction };
  if (code === "KeyQ") return named("turn_left", actions);
  if (code === "KeyE") return named("turn_right", actions);
  const own = ownActions(actions);
  if (code === "Space") return named(own[0], actions);
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(code);
  return digit ? named(own[Number(digit[1])], actions) : null;
}

function named(name: string | undefined, actions: readonly string[]): Intent | null {
  return name !== undefined && actions.includes(name) ? { kind: "named", name } : null;
}

/** Return the action that an intent means for a subject that faces `facing`, in a world with `actions`. */
export function actionOf(intent: Intent, facing: number, steering: Steering, actions: readonly string[]): string {
  if (intent.kind === "named") return intent.name;
  if (steering === "facing") return STEPS[intent.direction]!;
  const turns = (intent.direction - facing + 4) % 4;
  const turn = turns === 3 ? "turn_left" : "turn_right";
  return steering === "walk" && turns !== 0 && actions.includes(turn) ? turn : STEPS[turns]!;
}

/** Return whether a world has the step that leads where an intent points without turning first. */
export function canStep(intent: Intent, facing: number, actions: readonly string[]): boolean {
  return intent.kind === "step" && actions.includes(STEPS[(intent.direction - facing + 4) % 4]!);
}

/** Return the facing to which a turn leads, where it is one. */
export function facingAfter(action: string, facing: number): number {
  const turned = { turn_right: 1, turn_left: 3 }[action] ?? 0;
  return (facing + turned) % 4;
}

/** Return the quarter turns from north in which an action leads a subject, or null for what is no step. */
export function directionOf(action: string, facing: number): number | null {
  const turns = (STEPS as readonly string[]).indexOf(action);
  return turns < 0 ? null : (facing + turns) % 4;
}

/** Return an action's name for people. */
export function actionTitle(name: string): string {
  const known: Record<string, string> = { noop: "wait", step_left: "left", step_right: "right", backward: "back", fire_zap: "zap" };
  return known[name] ?? name.replace(/^fire_/, "").replaceAll("_", " ");
}

export type ActionIcon = "arrow" | "turn-left" | "turn-right" | "bolt" | "star" | "dot";

/** Return the icon of an action. */
export function actionIcon(name: string): ActionIcon {
  if ((STEPS as readonly string[]).includes(name)) return "arrow";
  if (name === "turn_left") return "turn-left";
  if (name === "turn_right") return "turn-right";
  if (name === "noop") return "dot";
  return name.startsWith("fire") ? "bolt" : "star";
}

export interface LegendRow {
  keys: string[];
  codes: string[][];
  label: string;
}

/** Return the rows of the on-screen legend for a world. */
export function legend(actions: readonly string[]): LegendRow[] {
  const rows: LegendRow[] = [
    {
      keys: ["W", "A", "S", "D"],
      codes: [["KeyW", "ArrowUp"], ["KeyA", "ArrowLeft"], ["KeyS", "ArrowDown"], ["KeyD", "ArrowRight"]],
      label: "or arrows: move",
    },
  ];
  if (actions.includes("turn_left")) rows.push({ keys: ["Q", "E"], codes: [["KeyQ"], ["KeyE"]], label: "turn" });
  ownActions(actions).slice(0, 10).forEach((name, i) => {
    rows.push(
      i === 0
        ? { keys: ["Space"], codes: [["Space"]], label: actionTitle(name) }
        : { keys: [String(i)], codes: [[`Digit${i}`, `Numpad${i}`]], label: actionTitle(name) },
    );
  });
  return rows;
}

/** Return what a standard gamepad asks for: stick or cross steps, shoulders turn, face buttons act. */
export function intentOfGamepad(axes: readonly number[], pressed: readonly boolean[], actions: readonly string[]): Intent | null {
  const own = ownActions(actions);
  for (const [button, slot] of [[0, 0], [1, 1], [2, 2], [3, 3]] as const) {
    if (pressed[button] && own[slot]) return named(own[slot], actions);
  }
  if (pressed[4]) return named("turn_left", actions);
  if (pressed[5]) return named("turn_right", actions);
  for (const [button, direction] of [[12, 0], [15, 1], [13, 2], [14, 3]] as const) {
    if (pressed[button]) return { kind: "step", direction };
  }
  const [x = 0, y = 0] = axes;
  if (Math.max(Math.abs(x), Math.abs(y)) < 0.5) return null;
  if (Math.abs(x) > Math.abs(y)) return { kind: "step", direction: x > 0 ? 1 : 3 };
  return { kind: "step", direction: y > 0 ? 2 : 0 };
}
