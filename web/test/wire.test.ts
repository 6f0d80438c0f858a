import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { applyDelta, CELL, differingCells, FrameDecoder, inflate, parseFrame, type Picture, WireError } from "../src/wire";

interface Subject { x: number; y: number; bits: number; action: number; reward: number }

/** Build a message as the contract words it, by other means than the code under test. */
function message(kind: number, step: number, branch: number, subjects: Subject[], payload: Uint8Array): ArrayBuffer {
  const head = Buffer.alloc(8 + 8 * subjects.length);
  head.writeUInt8(kind, 0);
  head.writeUInt32LE(step, 1);
  head.writeUInt16LE(branch, 5);
  head.writeUInt8(subjects.length, 7);
  subjects.forEach((s, i) => {
    const at = 8 + 8 * i;
    head.writeUInt8(s.x, at);
    head.writeUInt8(s.y, at + 1);
    head.writeUInt8(s.bits, at + 2);
    head.writeUInt8(s.action, at + 3);
    head.writeFloatLE(s.reward, at + 4);
  });
  const all = Buffer.concat([head, payload]);
  return all.buffer.slice(all.byteOffset, all.byteOffset + all.byteLength) as ArrayBuffer;
}

/** A delta before it is deflated: cells by index, each of one colour. */
function delta(cells: [number, [number, number, number]][]): Uint8Array<ArrayBuffer> {
  const out = Buffer.alloc(2 + cells.length * (2 + 192));
  out.writeUInt16LE(cells.length, 0);
  cells.forEach(([index], i) => out.writeUInt16LE(index, 2 + 2 * i));
  cells.forEach(([, colour], i) => {
    for (let p = 0; p < 64; p++) out.set(colour, 2 + 2 * cells.length + i * 192 + 3 * p);
  });
  return Uint8Array.from(out);
}

const blank = (columns: number, rows: number): Picture => ({
  width: columns * CELL, height: rows * CELL, pixels: new Uint8ClampedArray(columns * CELL * rows * CELL * 4),
});
const pixel = (picture: Picture, x: number, y: number): number[] => [...picture.pixels.subarray((y * picture.width + x) * 4, (y * picture.width + x) * 4 + 4)];

describe("parseFrame", () => {
  it("reads a whole frame's header, subjects and PNG bytes", () => {
    const png = Uint8Array.from([137, 80, 78, 71]);
    const frame = parseFrame(message(1, 70_000, 513, [{ x: 12, y: 8, bits: 3 | 4, action: 7, reward: 1.5 }, { x: 0, y: 255, bits: 0, action: 255, reward: -2 }], png));
    expect(frame).toMatchObject({ kind: "key", simulator: false, step: 70_000, branch: 513 });
    expect(frame.subjects).toEqual([
      { x: 12, y: 8, facing: 3, alive: true, action: 7, reward: 1.5 },
      { x: 0, y: 255, facing: 0, alive: false, action: null, reward: -2 },
    ]);
    expect([...frame.payload]).toEqual([...png]);
  });

  it.each([[1, "key", false], [2, "delta", false], [3, "key", true], [4, "delta", true]] as const)("knows kind %i", (kind, name, simulator) => {
    expect(parseFrame(message(kind, 0, 0, [], new Uint8Array(0)))).toMatchObject({ kind: name, simulator });
  });

  it("refuses what is cut off or unknown", () => {
    const whole = message(1, 0, 0, [{ x: 0, y: 0, bits: 4, action: 0, reward: 0 }], new Uint8Array(0));
    expect(() => parseFrame(whole.slice(0, 15))).toThrow(WireError);
    expect(() => parseFrame(whole.slice(0, 3))).toThrow(WireError);
    expect(() => parseFrame(message(9, 0, 0, [], new Uint8Array(0)))).toThrow(WireError);
  });
});

describe("applyDelta", () => {
  it("writes the changed cells and nothing else", () => {
    const picture = blank(3, 2);
    expect(applyDelta(picture, delta([[4, [10, 20, 30]]]))).toEqual([4]);
    expect(pixel(picture, 8, 8)).toEqual([10, 20, 30, 255]);
    expect(pixel(picture, 15, 15)).toEqual([10, 20, 30, 255]);
    for (const [x, y] of [[7, 8], [16, 8], [8, 7], [0, 0]] as const) expect(pixel(picture, x, y)).toEqual([0, 0, 0, 0]);
  });

  it("takes an empty delta", () => {
    expect(applyDelta(blank(2, 2), delta([]))).toEqual([]);
  });

  it("refuses cells outside and wrong lengths", () => {
    expect(() => applyDelta(blank(2, 2), delta([[4, [1, 1, 1]]]))).toThrow(WireError);
    expect(() => applyDelta(blank(2, 2), delta([[1, [1, 1, 1]]]).slice(0, -1))).toThrow(WireError);
    expect(() => applyDelta(blank(2, 2), new Uint8Array(1))).toThrow(WireError);
  });
});

describe("FrameDecoder", () => {
  const decodePng = async (): Promise<Picture> => blank(2, 1);

  it("puts deflated deltas on the last whole frame", async () => {
    const decoder = new FrameDecoder(decodePng);
    expect((await decoder.decode(parseFrame(message(1, 0, 0, [], new Uint8Array(1))))).changed).toBeNull();
    const packed = Uint8Array.from(deflateSync(delta([[1, [1, 2, 3]]])));
    const { picture, changed } = await decoder.decode(parseFrame(message(2, 1, 0, [], packed)));
    expect(changed).toEqual([1]);
    expect(pixel(picture, 9, 3)).toEqual([1, 2, 3, 255]);
  });

  it("refuses a delta before any whole frame, and after a reset", async () => {
    const decoder = new FrameDecoder(decodePng);
    const packed = parseFrame(message(2, 1, 0, [], Uint8Array.from(deflateSync(delta([])))));
    await expect(decoder.decode(packed)).rejects.toThrow(WireError);
    await decoder.decode(parseFrame(message(1, 0, 0, [], new Uint8Array(1))));
    decoder.reset();
    await expect(decoder.decode(packed)).rejects.toThrow(WireError);
  });

  it("inflates what zlib deflates", async () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251);
    expect([...(await inflate(Uint8Array.from(deflateSync(bytes))))]).toEqual([...bytes]);
  });
});

describe("differingCells", () => {
  it("names the cells that look different", () => {
    const [a, b] = [blank(3, 2), blank(3, 2)];
    applyDelta(b, delta([[5, [9, 9, 9]], [0, [200, 0, 0]], [2, [8, 8, 8]]]));
    expect(differingCells(a, b)).toEqual([0, 5]);
    expect(differingCells(a, b, 0)).toEqual([0, 2, 5]);
    expect(differingCells(a, a, 0)).toEqual([]);
    expect(differingCells(a, blank(2, 2))).toEqual([]);
  });
});
