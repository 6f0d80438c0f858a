/** The sandbox: move, turn, add and remove subjects, paint tiles, save and share scenes. Works on a paused room. */

import { h, icon, iconButton, setAttribute, type IconName } from "./dom";
import type { EditOp, WorldInfo } from "./protocol";
import type { Stage } from "./stage";
import type { SubjectState } from "./wire";

export type Tool = "move" | "turn" | "add" | "remove" | "paint";

export const MOST_SUBJECTS = 16;

const STROKE_MS = 90;

export interface EditorEvents {
  edit(ops: EditOp[]): void;
  palette(): void;
  save(): void;
  load(file: File): void;
  share(): void;
  done(): void;
  say(message: string): void;
}

const TOOLS: Record<Tool, { icon: IconName; label: string; hint: string }> = {
  move: { icon: "move", label: "Move", hint: "Drag a subject to another cell." },
  turn: { icon: "turn", label: "Turn", hint: "Click a subject to turn it." },
  add: { icon: "add", label: "Add", hint: "Click a free cell to add a subject." },
  remove: { icon: "remove", label: "Remove", hint: "Click a subject to take it out." },
  paint: { icon: "paint", label: "Paint", hint: "Pick a tile, then draw on the world." },
};

/** Return the operations that a tool does on a cell; `subject` is who stands there. */
export function operations(tool: Tool, x: number, y: number, subject: number | null, states: readonly SubjectState[], tile: number): EditOp[] {
  const state = subject === null ? undefined : states[subject];
  const taken = states.some((other) => other.alive && other.x === x && other.y === y);
  if (tool === "paint") return taken ? [] : [{ op: "paint", x, y, tile }];
  if (tool === "add") return !taken && states.length < MOST_SUBJECTS ? [{ op: "add", x, y }] : [];
  if (subject === null || !state) return [];
  if (tool === "turn") return [{ op: "face", subject, facing: (state.facing + 1) % 4 }];
  if (tool === "remove") return [{ op: "remove", subject }];
  return taken ? [] : [{ op: "move", subject, x, y }];
}

export class Editor {
  readonly root: HTMLElement;
  active = false;
  private tool: Tool = "move";
  private tile = 0;
  private cursor = { x: 0, y: 0 };
  private selected: number | null = null;
  private painted = new Set<string>();
  private readonly stroke: EditOp[] = [];
  private later = 0;
  private world: WorldInfo | null = null;
  private states: readonly SubjectState[] = [];
  private readonly hint = h("p", { class: "hint" });
  private readonly tiles = h("div", { class: "tiles", role: "radiogroup", "aria-label": "Tiles", hidden: true });
  private readonly buttons: Record<Tool, HTMLButtonElement>;

  constructor(private readonly stage: Stage, private readonly events: EditorEvents) {
    const button = (tool: Tool): HTMLButtonElement => iconButton(TOOLS[tool].icon, TOOLS[tool].hint, () => this.choose(tool), TOOLS[tool].label);
    this.buttons = { move: button("move"), turn: button("turn"), add: button("add"), remove: button("remove"), paint: button("paint") };
    const file = h("input", { type: "file", accept: ".npz", hidden: true, "aria-label": "Scene file" });
    file.addEventListener("change", () => {
      if (file.files?.[0]) events.load(file.files[0]);
      file.value = "";
    });
    this.root = h(
      "section", { class: "editor", "aria-label": "Edit the scene", hidden: true },
      h("div", { class: "group" }, ...Object.values(this.buttons)),
      this.tiles, this.hint,
      h("div", { class: "group files" },
        iconButton("save", "Save the scene as a file", () => events.save(), "Save"),
        iconButton("load", "Open a scene file", () => file.click(), "Open"),
        iconButton("link", "Share the scene by link", () => events.share(), "Share"), file),
      h("button", { type: "button", class: "button primary", onclick: () => events.done() }, icon("play"), h("span", {}, "Play it")),
    );
    this.choose("move");
  }

  /** Start or end editing. */
  setActive(on: boolean): void {
    this.active = on;
    this.root.hidden = !on;
    this.selected = null;
    this.mark();
    if (on) this.events.palette();
  }

  update(world: WorldInfo, states: readonly SubjectState[]): void {
    this.world = world;
    this.states = states;
    this.buttons.add.disabled = states.length >= MOST_SUBJECTS;
    if (this.selected !== null && !states[this.selected]?.alive) this.selected = null;
    this.mark();
  }

