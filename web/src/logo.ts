/** The mark of the project. */

/** Return the mark: three little subjects, pixel by pixel. */
export function logo(): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 9");
  svg.setAttribute("class", "logo");
  svg.setAttribute("aria-hidden", "true");
  const body = "M1 0h1v1h2v-1h1v1h1v4h-1v2h-1v-1h-2v1h-1v-2h-1v-4h1zM2 2v1h1v-1zM4 2h-1v1h1z";
  ["#ff5964", "#ffd23f", "#3fa9ff"].forEach((fill, i) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", body);
    path.setAttribute("fill", fill);
    path.setAttribute("fill-rule", "evenodd");
    path.setAttribute("transform", `translate(${i * 7} ${i === 1 ? 0 : 1})`);
    svg.append(path);
  });
  return svg;
}
