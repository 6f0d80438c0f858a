/** What is drawn above the picture: rings, numbers, names, action badges, what the model looks at, differences, the editor's cursor. */

import { colourOf, INK } from "./colours";
import { iconPaths } from "./dom";
import { actionIcon, directionOf } from "./keys";
import type { InsideSubject, Seat } from "./protocol";
import { isFree, type RoomState } from "./state";
import type { SubjectState } from "./wire";

type Pen = CanvasRenderingContext2D;

export interface Pop {
  x: number;
  y: number;
  text: string;
  born: number;
}

export const POP_MS = 900;
const DARK = "rgba(8, 9, 14, 0.72)";
const FONT = "Figtree, system-ui, sans-serif";

/** Draw rings and numbers of all living subjects: fine rings for policies, bold ones with names for people. */
export function drawRings(pen: Pen, state: RoomState, cell: number, ratio: number, hovered: number | null): void {
  const order = [...state.seats].sort((a, b) => rank(a) - rank(b));
  for (const seat of order) {
    const subject = state.subjects[seat.subject];
    if (subject?.alive) drawRing(pen, seat, subject, colourOf(state.world, seat.subject), cell, ratio, hovered === seat.subject);
  }
  for (const seat of order) {
    const subject = state.subjects[seat.subject];
    if (!subject?.alive) continue;
    const colour = colourOf(state.world, seat.subject);
    drawNumber(pen, seat.subject, subject, colour, cell, ratio);
    if (!isFree(seat)) drawBadge(pen, subject, colour, state.world!.actions, cell, ratio);
    if (!isFree(seat) || hovered === seat.subject) drawName(pen, seat, subject, colour, cell, ratio);
  }
}

const rank = (seat: Seat): number => (seat.mine ? 2 : isFree(seat) ? 0 : 1);

function drawRing(pen: Pen, seat: Seat, subject: SubjectState, colour: string, cell: number, ratio: number, hovered: boolean): void {
  const [x, y] = [(subject.x + 0.5) * cell, (subject.y + 0.5) * cell];
  const bold = seat.mine || !isFree(seat) || hovered;
  const radius = cell * 0.63;
  const width = Math.max(1.4 * ratio, cell * (bold ? 0.085 : 0.045));
  pen.globalAlpha = bold ? 1 : 0.8;
  ring(pen, x, y, radius, width + 2.2 * ratio, DARK);
  ring(pen, x, y, radius, width, colour);
  if (seat.mine) {
    pen.globalAlpha = 0.35;
    ring(pen, x, y, radius + width * 1.7, width * 0.8, colour);
    pen.globalAlpha = 1;
  }
  drawNose(pen, x, y, radius, subject.facing, colour, cell * (bold ? 0.2 : 0.13), ratio);
  pen.globalAlpha = 1;
}

function ring(pen: Pen, x: number, y: number, radius: number, width: number, colour: string): void {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.stroke();
}

/** A small arrow head on the ring: where the subject faces. */
function drawNose(pen: Pen, x: number, y: number, radius: number, facing: number, colour: string, size: number, ratio: number): void {
  pen.save();
  pen.translate(x, y);
  pen.rotate((facing * Math.PI) / 2);
  pen.beginPath();
  pen.moveTo(0, -radius - size * 1.35);
  pen.lineTo(size, -radius + size * 0.1);
  pen.lineTo(-size, -radius + size * 0.1);
  pen.closePath();
  pen.lineWidth = 2.2 * ratio;
  pen.strokeStyle = DARK;
  pen.lineJoin = "round";
  pen.stroke();
  pen.fillStyle = colour;
  pen.fill();
  pen.restore();
}

