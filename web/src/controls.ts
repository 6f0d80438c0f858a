/** What is pressed: the legend of keys, touch buttons, the keyboard itself and gamepads. */

import type { Actor } from "./actor";
import { h, icon, setAttribute, setText } from "./dom";
import { actionIcon, actionTitle, intentOfGamepad, intentOfKey, legend, ownActions, STEERINGS, type Intent, type Steering } from "./keys";
import type { RoomState } from "./state";

export interface ControlEvents {
  /** A key that is about the room, not about the subject: "KeyP", "Period", ... Returns whether it meant something. */
  other(event: KeyboardEvent): boolean;
  /** Whether keys move a subject now (not while a dialog is open or the scene is edited). */
  playing(): boolean;
  steer(steering: Steering): void;
}

const MEANING: Record<Steering, string> = { walk: "turn up, then walk", screen: "up the screen", facing: "forward" };

/** The legend on screen; its keys light up while they are pressed. */
export class Legend {
  readonly root = h("section", { class: "legend", "aria-label": "Keys" });
  private readonly caps = new Map<string, HTMLElement>();

  /** Show the keys of a world. */
  show(actions: readonly string[], steering: Steering, steer: (steering: Steering) => void): void {
    this.caps.clear();
    const rows = legend(actions).map((row) => {
      const caps = row.keys.map((key, i) => {
        const cap = h("kbd", { class: key.length > 1 ? "wide" : "" }, key);
        for (const code of row.codes[i] ?? []) this.caps.set(code, cap);
        return cap;
      });
      return h("div", { class: "legend-row" }, h("span", { class: "caps" }, ...caps), h("span", {}, row.label));
    });
    this.root.replaceChildren(...rows, this.steering(steering, steer));
  }

  private steering(now: Steering, steer: (steering: Steering) => void): HTMLElement {
    const select = h(
      "select",
      { "aria-label": "What up means", onchange: () => steer(select.value as Steering) },
      ...STEERINGS.map((value) => h("option", { value }, MEANING[value])),
    );
    select.value = now;
    return h("label", { class: "legend-row steering" }, h("span", {}, "Up means"), select);
  }

  /** Light a key up or let it go. */
  press(code: string, down: boolean): void {
    this.caps.get(code)?.classList.toggle("down", down);
  }

  /** Let all keys go. */
  clear(): void {
    for (const cap of this.caps.values()) cap.classList.remove("down");
  }
}

/** Buttons for fingers: a cross for steps and turns, and one button for each of the world's own actions. */
export class TouchPad {
  readonly root = h("section", { class: "touchpad", "aria-label": "Touch controls" });

  constructor(private readonly actor: Actor) {}

  /** Show the buttons of a world. */
  show(actions: readonly string[]): void {
    const step = (direction: 0 | 1 | 2 | 3, label: string): HTMLElement =>
      this.button(`step ${direction}`, { kind: "step", direction }, label, icon("arrow", direction), `pad-${label}`);
    const turn = (name: "turn_left" | "turn_right", label: string): HTMLElement =>
      this.button(name, { kind: "named", name }, label, icon(actionIcon(name)), `pad-turn ${name}`);
    const turns = actions.includes("turn_left") ? [turn("turn_left", "turn left"), turn("turn_right", "turn right")] : [];
    const own = ownActions(actions).map((name, i) =>
      this.button(name, { kind: "named", name }, actionTitle(name), h("span", {}, actionTitle(name)), i === 0 ? "pad-own first" : "pad-own"));
    this.root.replaceChildren(
      h("div", { class: "cross" }, step(0, "up"), step(3, "left"), step(1, "right"), step(2, "down"), ...turns),
      h("div", { class: "own-actions" }, ...own),
    );
  }

  private button(source: string, intent: Intent, label: string, content: Node, className: string): HTMLElement {
    const button = h("button", { type: "button", class: `pad ${className}`, "aria-label": label }, content);
    const down = (event: Event): void => {
      event.preventDefault();
      button.classList.add("down");
      this.actor.press(source, intent);
    };
    const up = (): void => {
      button.classList.remove("down");
      this.actor.release(source);
    };
    button.addEventListener("pointerdown", down);
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) button.addEventListener(end, up);
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("click", (event) => {
      if (event.detail === 0) this.tap(source, intent); // from a keyboard or a screen reader
    });
    return button;
  }

  private tap(source: string, intent: Intent): void {
    this.actor.press(source, intent);
    this.actor.release(source);
  }
}

