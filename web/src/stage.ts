/** Where the world is seen: the generated picture, beside it the simulator's where that is on, and who points at what. */

import { Board } from "./board";
import { h, setText } from "./dom";
import { drawDifferences, drawEditing, drawInside, drawPops, drawRings, POP_MS, type Pop } from "./marks";
import { mySeat, type RoomState } from "./state";
import { CELL, differingCells, type Picture } from "./wire";

export interface StageEvents {
  /** A pointer on the world: cells as fractions, for example 2.5 in the middle of the third. */
  pointer(kind: "down" | "move" | "up", x: number, y: number): void;
}

const GAP = 20;

/**
 * Return the factor that enlarges pixels of the world to device pixels, at most `best`: a whole number, so that all
 * pixels are equal; where that would waste much of a small window or the screen is so fine that nobody sees it
 * (`ratio` device pixels for a CSS pixel), one that makes at least all cells equal.
 */
export function enlargement(best: number, ratio: number): number {
  const whole = Math.floor(best);
  if (whole >= 1 && ((whole >= 4 && ratio < 2) || best / whole < 1.12)) return whole;
  return Math.max(1, Math.floor(best * CELL)) / CELL;
}

export class Stage {
  readonly root: HTMLElement;
  private readonly generated = new Board("generated", "generated");
  private readonly simulated = new Board("real simulator", "simulated");
  private readonly verdict = h("p", { class: "verdict", role: "status" });
  private state: RoomState | null = null;
  private pops: Pop[] = [];
  private hovered: number | null = null;
  private checking = false;
  private different: number[] = [];
  private drawing = 0;
  /** Set while the scene is edited. */
  editing: { cursor: { x: number; y: number }; selected: number | null } | null = null;

  constructor(private readonly events: StageEvents) {
    this.generated.canvas.tabIndex = 0;
    this.generated.canvas.setAttribute("role", "img");
    this.generated.canvas.id = "world";
    this.simulated.root.hidden = this.verdict.hidden = true;
    this.root = h("div", { class: "stage" }, h("div", { class: "boards" }, this.generated.root, this.simulated.root), this.verdict);
    new ResizeObserver(() => this.layout()).observe(this.root);
    this.listen();
  }

  /** The canvas that takes the keyboard. */
  get canvas(): HTMLCanvasElement {
    return this.generated.canvas;
  }

  /** The subject whose mind is shown: the one pointed at, else this person's, else the first alive. */
  get focus(): number {
    const state = this.state!;
    return this.hovered ?? mySeat(state)?.subject ?? Math.max(0, state.subjects.findIndex((s) => s.alive));
  }

  /** Show a generated picture; the canvas says of which step of which branch. */
  showGenerated(picture: Picture, { step, branch }: { step: number; branch: number }): void {
    const first = this.generated.picture?.width !== picture.width || this.generated.picture.height !== picture.height;
    this.generated.show(picture);
    this.canvas.dataset["step"] = String(step);
    this.canvas.dataset["branch"] = String(branch);
    if (first) this.layout();
  }

  /** Forget the comparison: the two pictures are not of the same step. */
  forgetDifferences(): void {
    this.different = [];
    this.verdict.hidden = true;
    this.redraw();
  }

  /** Show the simulator's picture. */
  showSimulated(picture: Picture): void {
    this.simulated.show(picture);
    if (this.simulated.root.hidden && this.checking) {
      this.simulated.root.hidden = false;
      this.layout();
    }
    this.compare();
  }

  /** Start or end the comparison with the simulator. */
  setChecking(on: boolean): void {
    this.checking = on;
    this.simulated.root.hidden = true;
    this.verdict.hidden = true;
    this.different = [];
    this.root.classList.toggle("checking", on);
    this.layout();
  }

  private compare(): void {
    const [a, b] = [this.generated.picture, this.simulated.picture];
    if (!this.checking || this.simulated.root.hidden || !a || !b) return;
    this.different = differingCells(a, b);
    const all = (a.width / CELL) * (a.height / CELL);
    this.verdict.hidden = false;
    setText(this.verdict, this.different.length === 0 ? "no visible difference" : `${this.different.length} of ${all} cells differ`);
    this.redraw();
  }

