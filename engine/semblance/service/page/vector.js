// A picture's vector, where a model is served without a gallery. In: what /v1/embed answered. Out: its numbers as bars
// and as figures, its norm, and a button that copies all of them as JSON.

import { announce, byId, count, element, pair } from "./dom.js";

const NUM_SHOWN = 16;
const SVG = "http://www.w3.org/2000/svg";

/** Show the vector of the one picture that was embedded. */
export function showVector(answer) {
  const vector = answer.embeddings[0].map(Number);
  const norm = Math.hypot(...vector);
  const shown = vector.slice(0, NUM_SHOWN).map((value) => element("li", {}, value.toFixed(4)));
  const copy = element("button", { type: "button", class: "plain-button" }, "Copy as JSON");
  copy.addEventListener("click", () => copyText(copy, JSON.stringify(vector)));
  const rest = vector.length - shown.length;
  byId("vector").replaceChildren(
    bars(vector),
    facts({ Norm: norm, Least: Math.min(...vector), Most: Math.max(...vector) }, answer.metric),
    element("h3", {}, "First numbers"),
    element("ol", { class: "numbers", start: 0 }, ...shown),
    element("p", { class: "hint" }, rest > 0 ? `and ${count(rest)} more` : "which are all"),
    copy,
  );
}

function facts(figures, metric) {
  const pairs = Object.entries(figures).map(([name, value]) => pair(name, value.toFixed(4)));
  return element("dl", { class: "facts" }, ...pairs, pair("Metric", metric));
}

/** Every number as a bar up or down from the middle. */
function bars(vector) {
  const largest = Math.max(...vector.map(Math.abs), Number.MIN_VALUE);
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  const drawn = vector.map((value, at) => `M${at + 0.15} 50h.7v${((-48 * value) / largest).toFixed(2)}h-.7z`);
  path.setAttribute("d", drawn.join(""));
  svg.setAttribute("viewBox", `0 0 ${vector.length} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${count(vector.length)} numbers as bars, the largest ${largest.toFixed(4)}`);
  svg.append(path);
  return svg;
}

async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not a secure context, as http:// on another machine is none
    const area = element("textarea", { class: "off-screen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  announce("Copied");
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy as JSON"), 2000);
}
