/** Binary messages: a header with the state of every subject, then a whole frame or the cells that changed. */

export const CELL = 8;
const CELL_BYTES = CELL * CELL * 3;
const NO_ACTION = 255;
const HEADER = 8;
const PER_SUBJECT = 8;

export interface SubjectState {
  /** Cell of the frame; the last known place of a subject that is not alive. */
  x: number;
  y: number;
  /** 0 to 3: north, east, south, west. */
  facing: number;
  alive: boolean;
  /** Index into the world's actions of what led to this frame; null where there was none. */
  action: number | null;
  reward: number;
}

export interface FrameMessage {
  kind: "key" | "delta";
  /** Whether this is the real simulator's frame, shown beside the generated one. */
  simulator: boolean;
  step: number;
  branch: number;
  subjects: SubjectState[];
  payload: Uint8Array<ArrayBuffer>;
}

/** An RGBA picture that deltas are applied to. */
export interface Picture {
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

export class WireError extends Error {}

/** Split a binary message; throw a WireError where it is cut off or of an unknown kind. */
export function parseFrame(buffer: ArrayBuffer): FrameMessage {
  const view = new DataView(buffer);
  if (view.byteLength < HEADER) throw new WireError(`a frame of ${view.byteLength} bytes`);
  const kind = view.getUint8(0);
  if (kind < 1 || kind > 4) throw new WireError(`unknown kind of frame: ${kind}`);
  const count = view.getUint8(7);
  const end = HEADER + count * PER_SUBJECT;
  if (view.byteLength < end) throw new WireError("a frame that ends within its header");
  return {
    kind: kind % 2 === 1 ? "key" : "delta",
    simulator: kind > 2,
    step: view.getUint32(1, true),
    branch: view.getUint16(5, true),
    subjects: Array.from({ length: count }, (_, i) => parseSubject(view, HEADER + i * PER_SUBJECT)),
    payload: new Uint8Array(buffer, end),
  };
}

function parseSubject(view: DataView, at: number): SubjectState {
  const bits = view.getUint8(at + 2);
  const action = view.getUint8(at + 3);
  return {
    x: view.getUint8(at),
    y: view.getUint8(at + 1),
    facing: bits & 3,
    alive: (bits & 4) !== 0,
    action: action === NO_ACTION ? null : action,
    reward: view.getFloat32(at + 4, true),
  };
}

/** Write the changed cells of an inflated delta into a picture, in place; return the indices of those cells. */
export function applyDelta(picture: Picture, delta: Uint8Array<ArrayBuffer>): number[] {
  const view = new DataView(delta.buffer, delta.byteOffset, delta.byteLength);
  const count = view.byteLength < 2 ? -1 : view.getUint16(0, true);
  if (view.byteLength !== 2 + count * (2 + CELL_BYTES)) throw new WireError("a delta of the wrong length");
  const columns = picture.width / CELL;
  const cells = columns * (picture.height / CELL);
  const indices: number[] = [];
  for (let i = 0; i < count; i++) {
    const cell = view.getUint16(2 + 2 * i, true);
    if (cell >= cells) throw new WireError(`cell ${cell} of ${cells}`);
    putCell(picture, cell % columns, Math.floor(cell / columns), delta, 2 + 2 * count + i * CELL_BYTES);
    indices.push(cell);
  }
  return indices;
}

function putCell(picture: Picture, x: number, y: number, from: Uint8Array, start: number): void {
  let at = start;
  for (let row = 0; row < CELL; row++) {
    let to = ((y * CELL + row) * picture.width + x * CELL) * 4;
    for (let column = 0; column < CELL; column++, to += 4) {
      picture.pixels[to] = from[at++]!;
      picture.pixels[to + 1] = from[at++]!;
      picture.pixels[to + 2] = from[at++]!;
      picture.pixels[to + 3] = 255;
    }
  }
}

/** Levels of 255 by which a cell's values may be off on average before people see it. */
export const VISIBLE = 8;

/** Return the indices of the cells in which two pictures of the same size differ visibly. */
export function differingCells(a: Picture, b: Picture, visible = VISIBLE): number[] {
  if (a.width !== b.width || a.height !== b.height) return [];
  const columns = a.width / CELL;
  const off = new Uint32Array(columns * (a.height / CELL));
  for (let i = 0; i < a.pixels.length; i++) {
    if (i % 4 === 3) continue; // opacity
    const pixel = i >> 2;
    const row = Math.floor(pixel / a.width / CELL);
    off[row * columns + Math.floor((pixel % a.width) / CELL)]! += Math.abs(a.pixels[i]! - b.pixels[i]!);
  }
  return [...off.keys()].filter((cell) => off[cell]! > visible * CELL_BYTES);
}

/** Inflate a zlib stream with the browser's own decompressor. */
export async function inflate(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Turns messages into whole pictures, one stream (generated or simulator) each. */
export class FrameDecoder {
  private picture: Picture | null = null;

  constructor(private readonly decodePng: (png: Uint8Array<ArrayBuffer>) => Promise<Picture>) {}

  /** Return the picture after `message`, and the cells that it changed (null: all). */
  async decode(message: FrameMessage): Promise<{ picture: Picture; changed: number[] | null }> {
    if (message.kind === "key") {
      this.picture = await this.decodePng(message.payload);
      return { picture: this.picture, changed: null };
    }
    if (!this.picture) throw new WireError("a delta came before any whole frame");
    const changed = applyDelta(this.picture, await inflate(message.payload));
    return { picture: this.picture, changed };
  }

  /** Forget the picture: after a new connection everything starts with a whole frame. */
  reset(): void {
    this.picture = null;
  }
}