/** The number of a subject at the lower left of its ring, as in the list of seats: colours alone don't tell everybody apart. */
function drawNumber(pen: Pen, number: number, subject: SubjectState, colour: string, cell: number, ratio: number): void {
  const size = Math.max(12.5 * ratio, Math.min(cell * 0.4, 20 * ratio));
  const away = cell * 0.44 + size * 0.14;
  const [x, y] = [(subject.x + 0.5) * cell - away, (subject.y + 0.5) * cell + away];
  pen.beginPath();
  pen.arc(x, y, size / 2, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = 1.2 * ratio;
  pen.strokeStyle = DARK;
  pen.stroke();
  pen.font = `750 ${Math.round(size * 0.74)}px ${FONT}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillStyle = INK;
  pen.fillText(String(number + 1), x, y + size * 0.04);
}

function drawBadge(pen: Pen, subject: SubjectState, colour: string, actions: readonly string[], cell: number, ratio: number): void {
  const name = subject.action === null ? "noop" : (actions[subject.action] ?? "noop");
  if (name === "noop") return;
  const size = Math.max(15 * ratio, Math.min(cell * 0.5, 26 * ratio));
  const [x, y] = [(subject.x + 0.5) * cell + cell * 0.56, (subject.y + 0.5) * cell - cell * 0.56];
  pen.beginPath();
  pen.arc(x, y, size / 2, 0, 2 * Math.PI);
  pen.fillStyle = "rgba(12, 13, 20, 0.92)";
  pen.fill();
  drawIcon(pen, name, subject.facing, x, y, size * 0.74, colour);
}

function drawIcon(pen: Pen, name: string, facing: number, x: number, y: number, size: number, colour: string): void {
  pen.save();
  pen.translate(x, y);
  pen.rotate(((directionOf(name, facing) ?? 0) * Math.PI) / 2);
  pen.scale(size / 24, size / 24);
  pen.translate(-12, -12);
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.lineCap = pen.lineJoin = "round";
  for (const { path, filled } of iconPaths(actionIcon(name))) {
    if (filled) pen.fill(new Path2D(path));
    else pen.stroke(new Path2D(path));
  }
  pen.restore();
}

function drawName(pen: Pen, seat: Seat, subject: SubjectState, colour: string, cell: number, ratio: number): void {
  const text = seat.mine ? "you" : isFree(seat) ? `${seat.subject + 1} · ${seat.kind}` : seat.name;
  const size = Math.round(11.5 * ratio);
  pen.font = `650 ${size}px ${FONT}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const width = pen.measureText(text).width + size * 1.1;
  const height = size * 1.6;
  const x = (subject.x + 0.5) * cell;
  const below = (subject.y + 0.5) * cell + cell * (subject.facing === 2 ? 1.02 : 0.86) + height / 2;
  pill(pen, x, below, width, height, seat.mine ? colour : "rgba(12, 13, 20, 0.86)");
  pen.fillStyle = seat.mine ? INK : "#ffffff";
  pen.fillText(text, x, below + ratio * 0.5);
}

function pill(pen: Pen, x: number, y: number, width: number, height: number, fill: string): void {
  pen.beginPath();
  pen.roundRect(x - width / 2, y - height / 2, width, height, height / 2);
  pen.fillStyle = fill;
  pen.fill();
}

/** Draw rewards that rise from who got them; return whether any is still to be seen. */
export function drawPops(pen: Pen, pops: Pop[], now: number, cell: number, ratio: number, still: boolean): void {
  pen.font = `800 ${Math.round(15 * ratio)}px ${FONT}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const pop of pops) {
    const age = (now - pop.born) / POP_MS;
    pen.globalAlpha = still ? 1 : Math.max(0, 1 - age ** 3);
    const y = (pop.y - 0.35 - (still ? 0.4 : age * 0.9)) * cell;
    pen.lineWidth = 4 * ratio;
    pen.strokeStyle = "rgba(8, 9, 14, 0.85)";
    pen.strokeText(pop.text, (pop.x + 0.5) * cell, y);
    pen.fillStyle = pop.text.startsWith("+") ? "#7dffb0" : "#ff9a9a";
    pen.fillText(pop.text, (pop.x + 0.5) * cell, y);
  }
  pen.globalAlpha = 1;
}

/** Steps that a look inside may lag behind the picture, for places and for attention. */
const FRESH = 2;
const RECENT = 4;

/** Draw what a subject attends to as light in the dark, and every token's place and predicted next cell. */
export function drawInside(pen: Pen, state: RoomState, focus: number, cell: number, ratio: number): void {
  const [rows, columns] = state.world!.grid;
  const { step, subjects } = state.inside!;
  const age = Math.abs(state.step - step);
  const looked = age <= RECENT ? subjects[focus] : undefined;
  for (let i = 0; i < rows * columns; i++) {
    const share = Math.sqrt(Math.min(1, Math.max(0, looked?.attention[i] ?? 0)));
    const [x, y] = [(i % columns) * cell, Math.floor(i / columns) * cell];
    pen.fillStyle = `rgba(6, 7, 14, ${(0.6 * (1 - share)).toFixed(3)})`;
    pen.fillRect(x, y, cell, cell);
    if (share > 0.15) tint(pen, x, y, cell, colourOf(state.world, focus), share * 0.42);
  }
  state.subjects.forEach((subject, i) => {
    if (subject.alive) drawToken(pen, subject, age <= FRESH ? subjects[i] : undefined, colourOf(state.world, i), i === focus, cell, ratio);
  });
}

function tint(pen: Pen, x: number, y: number, cell: number, colour: string, alpha: number): void {
  pen.globalAlpha = alpha;
  pen.fillStyle = colour;
  pen.fillRect(x, y, cell, cell);
  pen.globalAlpha = 1;
}

function drawToken(pen: Pen, now: SubjectState, seen: InsideSubject | undefined, colour: string, focused: boolean, cell: number, ratio: number): void {
  const middle = (v: number): number => (v + 0.5) * cell;
  const leaves = seen && (seen.next_x !== seen.x || seen.next_y !== seen.y);
  pen.lineCap = "round";
  for (const [stroke, width] of [[DARK, 4.4], [colour, 2]] as const) {
    pen.strokeStyle = stroke;
    pen.lineWidth = width * ratio;
    cross(pen, middle(now.x), middle(now.y), cell * (focused ? 0.3 : 0.18));
    if (!leaves) continue; // it is expected to stay
    pen.setLineDash([4 * ratio, 4 * ratio]);
    pen.strokeRect(seen.next_x * cell + 2 * ratio, seen.next_y * cell + 2 * ratio, cell - 4 * ratio, cell - 4 * ratio);
    pen.setLineDash([]);
    arrow(pen, middle(seen.x), middle(seen.y), middle(seen.next_x), middle(seen.next_y));
  }
}

function arrow(pen: Pen, x: number, y: number, nx: number, ny: number): void {
  const angle = Math.atan2(ny - y, nx - x);
  const head = Math.hypot(nx - x, ny - y) * 0.22;
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(nx, ny);
  for (const side of [-1, 1]) {
    pen.moveTo(nx, ny);
    pen.lineTo(nx - head * Math.cos(angle + side * 0.6), ny - head * Math.sin(angle + side * 0.6));
  }
  pen.stroke();
}

function cross(pen: Pen, x: number, y: number, r: number): void {
  pen.beginPath();
  pen.moveTo(x - r, y);
  pen.lineTo(x + r, y);
  pen.moveTo(x, y - r);
  pen.lineTo(x, y + r);
  pen.stroke();
}

/** Outline the cells in which the generated frame and the simulator's differ. */
export function drawDifferences(pen: Pen, cells: readonly number[], columns: number, cell: number, ratio: number): void {
  pen.lineWidth = 2 * ratio;
  for (const index of cells) {
    const [x, y] = [(index % columns) * cell, Math.floor(index / columns) * cell];
    pen.fillStyle = "rgba(255, 46, 147, 0.22)";
    pen.fillRect(x, y, cell, cell);
    pen.strokeStyle = "#ff2e93";
    pen.strokeRect(x + ratio, y + ratio, cell - 2 * ratio, cell - 2 * ratio);
  }
}

/** Draw the editor's grid, cursor cell and the subject in hand. */
export function drawEditing(pen: Pen, grid: [number, number], cursor: { x: number; y: number }, selected: SubjectState | null, cell: number, ratio: number): void {
  pen.lineWidth = Math.max(1, Math.round(ratio));
  pen.strokeStyle = "rgba(255, 255, 255, 0.13)";
  pen.beginPath();
  for (let x = 1; x < grid[1]; x++) {
    pen.moveTo(x * cell, 0);
    pen.lineTo(x * cell, grid[0] * cell);
  }
  for (let y = 1; y < grid[0]; y++) {
    pen.moveTo(0, y * cell);
    pen.lineTo(grid[1] * cell, y * cell);
  }
  pen.stroke();
  if (selected) box(pen, selected.x, selected.y, cell, ratio, "#ffd23f");
  box(pen, cursor.x, cursor.y, cell, ratio, "#ffffff");
}

function box(pen: Pen, x: number, y: number, cell: number, ratio: number, colour: string): void {
  for (const [stroke, width] of [[DARK, 5], [colour, 2.4]] as const) {
    pen.strokeStyle = stroke;
    pen.lineWidth = width * ratio;
    pen.strokeRect(x * cell + ratio, y * cell + ratio, cell - 2 * ratio, cell - 2 * ratio);
  }
}
