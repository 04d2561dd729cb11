// Sliders that impair a connection in both directions, in tc-netem's words.

import { ask, element } from "./dom.js";

// Word, label, largest value of the slider, unit of the word.
const KINDS = [
  ["delay", "Delay", 500, "ms"],
  ["loss", "Loss", 50, "%"],
  ["rate", "Rate", 100, "mbit"],
];

export function sliders(first, second) {
  const place = element("div", { id: "impair" }, element("h3", {}, "Impairment"));
  const grid = element("div", { class: "sliders" });
  const said = element("p", { role: "status", class: "hint" });
  const inputs = KINDS.map(([word, label, most, unit]) => {
    const input = element("input", { type: "range", id: `impair-${word}`, min: 0, max: most, step: 1, value: 0 });
    const shown = element("output", { for: input.id }, "as it is");
    input.addEventListener("input", () => { shown.textContent = `${input.value} ${unit}`; input.dataset.touched = "yes"; });
    grid.append(element("label", { for: input.id }, label), input, shown);
    return [input, word, unit];
  });
  const send = async (words) => {
    try {
      const holds = await ask("/api/impair", { element: first, other: second, words });
      said.className = "hint";
      said.textContent = `out: ${holds.out || "not impaired"}; in: ${holds.in || "not impaired"}`;
    } catch (error) {
      said.className = "error";
      said.textContent = error.message;
    }
  };
  const apply = element("button", { type: "button", id: "impair-apply" }, "Impair");
  apply.addEventListener("click", () => {
    const words = inputs.filter(([input]) => input.dataset.touched)
      .flatMap(([input, word, unit]) => [word, word === "rate" && input.value === "0" ? "0" : `${input.value}${unit}`]);
    if (words.length) send(words);
  });
  const clear = element("button", { type: "button", id: "impair-clear" }, "Clear");
  clear.addEventListener("click", () => send(["clear"]));
  place.append(grid, element("div", { class: "buttons" }, apply, clear), said);
  return place;
}
