/** The invite dialog: a link, the same as a QR code, and the name that others see. */

import qrcode from "qrcode-generator";
import { h, iconButton } from "./dom";
import { openDialog } from "./menu";
import { NAME_LIMIT } from "./storage";

const QUIET = 3;

/** Return a QR code of a text as a canvas; null where the text is too long for one. */
export function qrCanvas(text: string): HTMLCanvasElement | null {
  const code = qrcode(0, "M");
  try {
    code.addData(text);
    code.make();
  } catch {
    return null; // the encoder throws where the text does not fit the largest code
  }
  const count = code.getModuleCount();
  const canvas = h("canvas", { class: "qr", width: count + 2 * QUIET, height: count + 2 * QUIET, role: "img", "aria-label": "QR code of the link" });
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#10121a";
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      if (code.isDark(row, column)) pen.fillRect(column + QUIET, row + QUIET, 1, 1);
    }
  }
  return canvas;
}

/** Return whether only this machine can open an address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127\./.test(host);
}

/** Return a field with a link and a button that copies it. */
export function linkField(link: string, say: (message: string) => void): HTMLElement {
  const field = h("input", { type: "text", readonly: true, value: link, "aria-label": "Link", onfocus: () => field.select() });
  const copy = async (): Promise<void> => {
    field.select();
    try {
      await navigator.clipboard.writeText(link);
      say("Link copied.");
    } catch {
      say("Copy the selected link with Ctrl+C."); // no clipboard without a secure connection
    }
  };
  return h("div", { class: "link-field" }, field, iconButton("link", "Copy the link", () => void copy(), "Copy"));
}

/** Return for whom a link is good. */
export function explain(link: URL): string {
  if (!isLoopback(link.hostname)) return "Whoever opens this link joins this room and can take a free seat.";
  if (link.searchParams.has("key")) return "This address works on this machine only. For others, open the invite link that the server printed, and invite from there.";
  return "This server listens on this machine only: the link works in other windows here. To let others in, start it with: actionparty play --host 0.0.0.0";
}

/** Open the dialog. */
export function openInvite(link: string, name: string, rename: (name: string) => void, say: (message: string) => void): void {
  const field = h("input", { type: "text", value: name, maxlength: NAME_LIMIT, id: "your-name", autocomplete: "nickname" });
  field.addEventListener("change", () => {
    const wanted = field.value.trim();
    if (wanted) rename(wanted);
  });
  const code = qrCanvas(link);
  openDialog(
    "Invite friends", "invite",
    h("p", {}, explain(new URL(link))),
    ...(code ? [code] : []),
    linkField(link, say),
    h("label", { class: "your-name", for: "your-name" }, "Your name", field),
  );
}
