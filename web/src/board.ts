/** One picture of the world, enlarged by whole factors, with a finer layer above it for rings and marks. */

import { h } from "./dom";
import { CELL, type Picture } from "./wire";

/** CSS pixels around the picture that the finer layer may draw on: labels at the edge. */
const MARGIN = 28;

export class Board {
  readonly root: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly layer: HTMLCanvasElement;
  private readonly caption: HTMLElement;
  private image: ImageData | null = null;
  /** Device pixels per cell. */
  cell = 0;
  private ratio = 1;

  constructor(label: string, className: string) {
    this.canvas = h("canvas", { class: "pixels", width: 8, height: 8 });
    this.layer = h("canvas", { class: "marks", "aria-hidden": "true" });
    this.caption = h("figcaption", {}, label);
    this.root = h("figure", { class: `board ${className}` }, this.canvas, this.layer, this.caption);
  }

  /** Show a picture. */
  show(picture: Picture): void {
    if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
      this.canvas.width = picture.width;
      this.canvas.height = picture.height;
    }
    if (this.image?.data !== picture.pixels) this.image = new ImageData(picture.pixels, picture.width, picture.height);
    this.canvas.getContext("2d")!.putImageData(this.image, 0, 0);
  }

  /** Return what the picture is now, or null before the first. */
  get picture(): Picture | null {
    return this.image && { width: this.image.width, height: this.image.height, pixels: this.image.data as Picture["pixels"] };
  }

  /** Set the size: `factor` device pixels for each pixel of the world. */
  resize(width: number, height: number, factor: number, ratio: number): void {
    this.ratio = ratio;
    this.cell = CELL * factor;
    const css = [(width * factor) / ratio, (height * factor) / ratio] as const;
    for (const element of [this.root, this.canvas]) {
      element.style.width = `${css[0]}px`;
      element.style.height = `${css[1]}px`;
    }
    const full = [css[0] + 2 * MARGIN, css[1] + 2 * MARGIN] as const;
    this.layer.style.width = `${full[0]}px`;
    this.layer.style.height = `${full[1]}px`;
    this.layer.style.inset = `${-MARGIN}px`;
    this.layer.width = Math.round(full[0] * ratio);
    this.layer.height = Math.round(full[1] * ratio);
  }

  /** Return a pen on a clean layer whose origin is the picture's corner, in device pixels. */
  pen(): CanvasRenderingContext2D {
    const pen = this.layer.getContext("2d")!;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.layer.width, this.layer.height);
    pen.translate(MARGIN * this.ratio, MARGIN * this.ratio);
    return pen;
  }

  /** Return the device pixels in one CSS pixel. */
  get scale(): number {
    return this.ratio;
  }

  /** Return where in the world, in cells, a point of the window is. */
  cellAt(clientX: number, clientY: number): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    const css = this.cell / this.ratio;
    return { x: (clientX - box.left) / css, y: (clientY - box.top) / css };
  }
}
