/** Small menus and dialogs made of the browser's own elements, so that focus and Escape work as people expect. */

import { h, icon, iconButton, type IconName } from "./dom";

export interface MenuItem {
  label: string;
  icon: IconName | null;
  run: () => void;
}

/** Open a menu at a button; it closes by itself. */
export function openMenu(anchor: HTMLElement, items: MenuItem[]): void {
  const menu = h("div", { class: "menu", popover: "auto", role: "menu" });
  const choose = (item: MenuItem): void => {
    menu.hidePopover();
    item.run();
  };
  menu.append(...items.map((item) =>
    h("button", { type: "button", role: "menuitem", onclick: () => choose(item) }, item.icon ? icon(item.icon) : h("span", { class: "icon" }), item.label)));
  menu.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState === "closed") menu.remove();
  });
  menu.addEventListener("keydown", (event) => moveFocus(menu, event));
  document.body.append(menu);
  menu.showPopover();
  place(menu, anchor);
  menu.querySelector("button")?.focus({ preventScroll: true });
}

function place(menu: HTMLElement, anchor: HTMLElement): void {
  const at = anchor.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.right - size.width, innerWidth - size.width - 8));
  const above = at.top - size.height - 8;
  menu.style.left = `${left}px`;
  menu.style.top = `${above > 8 ? above : Math.max(8, Math.min(at.bottom + 8, innerHeight - size.height - 8))}px`;
}

function moveFocus(menu: HTMLElement, event: KeyboardEvent): void {
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!way) return;
  event.preventDefault();
  const buttons = [...menu.querySelectorAll("button")];
  const now = buttons.indexOf(document.activeElement as HTMLButtonElement);
  buttons[(now + way + buttons.length) % buttons.length]?.focus();
}

/** Open a dialog with a heading; return a function that closes it. */
export function openDialog(title: string, className: string, ...content: (Node | string)[]): () => void {
  const close = (): void => dialog.close();
  const heading = h("h2", { id: `dialog-${className}` }, title);
  const dialog = h(
    "dialog", { class: `dialog ${className}`, "aria-labelledby": heading.id },
    h("header", {}, heading, iconButton("close", "Close", close)), ...content,
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return close;
}