/** The keyboard of the whole page. */
export class Keyboard {
  private readonly stop = new AbortController();

  constructor(
    private readonly actor: Actor,
    private readonly legend: Legend,
    private readonly actions: () => readonly string[],
    private readonly events: ControlEvents,
  ) {
    const { signal } = this.stop;
    window.addEventListener("keydown", (event) => this.down(event), { signal });
    window.addEventListener("keyup", (event) => this.up(event), { signal });
    window.addEventListener("blur", () => this.clear(), { signal });
  }

  close(): void {
    this.clear();
    this.stop.abort();
  }

  private clear(): void {
    this.actor.releaseAll();
    this.legend.clear();
  }

  private down(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    if (this.events.other(event)) {
      event.preventDefault();
      return;
    }
    const intent = this.events.playing() ? intentOfKey(event.code, this.actions()) : null;
    if (!intent) return;
    event.preventDefault();
    if (event.repeat) return;
    this.legend.press(event.code, true);
    this.actor.press(event.code, intent);
  }

  private up(event: KeyboardEvent): void {
    this.legend.press(event.code, false);
    this.actor.release(event.code);
  }
}

/** Whether a key belongs to what has the focus: text, sliders, lists, and buttons reached with the Tab key. */
function isTyping(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest("dialog, [popover]")) return true;
  if (target.matches("input[type=range]")) return event.code.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(event.code);
  if (target.matches("input, textarea, select")) return true;
  return target.matches("button, a") && ["Space", "Enter"].includes(event.code) && target.matches(":focus-visible");
}

/** Gamepads, looked at before every paint while one is plugged in. */
export class Gamepads {
  private running = 0;
  private last = "";
  private readonly stop = new AbortController();

  constructor(private readonly actor: Actor, private readonly actions: () => readonly string[], private readonly greet: () => void) {
    const { signal } = this.stop;
    window.addEventListener("gamepadconnected", () => this.start(), { signal });
    window.addEventListener("gamepaddisconnected", () => this.set("", null), { signal });
  }

  close(): void {
    cancelAnimationFrame(this.running);
    this.stop.abort();
  }

  private start(): void {
    this.greet();
    if (!this.running) this.look();
  }

  private look(): void {
    const pads = navigator.getGamepads().filter((pad) => pad !== null);
    this.running = pads.length ? requestAnimationFrame(() => this.look()) : 0;
    const intent = pads[0] ? intentOfGamepad(pads[0].axes, pads[0].buttons.map((b) => b.pressed), this.actions()) : null;
    this.set(intent ? JSON.stringify(intent) : "", intent);
  }

  private set(key: string, intent: Intent | null): void {
    if (key === this.last) return;
    this.last = key;
    if (intent) this.actor.press("gamepad", intent);
    else this.actor.release("gamepad");
  }
}

const METER = "Steps each second, and the time a message takes to the server and back";

/** The small numbers: steps each second, and how long the server takes to answer. */
export class Meter {
  readonly root = h("p", { class: "meter", title: METER });
  private arrivals: number[] = [];

  /** Count a frame. */
  tick(): void {
    const now = performance.now();
    this.arrivals.push(now);
    this.arrivals = this.arrivals.filter((at) => now - at < 3000);
  }

  /** Show the numbers. */
  show(state: Pick<RoomState, "paused" | "latency" | "slow" | "hz" | "message">): void {
    const span = (this.arrivals.at(-1) ?? 0) - (this.arrivals[0] ?? 0);
    const rate = span > 0 ? ((this.arrivals.length - 1) * 1000) / span : 0;
    const slow = state.slow && !state.paused;
    const speed = state.paused ? "paused" : `${rate.toFixed(1)}${slow ? ` of ${state.hz}` : ""} steps/s`;
    setText(this.root, state.latency === null ? speed : `${speed} · ${Math.round(state.latency)} ms`);
    this.root.classList.toggle("slow", slow);
    setAttribute(this.root, "title", slow && state.message ? state.message : METER);
  }
}
