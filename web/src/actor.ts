/** Turns what is pressed (keys, touch buttons, gamepad) into actions: what was pressed last wins. */

import type { Intent } from "./keys";

export type ActorMessage = { type: "act"; action: string; hold: boolean } | { type: "release" };

/**
 * What an intent means now. With `hold` the action goes on until something else is said; without it is done once, and again
 * when `moment` has become another one: so a turn waits until the last one is seen, however slow the network.
 */
export interface Meaning {
  action: string;
  hold: boolean;
  moment: string;
}

const TRY_AGAIN_STEPS = 4;

/** Return what an action means now, null where the world has no such action: turns on the way of a step are done one by one. */
export function meaningOf(action: string, intent: Intent, facing: number, step: number, actions: readonly string[]): Meaning | null {
  if (!actions.includes(action)) return null;
  const turning = intent.kind === "step" && action.startsWith("turn");
  return { action, hold: !turning, moment: turning ? `${facing} ${Math.floor(step / TRY_AGAIN_STEPS)}` : "" };
}

export class Actor {
  private readonly pressed = new Map<string, Intent>();
  private holding: string | null = null;

  /** `resolve` says which action an intent means now (null: none in this world). */
  constructor(
    private readonly resolve: (intent: Intent) => Meaning | null,
    private readonly send: (message: ActorMessage) => void,
  ) {}

  /** Start an intent; `source` names the key or button. The server plays it at least once, however short the tap. */
  press(source: string, intent: Intent): void {
    this.pressed.delete(source);
    this.pressed.set(source, intent);
    this.holding = null;
    this.hold();
  }

  /** End an intent; what is still pressed goes on. */
  release(source: string): void {
    if (!this.pressed.delete(source)) return;
    if (this.pressed.size > 0) this.hold();
    else this.stop();
  }

  /** End everything, as when the window loses the keyboard. */
  releaseAll(): void {
    this.pressed.clear();
    this.stop();
  }

  /** Look again at what the pressed keys mean: a turn may have changed it. */
  refresh(): void {
    if (this.holding !== null) this.hold();
  }

  /** Say again what is held: a seat that was just taken knows nothing of it. */
  repeat(): void {
    this.holding = null;
    this.hold();
  }

  private stop(): void {
    if (this.holding !== null) this.send({ type: "release" });
    this.holding = null;
  }

  private hold(): void {
    const newest = [...this.pressed.values()].at(-1);
    const meaning = newest ? this.resolve(newest) : null;
    if (meaning === null) return;
    const said = `${meaning.action} ${meaning.moment}`;
    if (said === this.holding) return;
    this.holding = said;
    this.send({ type: "act", action: meaning.action, hold: meaning.hold });
  }
}
