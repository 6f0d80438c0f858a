/** The first thing a visitor sees: the worlds, and the rooms in which others play now. */

import { fetchFilm, fetchRooms, fetchWorlds, thumbnail, type WorldCard } from "./api";
import { h, icon, setText } from "./dom";
import { actionTitle, ownActions } from "./keys";
import { RoomList } from "./playing";

export interface GalleryEvents {
  play(world: WorldCard, scene: number): void;
  join(room: string): void;
}

const CHANGE_EVERY_MS = 2600;
const ROOMS_EVERY_MS = 4000;
const FILM_HZ = 6;
const FILM_AGAIN_MS = 4000;
/** Ticks for which a film stands on its last frame before it begins again. */
const FILM_HOLDS = 5;

/** Return what a card says of a world. */
export function describe(world: Pick<WorldCard, "subjects" | "actions"> & { experimental?: boolean }): string {
  const own = ownActions(world.actions).slice(0, 2).map(actionTitle);
  const subjects = world.subjects === 1 ? "1 subject" : `${world.subjects} subjects`;
  return [subjects, own.join(", "), world.experimental ? "experimental" : ""].filter(Boolean).join(" · ");
}

class Card {
  readonly root: HTMLElement;
  private readonly picture: HTMLImageElement;
  private readonly screen = h("canvas", { class: "pixels", hidden: true });
  private scene = 0;
  private film: ImageBitmap | null | "later" = "later";
  private asked = -Infinity;
  private shown = -1;

  constructor(private readonly world: WorldCard, play: (scene: number) => void) {
    this.picture = h("img", { class: "pixels", src: thumbnail(world.name, 0), alt: "", draggable: "false" });
    this.root = h(
      "button", { type: "button", class: "card", "data-world": world.name, onclick: () => play(this.scene) },
      h("span", { class: "card-picture" }, this.picture, this.screen, h("span", { class: "card-play" }, icon("play"))),
      h("span", { class: "card-text" }, h("strong", {}, world.title), h("small", {}, describe(world))),
    );
  }

  /** Show a frame of the world's film, where it was made; otherwise ask for it from time to time. */
  animate(tick: number): void {
    if (this.film === "later") {
      if (performance.now() - this.asked > FILM_AGAIN_MS) void this.ask();
      return;
    }
    if (this.film === null) return;
    const [rows, columns] = this.world.grid;
    const frames = this.film.width / (8 * columns);
    const frame = Math.min(tick % (frames + FILM_HOLDS), frames - 1);
    if (frame === this.shown) return;
    if (this.shown < 0) {
      [this.screen.width, this.screen.height] = [8 * columns, 8 * rows];
      [this.screen.hidden, this.picture.hidden, this.scene] = [false, true, 0];
    }
    this.shown = frame;
    this.screen.dataset.frame = String(frame);
    this.screen.getContext("2d")!.drawImage(this.film, -8 * columns * frame, 0);
  }

  /** Free the film while the card is out of sight; the browser's cache has it. */
  rest(): void {
    if (!(this.film instanceof ImageBitmap)) return;
    this.film.close();
    [this.film, this.asked] = ["later", -Infinity];
  }

  private async ask(): Promise<void> {
    this.asked = Infinity;
    this.film = await fetchFilm(this.world.name).catch(() => null);
    this.asked = performance.now();
  }

  /** Show another beginning, once its picture is there. */
  next(): void {
    if (this.world.scenes < 2 || this.shown >= 0) return;
    const scene = (this.scene + 1) % this.world.scenes;
    const fresh = new Image();
    fresh.onload = () => {
      this.scene = scene;
      this.picture.src = fresh.src;
    };
    fresh.src = thumbnail(this.world.name, scene);
  }
}

/** A grid of worlds whose pictures change: generated films where they were made; it stops when it leaves the page. */
export class WorldGrid {
  readonly root = h("div", { class: "worlds", role: "group", "aria-label": "Worlds" });
  private cards: Card[] = [];
  private turn = 0;
  private tick = 0;
  private timers: number[] = [];
  private readonly seen = new Set<Card>();

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
    this.stop();
    this.seen.clear();
    const observer = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        const card = this.cards.find((each) => each.root === target)!;
        if (isIntersecting) this.seen.add(card);
        else if (this.seen.delete(card)) card.rest();
      }
    });
    for (const card of this.cards) observer.observe(card.root);
    const every = (ms: number, run: () => void): void => {
      this.timers.push(window.setInterval(() => (this.root.isConnected ? document.hidden || run() : (this.stop(), observer.disconnect())), ms));
    };
    every(CHANGE_EVERY_MS / Math.max(1, this.cards.length / 2), () => this.cards[this.turn++ % Math.max(1, this.cards.length)]?.next());
    every(1000 / FILM_HZ, () => {
      this.tick += 1;
      for (const card of this.seen) card.animate(this.tick);
    });
  }

  private stop(): void {
    this.timers.forEach((timer) => window.clearInterval(timer));
    this.timers = [];
  }
}

/** The page of worlds and rooms. */
export class Gallery {
  readonly root: HTMLElement;
  private readonly grid: WorldGrid;
  private readonly rooms: RoomList;
  private readonly trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  private timer = 0;

  constructor(events: GalleryEvents, header: HTMLElement) {
    this.grid = new WorldGrid((world, scene) => events.play(world, scene));
    this.rooms = new RoomList((room) => events.join(room));
    this.root = h(
      "div", { class: "gallery" }, header,
      h("main", {},
        h("div", { class: "hero" },
          h("h1", {}, "Pick a world, and play."),
          h("p", {}, "No game runs here. A model imagines every frame, from what you and your friends press.")),
        this.trouble, this.rooms.root, this.grid.root),
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
    this.rooms.close();
    this.root.remove();
  }

  private async refreshRooms(): Promise<void> {
    const title = (world: string): string => this.grid.root.querySelector(`[data-world="${CSS.escape(world)}"] strong`)?.textContent ?? world;
    this.rooms.show(await fetchRooms(), title);
  }
}
