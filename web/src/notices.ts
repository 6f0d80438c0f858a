/** Short messages that come and go, read aloud by screen readers, and the banner that stays while something is wrong. */

import { h, setText } from "./dom";

const SHOWN_MS = 3000;
const MS_PER_LETTER = 45;

export class Notices {
  readonly root = h("div", { class: "notices", role: "log", "aria-live": "polite" });
  readonly banner = h("div", { class: "banner", role: "alert", hidden: true });
  private readonly text = h("p");
  private readonly actions = h("div", { class: "group" });

  constructor() {
    this.banner.append(this.text, this.actions);
  }

  /** Say something for a while; saying it again only keeps it longer. */
  say(message: string, kind: "notice" | "error" = "notice"): void {
    const text = `${message.charAt(0).toUpperCase()}${message.slice(1)}`;
    const same = [...this.root.children].find((child) => child.textContent === text);
    same?.remove();
    const toast = h("p", { class: `toast ${kind}` }, text);
    this.root.append(toast);
    while (this.root.children.length > 3) this.root.firstElementChild?.remove();
    window.setTimeout(() => toast.remove(), SHOWN_MS + MS_PER_LETTER * text.length);
  }

  /** Keep a message up until `settle`. */
  hold(message: string, ...actions: HTMLElement[]): void {
    setText(this.text, message);
    this.actions.replaceChildren(...actions);
    this.banner.hidden = false;
  }

  /** Take the banner away. */
  settle(): void {
    this.banner.hidden = true;
  }
}
