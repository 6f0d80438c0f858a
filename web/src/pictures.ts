/** PNG pictures as exact pixels, by the browser's own decoder. */

import type { Picture } from "./wire";

/** Return the pixels of a PNG, unchanged by any colour profile. */
export async function decodePng(png: Uint8Array<ArrayBuffer>): Promise<Picture> {
  const bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true })!;
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, pixels: pen.getImageData(0, 0, width, height).data as Picture["pixels"] };
}

/** Return what this browser lacks to play, or null. */
export function missingFeature(): string | null {
  if (typeof WebSocket === "undefined") return "WebSocket";
  if (typeof DecompressionStream === "undefined") return "DecompressionStream";
  if (typeof OffscreenCanvas === "undefined") return "OffscreenCanvas";
  return null;
}
