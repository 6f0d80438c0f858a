"use strict";
// Sorting: headings become buttons; text sorts by name, numbers by value, what was not measured comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const order = column ? Number(x) - Number(y) : x.localeCompare(y);
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// Charts: the legend tells the values under the pointer; pointing at a name keeps only its line bright.
for (const chart of document.querySelectorAll("figure.chart[data-steps]")) {
  const svg = chart.querySelector(":scope > svg");
  const cursor = svg.querySelector(".cursor");
  const moment = chart.querySelector(".moment output");
  const steps = chart.dataset.steps.split(" ");
  const items = [...chart.querySelectorAll(".legend li")];
  const values = items.map((item) => item.dataset.values.split(" "));
  const [left, right] = [Number(chart.dataset.left), Number(chart.dataset.right)];
  const show = (index) => {
    moment.textContent = steps[index];
    items.forEach((item, k) => (item.querySelector("output").textContent = values[k][index] ?? "–"));
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, ((event.clientX - box.left) / box.width - left) / (right - left)));
    const index = Math.min(steps.length - 1, Math.floor(share * steps.length));
    const x = (left + ((index + 0.5) / steps.length) * (right - left)) * svg.viewBox.baseVal.width;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
    show(index);
  });
  svg.addEventListener("pointerleave", () => {
    cursor.style.visibility = "";
    show(steps.length - 1);
  });
  for (const item of items) {
    const line = svg.querySelector(`[data-series="${item.dataset.series}"]`);
    const focus = (on) => {
      svg.classList.toggle("focused", on);
      line.classList.toggle("kept", on);
    };
    item.addEventListener("pointerenter", () => focus(true));
    item.addEventListener("pointerleave", () => focus(false));
  }
}

// Frames: a click, or Enter on a focused one, enlarges.
const dialog = document.createElement("dialog");
dialog.setAttribute("aria-label", "Enlarged frame");
document.body.append(dialog);
const enlarge = (frame) => {
  const image = frame.querySelector("img");
  const copy = frame.cloneNode(true);
  copy.removeAttribute("tabindex");
  copy.removeAttribute("role");
  copy.style.setProperty("--ratio", `${image.getAttribute("width")}/${image.getAttribute("height")}`);
  const native = Number(image.getAttribute("width"));
  const space = Math.min(innerWidth * 0.88 / native, (innerHeight * 0.88 - 70) / Number(image.getAttribute("height")));
  copy.style.setProperty("--zoom", `${native * Math.max(1, Math.min(8, Math.floor(space)))}px`);
  const form = document.createElement("form");
  form.method = "dialog";
  const words = document.createElement("span");
  words.textContent = image.alt;
  const close = document.createElement("button");
  close.textContent = "Close";
  form.append(words, close);
  dialog.replaceChildren(copy, form);
  dialog.showModal();
};
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
for (const frame of document.querySelectorAll(".strip .frame:not(.none)")) {
  frame.classList.add("zoomable");
  frame.tabIndex = 0;
  frame.setAttribute("role", "button");
  frame.setAttribute("aria-label", `Enlarge: ${frame.querySelector("img").alt}`);
  frame.addEventListener("click", () => enlarge(frame));
  frame.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      enlarge(frame);
    }
  });
}
