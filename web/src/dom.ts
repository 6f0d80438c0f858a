/** Making elements. Text is always set as text, never parsed. */

type Child = Node | string | null | false | undefined;
type Props = Record<string, unknown>;

/** Return an element with properties (`on*` listeners, `class`, `aria-*`, `data-*` and plain ones) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) apply(element, name, value);
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false && child !== undefined));
  return element;
}

function apply(element: HTMLElement, name: string, value: unknown): void {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
  else if (name === "class") element.className = String(value);
  else if (value === true) element.setAttribute(name, "");
  else element.setAttribute(name, String(value));
}

/** Set an element's text only where it changed, so that screen readers and layout are left in peace. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Set or remove an attribute only where it changed. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const SVG = "http://www.w3.org/2000/svg";

/** Strokes (24 x 24) of the icons; a leading "#" means filled. */
const ICONS = {
  play: ["#M8 5.2v13.6a.8.8 0 0 0 1.2.7l10.6-6.8a.8.8 0 0 0 0-1.4L9.2 4.5A.8.8 0 0 0 8 5.2Z"],
  pause: ["#M7 5h3.4v14H7zM13.6 5H17v14h-3.4z"],
  step: ["#M6 5.6v12.8a.7.7 0 0 0 1.1.6l8.4-6.4a.8.8 0 0 0 0-1.2L7.1 5a.7.7 0 0 0-1.1.6Z", "M18.5 5.5v13"],
  reset: ["M4.5 5v4.5H9", "M5 9.5a7.5 7.5 0 1 1-.6 5.2"],
  fork: ["M7 4v16", "M7 13c0-4 10-2 10-7", "M14 7.5 17 4.5l3 3"],
  now: ["M5 6l6 6-6 6", "M12 6l6 6-6 6"],
  eye: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12Z", "M12 9.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6Z"],
  compare: ["M4 5h6.5v14H4z", "M13.5 5H20v14h-6.5z"],
  edit: ["M4.5 19.5l1-4.2L16.2 4.6a1.6 1.6 0 0 1 2.3 0l.9.9a1.6 1.6 0 0 1 0 2.3L8.7 18.5l-4.2 1Z", "M14.5 6.5l3 3"],
  export: ["M12 4v11", "M7.5 10.5 12 15l4.5-4.5", "M5 19.5h14"],
  more: ["#M6 10.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2ZM12 10.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2ZM18 10.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2Z"],
  invite: ["M10 6.2a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6Z", "M3.8 19.5c.6-3 3-4.6 6.2-4.6s5.6 1.6 6.2 4.6", "M19 6.5v6M16 9.5h6"],
  people: ["M9 6a3.2 3.2 0 1 0 0 6.4A3.2 3.2 0 0 0 9 6Z", "M3 18.8c.5-2.8 2.8-4.3 6-4.3s5.500 1.500 6 4.300", "M16 6.300a3 3 0 0 1 0 5.800M17.500 14.800c2 .5 3.200 1.900 3.500 4"],
  theme: ["M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17Z", "#M12 3.500a8.500 8.500 0 0 1 0 17Z"],
  close: ["M6 6l12 12M18 6 6 18"],
  grid: ["M4.500 4.500h6v6h-6zM13.500 4.500h6v6h-6zM4.500 13.500h6v6h-6zM13.500 13.500h6v6h-6z"],
  move: ["M12 3.500v17M3.500 12h17", "M9.500 6 12 3.500 14.500 6M9.500 18l2.500 2.500 2.500-2.500M6 9.500 3.500 12 6 14.500M18 9.500l2.500 2.500-2.500 2.500"],
  turn: ["M19.500 5v4.500H15", "M19 9.500a7.500 7.500 0 1 0 .6 5.200"],
  add: ["M12 5v14M5 12h14"],
  remove: ["M5 7h14", "M9.500 7V4.500h5V7", "M7 7l.8 12.500h8.400L17 7"],
  paint: ["M14 4.500 19.500 10 11 18.500 5.500 13z", "M5.500 13l-1.500 6.500L11 18.500"],
  save: ["M5 5h11l3 3v11H5z", "M8.500 5v4.500h6V5M8.500 19v-5.500h7V19"],
  load: ["M4 18.500V6h5.500l2 2.500H20v10z"],
  link: ["M10 14a4 4 0 0 0 5.700 0l3-3A4 4 0 0 0 13 5.300l-1 1", "M14 10a4 4 0 0 0-5.700 0l-3 3A4 4 0 0 0 11 18.700l1-1"],
  arrow: ["#M12 3.500 20 12h-4.600v8h-6.800v-8H4z"],
  bolt: ["#M13.500 3 5 13.500h5.500L9 21l9-11h-5.800z"],
  star: ["#M12 3l2.500 6.200 6.700.5-5.100 4.300 1.600 6.500L12 17l-5.700 3.500 1.600-6.500-5.100-4.300 6.700-.5z"],
  dot: ["#M12 9.800a2.200 2.200 0 1 1 0 4.400 2.200 2.200 0 0 1 0-4.400Z"],
  "turn-left": ["M8.500 4.500 4.500 8.500l4 4", "M5 8.500h8.500a5.500 5.500 0 0 1 0 11H9"],
  "turn-right": ["M15.500 4.500l4 4-4 4", "M19 8.500h-8.500a5.500 5.500 0 0 0 0 11H15"],
} as const satisfies Record<string, readonly string[]>;

export type IconName = keyof typeof ICONS;

/** Return the strokes of an icon, for drawing on a canvas. */
export function iconPaths(name: IconName): { path: string; filled: boolean }[] {
  return ICONS[name].map((d: string) => ({ path: d.replace("#", ""), filled: d.startsWith("#") }));
}

/** Return an icon, hidden from screen readers: what holds it has the label. */
export function icon(name: IconName, turns = 0): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  for (const { path, filled } of iconPaths(name)) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", path);
    if (filled) line.setAttribute("class", "filled");
    if (turns) line.setAttribute("transform", `rotate(${turns * 90} 12 12)`);
    svg.append(line);
  }
  return svg;
}

/** Return a button with an icon, a label for everybody, and optionally the label as text. */
export function iconButton(name: IconName, label: string, onclick: (event: MouseEvent) => void, text = ""): HTMLButtonElement {
  return h("button", { type: "button", class: text ? "button" : "button square", "aria-label": label, title: label, onclick }, icon(name), text && h("span", {}, text));
}
