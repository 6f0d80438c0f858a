/** The first thing a visitor sees: the worlds, and the rooms in which others play now. */

import { fetchRooms, fetchWorlds, thumbnail, type WorldCard } from "./api";
import { h, icon, setText } from "./dom";
import { actionTitle, ownActions } from "./keys";
import type { RoomInfo } from "./protocol";

export interface GalleryEvents {
  play(world: WorldCard, scene: number): void;
  join(room: string): void;
}

const CHANGE_EVERY_MS = 2600;
const ROOMS_EVERY_MS = 4000;

/** Return what a card says of a world. */
export function describe(world: Pick<WorldCard, "subjects" | "actions"> & { experimental?: boolean }): string {
  const own = ownActions(world.actions).slice(0, 2).map(actionTitle);
  const subjects = world.subjects === 1 ? "1 subject" : `${world.subjects} subjects`;
  return [subjects, own.join(", "), world.experimental ? "experimental" : ""].filter(Boolean).join(" · ");
}

class Card {
  readonly root: HTMLElement;
  private readonly picture: HTMLImageElement;
  private scene = 0;

  constructor(private readonly world: WorldCard, play: (scene: number) => void) {
    this.picture = h("img", { class: "pixels", src: thumbnail(world.name, 0), alt: "", draggable: "false" });
    this.root = h(
      "button", { type: "button", class: "card", "data-world": world.name, onclick: () => play(this.scene) },
      h("span", { class: "card-picture" }, this.picture, h("span", { class: "card-play" }, icon("play"))),
      h("span", { class: "card-text" }, h("strong", {}, world.title), h("small", {}, describe(world))),
    );
  }

  /** Show another beginning, once its picture is there. */
  next(): void {
    if (this.world.scenes < 2) return;
    const scene = (this.scene + 1) % this.world.scenes;
    const fresh = new Image();
    fresh.onload = () => {
      this.scene = scene;
      this.picture.src = fresh.src;
    };
    fresh.src = thumbnail(this.world.name, scene);
  }
}

/** A grid of worlds whose pictures change; it stops when it leaves the page. */
export class WorldGrid {
  readonly root = h("div", { class: "worlds", role: "group", "aria-label": "Worlds" });
  private cards: Card[] = [];
  private turn = 0;
  private timer = 0;

  constructor(private readonly play: (world: WorldCard, scene: number) => void) {}

  /** Fetch and show the worlds. */
  async load(): Promise<void> {
    const worlds = (await fetchWorlds()).sort((a, b) => Number(a.experimental) - Number(b.experimental) || b.subjects - a.subjects);
    this.cards = worlds.map((world) => new Card(world, (scene) => this.play(world, scene)));
    this.root.replaceChildren(...this.cards.map((card) => card.root));
    if (worlds.length === 0) this.root.replaceChildren(h("p", { class: "empty" }, "These weights come without scenes to start from."));
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.start();
  }

  private start(): void {
    window.clearInterval(this.timer);
    this.timer = window.setInterval(() => {
      if (!this.root.isConnected) return window.clearInterval(this.timer);
      this.cards[this.turn++ % Math.max(1, this.cards.length)]?.next();
    }, CHANGE_EVERY_MS / Math.max(1, this.cards.length / 2));
  }
}

/** The page of worlds and rooms. */
export class Gallery {
  readonly root: HTMLElement;
  private readonly grid: WorldGrid;
  private readonly rooms = h("section", { class: "rooms", "aria-label": "Rooms", hidden: true });
  private readonly trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  private timer = 0;
  private shown = "";

  constructor(private readonly events: GalleryEvents, header: HTMLElement) {
    this.grid = new WorldGrid((world, scene) => events.play(world, scene));
    this.root = h(
      "div", { class: "gallery" }, header,
      h("main", {},
        h("div", { class: "hero" },
          h("h1", {}, "Pick a world, and play."),
          h("p", {}, "No game runs here. A model imagines every frame, from what you and your friends press.")),
        this.trouble, this.rooms, this.grid.root),
    );
  }

  /** Fetch everything; says what is wrong where the server does not answer. */
  async load(): Promise<void> {
    try {
      await this.grid.load();
      this.trouble.hidden = true;
      await this.refreshRooms();
      this.timer = window.setInterval(() => void this.refreshRooms().catch(() => undefined), ROOMS_EVERY_MS);
    } catch (error) {
      setText(this.trouble, error instanceof Error ? error.message : String(error));
      this.trouble.hidden = false;
    }
  }

  /** Stop asking for rooms. */
  close(): void {
    window.clearInterval(this.timer);
    this.root.remove();
  }

  private async refreshRooms(): Promise<void> {
    const rooms = (await fetchRooms()).filter((room) => room.people > 0);
    const shown = JSON.stringify(rooms);
    if (shown === this.shown) return;
    this.shown = shown;
    this.rooms.hidden = rooms.length === 0;
    this.rooms.replaceChildren(h("h2", {}, "Playing now"), h("div", { class: "room-list" }, ...rooms.map((room) => this.roomButton(room))));
  }

  private roomButton(room: RoomInfo): HTMLElement {
    const title = this.grid.root.querySelector(`[data-world="${CSS.escape(room.world)}"] strong`)?.textContent ?? room.world;
    const people = room.people === 1 ? "1 person" : `${room.people} people`;
    const seats = room.seats_free === 0 ? "watch" : `${room.seats_free} free ${room.seats_free === 1 ? "seat" : "seats"}`;
    return h("button", { type: "button", class: "room", "data-room": room.room, onclick: () => this.events.join(room.room) }, icon("people"), h("strong", {}, title), h("span", {}, `${people} · ${seats}`));
  }
}
