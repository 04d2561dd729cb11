// The lab's file: what would change is shown before it can be applied.

import { ask } from "./dom.js";

export class FileEditor {
  constructor(place) {
    this.place = place;
    this.text = place.querySelector("#text");
    this.button = place.querySelector("#apply");
    this.difference = place.querySelector("#difference");
    place.querySelector("#compare").addEventListener("click", () => this.send(true));
    this.button.addEventListener("click", () => this.send(false));
    this.text.addEventListener("input", () => { this.button.disabled = true; });
  }

  async open() {
    if (!this.place.hidden) return;
    this.place.hidden = false;
    try {
      this.text.value = (await ask("/api/file")).text;
    } catch (error) {
      this.say("error", error.message);
    }
  }

  async send(dry) {
    try {
      const done = await ask("/api/apply", { text: this.text.value, dry_run: dry });
      const lines = done.changes.map((change) => `${change.kind}  ${change.what}${change.why ? `  (${change.why})` : ""}`);
      const failed = Object.entries(done.failed).map(([name, error]) => `${name}: ${error}`);
      this.say(failed.length ? "error" : "", [...lines, ...failed].join("\n") || "nothing differs");
      this.button.disabled = !dry || !lines.length;
    } catch (error) {
      this.say("error", error.message);
      this.button.disabled = true;
    }
  }

  say(style, text) {
    this.difference.className = style;
    this.difference.textContent = text;
  }
}
