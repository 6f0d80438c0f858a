/** Scene files on their way to the server: bytes as base64, within its limit. */

export const MOST_BASE64 = 200_000;

/** Return bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}
