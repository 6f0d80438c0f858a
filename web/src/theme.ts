/** Light and dark: as the system says, until somebody chooses. */

import { iconButton } from "./dom";
import { remembered } from "./storage";

function dark(): boolean {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Apply what was chosen at an earlier visit. */
export function applyTheme(): void {
  const chosen = remembered.get("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
}

/** Return a button that switches between light and dark. */
export function themeButton(): HTMLButtonElement {
  return iconButton("theme", "Light or dark", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset["theme"] = next;
    remembered.set("theme", next);
  });
}
