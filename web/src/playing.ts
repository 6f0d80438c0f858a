/** The rooms in which others play now, each with a live picture. */

import { roomPicture } from "./api";
import { h, icon, setText } from "./dom";
import type { RoomInfo } from "./protocol";

const LOOK_EVERY_MS = 1500;

class RoomCard {
  readonly root: HTMLElement;
  private readonly place = h("span", { class: "room-picture" });
  private readonly title = h("strong");
  private readonly people = h("span", { class: "room-people" });
  private loading = false;

  constructor(private readonly room: string, join: () => void) {
    this.root = h(
      "button", { type: "button", class: "room", "data-room": room, onclick: join },
      this.place, h("span", { class: "room-text" }, this.title, this.people),
    );
    this.look();
  }

  say(room: RoomInfo, title: string): void {
    setText(this.title, title);
    const people = room.people === 1 ? "1 person" : `${room.people} people`;
    const seats = room.seats_free === 0 ? "watch" : `${room.seats_free} free ${room.seats_free === 1 ? "seat" : "seats"}`;
    setText(this.people, `${people} · ${seats}`);
  }

  /** Show what the room shows now, once that is here. */
  look(): void {
    if (this.loading) return;
    this.loading = true;
    const fresh = h("img", { class: "pixels", alt: "", draggable: "false" });
    fresh.onload = () => {
      this.loading = false;
      this.place.replaceChildren(fresh);
    };
    fresh.onerror = () => {
      this.loading = false;
      if (!this.place.firstChild) this.place.append(icon("people"));
    };
    fresh.src = roomPicture(this.room);
  }
}

/** A list of rooms that keeps its buttons, so that focus stays where it is. */
export class RoomList {
  readonly root = h("section", { class: "rooms", "aria-label": "Rooms", hidden: true });
  private readonly list = h("div", { class: "room-list" });
  private readonly cards = new Map<string, RoomCard>();
  private timer = 0;

  constructor(private readonly join: (room: string) => void) {
    this.root.append(h("h2", {}, "Playing now"), this.list);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.timer = window.setInterval(() => {
      if (!document.hidden) for (const card of this.cards.values()) card.look();
    }, LOOK_EVERY_MS);
  }

  /** Show the rooms in which there is somebody. */
  show(rooms: RoomInfo[], title: (world: string) => string): void {
    const played = rooms.filter((room) => room.people > 0);
    for (const [name, card] of this.cards) {
      if (played.some((room) => room.room === name)) continue;
      card.root.remove();
      this.cards.delete(name);
    }
    for (const room of played) {
      let card = this.cards.get(room.room);
      if (!card) {
        card = new RoomCard(room.room, () => this.join(room.room));
        this.cards.set(room.room, card);
        this.list.append(card.root);
      }
      card.say(room, title(room.world));
    }
    this.root.hidden = played.length === 0;
  }

  /** Ask for no more pictures. */
  close(): void {
    window.clearInterval(this.timer);
  }
}