  private choose(tool: Tool): void {
    this.tool = tool;
    for (const [name, button] of Object.entries(this.buttons)) setAttribute(button, "aria-pressed", String(name === tool));
    this.hint.textContent = TOOLS[tool].hint;
    this.tiles.hidden = tool !== "paint";
    this.selected = null;
    this.mark();
  }

  /** Show the world's own tiles: a strip of `count` pictures of 8 x 8 pixels. */
  async showPalette(png: string, count: number): Promise<void> {
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    const strip = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const columns = Math.max(1, Math.floor(strip.width / 8));
    this.tiles.replaceChildren(...Array.from({ length: count }, (_, i) => this.tileButton(strip, i, columns)));
    this.pick(Math.min(this.tile, count - 1));
  }

  private tileButton(strip: ImageBitmap, i: number, columns: number): HTMLElement {
    const canvas = h("canvas", { width: 8, height: 8, class: "pixels" });
    canvas.getContext("2d")!.drawImage(strip, (i % columns) * 8, Math.floor(i / columns) * 8, 8, 8, 0, 0, 8, 8);
    return h("button", { type: "button", role: "radio", class: "tile", "aria-label": `Tile ${i + 1}`, onclick: () => this.pick(i) }, canvas);
  }

  private pick(tile: number): void {
    this.tile = Math.max(0, tile);
    [...this.tiles.children].forEach((child, i) => setAttribute(child, "aria-checked", String(i === this.tile)));
  }

  /** A pointer on the world while editing. */
  pointer(kind: "down" | "move" | "up", px: number, py: number): void {
    if (!this.world) return;
    const [h_, w] = this.world.grid;
    const x = Math.max(0, Math.min(w - 1, Math.floor(px)));
    const y = Math.max(0, Math.min(h_ - 1, Math.floor(py)));
    this.cursor = { x, y };
    if (kind === "down") this.down(px, py, x, y);
    else if (kind === "up") this.up(x, y);
    else if (this.tool === "paint" && this.painted.size) this.paint(x, y);
    this.mark();
  }

  private down(px: number, py: number, x: number, y: number): void {
    if (this.tool === "paint") return this.paint(x, y);
    const subject = this.stage.subjectAt(px, py, 0.8);
    if (this.tool === "move") this.selected = subject;
    else this.apply(x, y, subject);
  }

  private up(x: number, y: number): void {
    this.painted.clear();
    if (this.tool !== "move" || this.selected === null) return;
    this.apply(x, y, this.selected);
    this.selected = null;
  }

  private paint(x: number, y: number): void {
    if (this.painted.has(`${x} ${y}`)) return;
    this.painted.add(`${x} ${y}`);
    this.apply(x, y, null);
  }

  private apply(x: number, y: number, subject: number | null): void {
    const ops = operations(this.tool, x, y, subject, this.states, this.tile);
    if (this.tool === "paint") this.collect(ops);
    else if (ops.length) this.events.edit(ops);
    else if (this.tool === "add") this.events.say(this.states.length >= MOST_SUBJECTS ? `A scene has at most ${MOST_SUBJECTS} subjects.` : "Somebody stands there.");
  }

  /** Send what was painted in strokes, not cell by cell. */
  private collect(ops: EditOp[]): void {
    this.stroke.push(...ops);
    if (this.later || this.stroke.length === 0) return;
    this.later = window.setTimeout(() => {
      this.later = 0;
      this.events.edit(this.stroke.splice(0));
    }, STROKE_MS);
  }

  /** A key while editing; returns whether it meant something. */
  key(event: KeyboardEvent): boolean {
    const moves: Record<string, [number, number]> = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const way = moves[event.code];
    if (way && this.world) {
      const [rows, columns] = this.world.grid;
      this.cursor = { x: Math.max(0, Math.min(columns - 1, this.cursor.x + way[0])), y: Math.max(0, Math.min(rows - 1, this.cursor.y + way[1])) };
    } else if (event.code === "Enter" || event.code === "Space") this.useAtCursor();
    else return false;
    this.mark();
    return true;
  }

  private useAtCursor(): void {
    const { x, y } = this.cursor;
    const there = this.stage.subjectAt(x + 0.5, y + 0.5, 0.5);
    if (this.tool === "move" && this.selected === null) this.selected = there;
    else if (this.tool === "move") this.up(x, y);
    else this.apply(x, y, there);
  }

  private mark(): void {
    this.stage.editing = this.active ? { cursor: this.cursor, selected: this.selected } : null;
    this.stage.redraw();
  }
}
