/** Pause, step, start again, speed, the bar of the last steps, and the switches of what is shown. */

import { h, icon, iconButton, setAttribute, setText } from "./dom";
import { openMenu, type MenuItem } from "./menu";
import { isPast, type RoomState } from "./state";

export interface TransportEvents {
  toggle(): void;
  step(): void;
  reset(fresh: boolean): void;
  speed(hz: number): void;
  scrub(step: number): void;
  fork(step: number): void;
  inside(): void;
  check(): void;
  edit(): void;
  exportAs(format: "mp4" | "gif" | "replay"): void;
}

const SPEEDS = [1, 2, 4, 8, 12, 16];
const SCRUB_EVERY_MS = 60;

export class Transport {
  readonly root: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly bar: HTMLInputElement;
  private readonly where = h("output", { class: "where", for: "timeline" });
  private readonly fork: HTMLButtonElement;
  private readonly now: HTMLButtonElement;
  private readonly speed: HTMLSelectElement;
  private readonly toggles: Record<"inside" | "check" | "edit", HTMLButtonElement>;
  private dragging = false;
  private sentAt = 0;
  private later = 0;
  private state: RoomState | null = null;
  private on = { inside: false, check: false, edit: false };

  constructor(private readonly events: TransportEvents) {
    this.play = iconButton("pause", "Pause (P)", () => events.toggle());
    this.play.classList.add("primary");
    this.bar = h("input", { type: "range", id: "timeline", min: 0, max: 0, step: 1, "aria-label": "Time: scrub through the last steps" });
    this.bar.addEventListener("pointerdown", () => (this.dragging = true));
    for (const end of ["pointerup", "pointercancel", "change"]) this.bar.addEventListener(end, () => this.endDrag());
    this.bar.addEventListener("input", () => this.onScrub());
    this.fork = iconButton("fork", "Play on from the step that is shown, in a new branch", () => events.fork(this.state?.step ?? 0), "Play on from here");
    this.now = iconButton("now", "Back to the newest step", () => events.scrub(this.state?.last ?? 0));
    this.speed = h("select", { class: "speed", "aria-label": "Speed", onchange: () => events.speed(Number(this.speed.value)) });
    this.toggles = {
      inside: iconButton("eye", "See inside: what the model attends to and expects (I)", () => events.inside(), "See inside"),
      check: iconButton("compare", "Reality check: the real simulator beside (C)", () => events.check(), "Reality check"),
      edit: iconButton("edit", "Edit the scene (B)", () => events.edit(), "Edit"),
    };
    this.root = this.build();
  }

  private build(): HTMLElement {
    const { events } = this;
    const step = iconButton("step", "One step (.)", () => events.step());
    step.classList.add("roomy");
    const reset = iconButton("reset", "Start again (R)", () => events.reset(false));
    reset.classList.add("roomy");
    const save = iconButton("export", "Export what was played", (event) => openMenu(event.currentTarget as HTMLElement, this.exports()), "Export");
    save.classList.add("roomy");
    const more = iconButton("more", "More", (event) => openMenu(event.currentTarget as HTMLElement, this.more()));
    more.classList.add("compact");
    for (const toggle of Object.values(this.toggles)) toggle.classList.add("roomy");
    return h(
      "section", { class: "transport", "aria-label": "Time" },
      h("div", { class: "group" }, this.play, step, reset),
      h("div", { class: "time" }, this.bar, this.where),
      h("div", { class: "group" }, this.fork, this.now, h("label", { class: "roomy speed-label" }, this.speed)),
      h("div", { class: "group tools" }, this.toggles.inside, this.toggles.check, this.toggles.edit, save, more),
    );
  }

  private exports(): MenuItem[] {
    return [
      { label: "Video (MP4)", icon: "export", run: () => this.events.exportAs("mp4") },
      { label: "Picture (GIF)", icon: "export", run: () => this.events.exportAs("gif") },
      { label: "Replay file", icon: "export", run: () => this.events.exportAs("replay") },
    ];
  }

  private more(): MenuItem[] {
    const { events, state } = this;
    return [
      { label: "One step", icon: "step", run: () => events.step() },
      { label: "Start again", icon: "reset", run: () => events.reset(false) },
      { label: "Another beginning", icon: "star", run: () => events.reset(true) },
      { label: this.on.inside ? "Hide the inside" : "See inside", icon: "eye", run: () => events.inside() },
      ...(state?.simulator ? [{ label: this.on.check ? "End the reality check" : "Reality check", icon: "compare" as const, run: () => events.check() }] : []),
      { label: this.on.edit ? "End editing" : "Edit the scene", icon: "edit", run: () => events.edit() },
      ...this.exports(),
      ...SPEEDS.map((hz) => ({ label: `${hz} steps/s`, icon: hz === state?.hz ? ("dot" as const) : null, run: () => events.speed(hz) })),
    ];
  }

  /** Say which switches are on. */
  switches(on: { inside: boolean; check: boolean; edit: boolean }): void {
    this.on = on;
    for (const name of ["inside", "check", "edit"] as const) setAttribute(this.toggles[name], "aria-pressed", String(on[name]));
    this.root.classList.toggle("editing", on.edit);
  }

  private onScrub(): void {
    const wait = SCRUB_EVERY_MS - (performance.now() - this.sentAt);
    window.clearTimeout(this.later);
    if (wait > 0) {
      this.later = window.setTimeout(() => this.onScrub(), wait);
      return;
    }
    this.sentAt = performance.now();
    this.events.scrub(Number(this.bar.value));
    this.label(Number(this.bar.value));
  }

  private endDrag(): void {
    this.dragging = false;
  }

  update(state: RoomState): void {
    const flipped = this.state?.paused !== state.paused;
    this.state = state;
    if (flipped) {
      this.play.replaceChildren(icon(state.paused ? "play" : "pause"));
      const label = state.paused ? "Play (P)" : "Pause (P)";
      setAttribute(this.play, "aria-label", label);
      setAttribute(this.play, "title", label);
    }
    setAttribute(this.bar, "min", String(state.first));
    setAttribute(this.bar, "max", String(Math.max(state.last, state.first + 1)));
    const shown = state.paused ? state.step : Math.max(state.step, state.last);
    if (!this.dragging) this.bar.value = String(shown);
    const span = Math.max(1, Math.max(state.last, state.first + 1) - state.first);
    this.bar.style.setProperty("--at", `${(((Number(this.bar.value) - state.first) / span) * 100).toFixed(2)}%`);
    this.label(this.dragging ? Number(this.bar.value) : shown);
    const past = isPast(state);
    this.fork.hidden = !past;
    this.now.hidden = !past;
    this.root.classList.toggle("past", past);
    this.toggles.check.hidden = !state.simulator;
    this.showSpeed(state.hz);
  }

  private label(step: number): void {
    const { state } = this;
    if (!state) return;
    const behind = state.last - step;
    setText(this.where, `step ${step}${behind > 0 && state.paused ? ` (−${behind})` : ""}`);
    setAttribute(this.bar, "aria-valuetext", `step ${step} of ${state.last}`);
  }

  private showSpeed(hz: number): void {
    if (document.activeElement === this.speed && this.speed.options.length) return;
    const choices = SPEEDS.includes(hz) ? SPEEDS : [...SPEEDS, hz].sort((a, b) => a - b);
    if (this.speed.options.length !== choices.length) {
      this.speed.replaceChildren(...choices.map((value) => h("option", { value }, `${value} steps/s`)));
    }
    this.speed.value = String(hz);
  }
}
