/** Turns what is pressed (keys, touch buttons, gamepad) into actions: what was pressed last wins. */

import { actionOf, canStep, facingAfter, type Intent, type Steering } from "./keys";

export type ActorMessage = { type: "act"; action: string; hold: boolean } | { type: "release" };

/** What an intent means now. With `hold` the action goes on until something else is said; without it is done once. */
export interface Meaning {
  action: string;
  hold: boolean;
}

/** What is seen of the subject that is played. */
export interface Sight {
  facing: number;
  step: number;
  /** The action that led to what is seen; null where it could not act. */
  played: string | null;
}

/** Steps after which a turn that was not seen to be played is asked for again, however slow the network. */
export const TRY_AGAIN_STEPS = 4;
/** Turns that a world may not follow before a step is tried without turning. */
export const PATIENCE = 2;

/**
 * Return what an intent means for a subject that faces `facing`, null where the world has no such action. Turns on the way
 * of a step are done one by one; with `straight` the step is done without turning, in worlds that can.
 */
export function meaningOf(intent: Intent, facing: number, steering: Steering, actions: readonly string[], straight: boolean): Meaning | null {
  const sideways = straight && steering === "walk" && canStep(intent, facing, actions);
  const action = actionOf(intent, facing, sideways ? "screen" : steering, actions);
  if (!actions.includes(action)) return null;
  return { action, hold: !(intent.kind === "step" && action.startsWith("turn")) };
}

/** A turn on the way of a step that was asked for. */
interface Turn {
  action: string;
  facing: number;
  step: number;
}

export class Actor {
  private readonly pressed = new Map<string, Intent>();
  /** What was asked for last: the action that goes on, or the turn that is waited for. */
  private asked: Meaning | null = null;
  /** Whether the server goes on with an action until it is released. */
  private goesOn = false;
  private turn: Turn | null = null;
  /** Turns in a row that were played and did not turn there. */
  private unheeded = 0;

  /** `resolve` says which action an intent means now (null: none in this world), `look` what is seen. */
  constructor(
    private readonly resolve: (intent: Intent, straight: boolean) => Meaning | null,
    private readonly look: () => Sight,
    private readonly send: (message: ActorMessage) => void,
  ) {}

  /** Start an intent; `source` names the key or button. The server plays it at least once, however short the tap. */
  press(source: string, intent: Intent): void {
    this.pressed.delete(source);
    this.pressed.set(source, intent);
    this.afresh();
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
    if (this.asked) this.hold();
  }

  /** Say again what is held: a seat that was just taken, or a world that began anew, knows nothing of it. */
  repeat(): void {
    this.afresh();
  }

  private afresh(): void {
    this.asked = this.turn = null;
    this.unheeded = 0;
    this.hold();
  }

  private stop(): void {
    if (this.asked) this.send({ type: "release" });
    this.asked = this.turn = null;
    this.goesOn = false;
  }

  private hold(): void {
    const newest = [...this.pressed.values()].at(-1);
    if (!newest) return;
    const waiting = this.waits();
    const meaning = this.resolve(newest, this.unheeded >= PATIENCE);
    if (meaning === null) return;
    const same = meaning.action === this.asked?.action && meaning.hold === this.asked.hold;
    if (same && (meaning.hold || waiting)) return;
    if (this.goesOn && !meaning.hold) this.send({ type: "release" }); // or it would go on before the next turn
    const { facing, step } = this.look();
    this.asked = meaning;
    this.goesOn = meaning.hold;
    this.turn = meaning.hold ? null : { action: meaning.action, facing, step };
    this.send({ type: "act", ...meaning });
  }

  /** Return whether the turn that was asked for may still come; count one that came and turned nothing. */
  private waits(): boolean {
    const { turn } = this;
    if (!turn) return false;
    const { facing, step, played } = this.look();
    const since = step - turn.step;
    if (since > 0 && played === turn.action) {
      this.unheeded = facing === facingAfter(turn.action, turn.facing) ? 0 : this.unheeded + 1;
      return false;
    }
    return facing === turn.facing && since >= 0 && since < TRY_AGAIN_STEPS;
  }
}
