/** Turns what is pressed (keys, touch buttons, gamepad) into actions: what was pressed last wins. */

import type { Intent } from "./keys";

export type ActorMessage = { type: "act"; action: string; hold: true } | { type: "release" };

export class Actor {
  private readonly pressed = new Map<string, Intent>();
  private holding: string | null = null;

  /** `resolve` says which action an intent means now (null: none in this world). */
  constructor(
    private readonly resolve: (intent: Intent) => string | null,
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

  /** Look again at what the pressed keys mean: with screen steering a turn changes it. */
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
    const action = newest ? this.resolve(newest) : null;
    if (action === null || action === this.holding) return;
    this.holding = action;
    this.send({ type: "act", action, hold: true });
  }
}
