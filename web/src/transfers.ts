/** What leaves the room and comes into it: films, replays, scene files, links to scenes. */

import { withKey } from "./api";
import { h } from "./dom";
import { linkField } from "./invite";
import { openDialog } from "./menu";
import type { ClientMessage } from "./protocol";
import { MOST_BASE64, toBase64 } from "./scenes";

export class Transfers {
  private sharing = false;

  constructor(
    private readonly send: (message: ClientMessage) => void,
    private readonly say: (message: string, kind?: "notice" | "error") => void,
  ) {}

  /** Ask for a file of what was played. */
  exportAs(format: "mp4" | "gif" | "replay"): void {
    this.say("Preparing the file…");
    this.send({ type: "export", format });
  }

  /** Ask for a link to the scene. */
  share(): void {
    this.sharing = true;
    this.send({ type: "save_scene" });
  }

  /** Take a file that the server has ready: a download, or the link that was asked for. */
  arrived(url: string, name: string, world: string, saved?: string): void {
    if (this.sharing && saved !== undefined) {
      this.sharing = false;
      return this.showLink(world, saved);
    }
    const link = h("a", { href: withKey(url), download: name, hidden: true });
    document.body.append(link);
    link.click();
    link.remove();
    this.say(`${name} is ready.`);
  }

  /** Start from a scene file of this person. */
  async open(file: File): Promise<void> {
    const base64 = toBase64(new Uint8Array(await file.arrayBuffer()));
    if (base64.length <= MOST_BASE64) return this.send({ type: "load_scene", data: base64 });
    this.say(`${file.name} is too large for a scene file: ${Math.ceil(file.size / 1024)} kB, but at most 146 kB fit.`, "error");
  }

  private showLink(world: string, saved: string): void {
    const link = new URL(withKey("/", { world, saved }), location.href).href;
    const text = "Whoever opens this link starts a room of their own from this scene, as long as this server runs. Save keeps it as a file.";
    openDialog("Share this scene", "invite", h("p", {}, text), linkField(link, (message) => this.say(message)));
  }
}
