// What `tmelink doctor` finds: each finding with what shows it, and what helps.

import { ask, element } from "./dom.js";

export class Doctor {
  constructor(place) {
    this.list = place.querySelector("#findings");
    this.said = place.querySelector("[role=status]");
    this.button = place.querySelector("button");
    this.button.addEventListener("click", () => this.look());
  }

  async look() {
    this.button.disabled = true;
    this.said.textContent = "looking…";
    try {
      const findings = await ask("/api/doctor");
      this.said.textContent = findings.length ? `${findings.length} found, the most likely first` : "nothing is wrong that this can see";
      this.list.replaceChildren(...findings.map((each) => element("li", {},
        element("strong", {}, each.element ? `${each.element}: ${each.text}` : each.text),
        element("p", {}, each.evidence), element("p", { class: "remedy" }, each.remedy))));
    } catch (error) {
      this.said.textContent = error.message;
    }
    this.button.disabled = false;
  }
}
