/** The list of seats: who plays what, what each is doing, and how to take one. */

import { colourOf } from "./colours";
import { h, icon, setAttribute, setText } from "./dom";
import { actionIcon, actionTitle, directionOf } from "./keys";
import type { Seat, SeatKind } from "./protocol";
import { isFree, type RoomState } from "./state";

export interface SeatEvents {
  take(subject: number): void;
  leave(): void;
  assign(subject: number, kind: Exclude<SeatKind, "human">): void;
  point(subject: number | null): void;
}

const KINDS = { policy: "policy", random: "random", idle: "idle" } as const;

class SeatRow {
  readonly root: HTMLElement;
  private readonly main: HTMLButtonElement;
  private readonly name = h("span", { class: "seat-name" });
  private readonly doing = h("span", { class: "seat-doing" });
  private readonly glyph = h("span", { class: "seat-glyph" });
  private readonly kind: HTMLSelectElement;
  private readonly leave: HTMLButtonElement;
  private shown = "";

  constructor(private readonly subject: number, private readonly events: SeatEvents) {
    this.main = h(
      "button",
      { type: "button", class: "seat-take", onclick: () => this.events.take(subject) },
      h("span", { class: "seat-dot" }, String(subject + 1)), h("span", { class: "seat-text" }, this.name, this.doing), this.glyph,
    );
    this.kind = h(
      "select",
      { class: "seat-kind", "aria-label": `Who plays seat ${subject + 1}`, onchange: () => this.events.assign(subject, this.kind.value as "policy") },
      ...Object.entries(KINDS).map(([value, label]) => h("option", { value }, label)),
    );
    this.leave = h("button", { type: "button", class: "button square small", "aria-label": "Leave this seat", title: "Leave this seat", onclick: () => this.events.leave() }, icon("close"));
    this.root = h("li", { class: "seat", "data-subject": subject, onpointerenter: () => events.point(subject), onpointerleave: () => events.point(null) }, this.main, this.kind, this.leave);
  }

  update(seat: Seat, state: RoomState): void {
    const free = isFree(seat);
    const taken = seat.mine && !this.root.classList.contains("mine");
    this.root.classList.toggle("mine", seat.mine);
    this.root.style.setProperty("--seat", colourOf(state.world, this.subject));
    this.root.classList.toggle("person", !free);
    const subject = state.subjects[this.subject];
    this.root.classList.toggle("gone", subject ? !subject.alive : false);
    setText(this.name, seat.mine ? "You" : free ? "Free seat" : seat.name || "Somebody");
    this.kind.hidden = !free;
    if (free && document.activeElement !== this.kind) this.kind.value = seat.kind;
    this.leave.hidden = !seat.mine;
    this.main.disabled = !free && !seat.mine;
    const label = seat.mine ? "your seat" : free ? `take it, now played by ${seat.kind}` : `${seat.name || "somebody"} plays`;
    setAttribute(this.main, "aria-label", `Seat ${this.subject + 1}: ${label}`);
    this.showAction(seat, state);
    if (taken) this.root.scrollIntoView({ block: "nearest", inline: "center" });
  }

  private showAction(seat: Seat, state: RoomState): void {
    const subject = state.subjects[this.subject];
    const name = !subject || subject.action === null ? "noop" : (state.world!.actions[subject.action] ?? "noop");
    const waiting = seat.held ? "coming back…" : subject && !subject.alive ? "out for now" : null;
    const shown = waiting ?? `${name} ${subject?.facing ?? 0}`;
    if (shown === this.shown) return;
    this.shown = shown;
    setText(this.doing, waiting ?? actionTitle(name));
    this.root.dataset["action"] = name;
    this.glyph.replaceChildren(waiting ? "" : icon(actionIcon(name), directionOf(name, subject?.facing ?? 0) ?? 0));
  }
}

export class SeatList {
  readonly root = h("ul", { class: "seats", "aria-label": "Seats" });
  private rows: SeatRow[] = [];

  constructor(private readonly events: SeatEvents) {}

  update(state: RoomState): void {
    if (!state.world) return;
    if (this.rows.length !== state.seats.length) {
      this.rows = state.seats.map((seat) => new SeatRow(seat.subject, this.events));
      this.root.replaceChildren(...this.rows.map((row) => row.root));
    }
    state.seats.forEach((seat, i) => this.rows[i]!.update(seat, state));
  }
}