  /** Take over what is known of the room and draw it. */
  update(state: RoomState): void {
    this.state = state;
    this.canvas.setAttribute("aria-label", `${state.world?.title ?? "World"}, step ${state.step}`);
    this.redraw();
  }

  /** Let the rewards of a new frame rise from their subjects. */
  celebrate(state: RoomState): void {
    for (const subject of state.subjects) {
      const points = Math.round(subject.reward);
      if (points !== 0) this.pops.push({ x: subject.x, y: subject.y, text: points > 0 ? `+${points}` : String(points), born: performance.now() });
    }
    this.redraw();
  }

  /** Draw at the next moment the browser paints. */
  redraw(): void {
    if (!this.drawing) this.drawing = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.drawing = 0;
    const { state, generated } = this;
    if (!state?.world || !generated.cell) return;
    const pen = generated.pen();
    const { cell, scale } = generated;
    const now = performance.now();
    this.pops = this.pops.filter((pop) => now - pop.born < POP_MS);
    if (state.inside) drawInside(pen, state, this.focus, cell, scale);
    if (this.different.length) drawDifferences(pen, this.different, state.world.grid[1], cell, scale);
    if (this.editing) {
      const { cursor, selected } = this.editing;
      drawEditing(pen, state.world.grid, cursor, selected === null ? null : (state.subjects[selected] ?? null), cell, scale);
    }
    drawRings(pen, state, cell, scale, this.hovered);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    drawPops(pen, this.pops, now, cell, scale, still);
    if (!this.simulated.root.hidden) drawDifferences(this.simulated.pen(), this.different, state.world.grid[1], cell, scale);
    if (this.pops.length) this.redraw();
  }

  /** Enlarge the pictures by the greatest whole number of device pixels that fits. */
  layout(): void {
    const picture = this.generated.picture;
    if (!picture || !this.root.isConnected) return;
    const style = getComputedStyle(this.root);
    const width = this.root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.root.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const ratio = window.devicePixelRatio || 1;
    const fit = (across: number, down: number): number =>
      Math.min(((width - GAP * (across - 1)) * ratio) / (picture.width * across), ((height - GAP * (down - 1)) * ratio) / (picture.height * down));
    const two = !this.simulated.root.hidden;
    const beside = fit(2, 1) >= fit(1, 2);
    const best = two ? Math.max(fit(2, 1), fit(1, 2)) : fit(1, 1);
    const factor = enlargement(best, ratio);
    this.root.classList.toggle("stacked", two && !beside);
    for (const board of [this.generated, this.simulated]) board.resize(picture.width, picture.height, factor, ratio);
    this.redraw();
  }

  /** Return the living subject at a place, or null; with some tolerance for fingers. */
  subjectAt(x: number, y: number, reach = 0.95): number | null {
    let best: number | null = null;
    let nearest = reach;
    this.state?.subjects.forEach((subject, i) => {
      const distance = Math.hypot(subject.x + 0.5 - x, subject.y + 0.5 - y);
      if (subject.alive && distance < nearest) [best, nearest] = [i, distance];
    });
    return best;
  }

  private listen(): void {
    const { canvas } = this.generated;
    const tell = (kind: "down" | "move" | "up") => (event: PointerEvent): void => {
      if (kind === "down" && event.button !== 0) return;
      const { x, y } = this.generated.cellAt(event.clientX, event.clientY);
      if (kind === "down") canvas.setPointerCapture(event.pointerId);
      this.point(event.pointerType === "mouse" ? this.subjectAt(x, y) : null);
      this.events.pointer(kind, x, y);
    };
    canvas.addEventListener("pointerdown", tell("down"));
    canvas.addEventListener("pointermove", tell("move"));
    canvas.addEventListener("pointerup", tell("up"));
    canvas.addEventListener("pointercancel", tell("up"));
    canvas.addEventListener("pointerleave", () => this.point(null));
  }

  /** Show who is pointed at, here or in the list of seats. */
  point(subject: number | null): void {
    if (subject === this.hovered) return;
    this.hovered = subject;
    this.generated.canvas.style.cursor = subject === null ? "" : "pointer";
    this.redraw();
  }
}
