/** The page: worlds, or a room, as the address says. */

import "./style.css";
import { createRoom, pageAddress, roomInAddress } from "./api";
import { h } from "./dom";
import { Gallery } from "./gallery";
import { logo } from "./logo";
import { missingFeature } from "./pictures";
import { Room } from "./room";
import { applyTheme, themeButton } from "./theme";

const app = document.getElementById("app")!;
let view: { close(): void } | null = null;

function show(next: { close(): void; root: HTMLElement }): void {
  view?.close();
  view = next;
  app.replaceChildren(next.root);
}

function showGallery(trouble?: string): void {
  document.title = "ActionParty";
  const header = h("header", { class: "topbar" }, h("span", { class: "brand" }, logo(), h("span", {}, "ActionParty")), h("span", { class: "spacer" }), themeButton());
  const gallery = new Gallery({ play: (world, scene) => void play(world.name, scene), join: (room) => enter(room) }, header);
  show(gallery);
  void gallery.load().then(() => trouble && tell(trouble));
}

function tell(message: string): void {
  const place = app.querySelector(".trouble");
  if (!(place instanceof HTMLElement)) return;
  place.textContent = message;
  place.hidden = false;
}

async function play(world: string, scene: number, saved: string | null = null): Promise<void> {
  try {
    enter(await createRoom(world, scene, saved), true);
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
  }
}

function enter(room: string, takeSeat = false): void {
  history.pushState(null, "", pageAddress(room));
  showRoom(room, takeSeat);
}

function showRoom(room: string, takeSeat: boolean): void {
  const leave = (): void => {
    history.pushState(null, "", pageAddress(null));
    showGallery();
  };
  show(new Room({ room, takeSeat, leave }));
}

function route(): void {
  const room = roomInAddress();
  const address = new URLSearchParams(location.search);
  const world = address.get("world");
  if (room) return showRoom(room, false);
  showGallery();
  if (world) void play(world, 0, address.get("saved"));
}

applyTheme();
const missing = missingFeature();
if (missing) {
  app.replaceChildren(h("main", { class: "sorry" }, h("h1", {}, "This browser cannot play here"), h("p", {}, `It has no ${missing}. Please use a current Firefox, Chrome, Edge or Safari.`)));
} else {
  window.addEventListener("popstate", route);
  route();
}
