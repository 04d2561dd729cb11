// What is known of the element or the connection that was chosen, and what can be done to it.

import uPlot from "./vendor/uplot.js";
import { ask, bits, element } from "./dom.js";
import { Console } from "./console.js";
import { sliders } from "./impair.js";

export class Details {
  constructor(place, history) {
    this.place = place;
    this.history = history;
    this.write = false;
    this.wireshark = false;
    this.lab = "";
    this.here = true;
    this.plot = null;
    this.console = null;
  }

  show(chosen, status) {
    this.plot?.destroy();
    this.plot = null;
    this.console?.close();
    this.console = null;
    this.facts = element("dl");
    const title = element("h2", { id: "details-title" }, `${chosen.kind === "element" ? "Element" : "Connection"} ${chosen.name}`);
    this.place.replaceChildren(title, this.facts);
    this.observer?.disconnect();
    if (chosen.kind === "connection") this.addConnection(chosen.name);
    if (chosen.kind === "element" && status.consoles.includes(chosen.name)) this.console = new Console(this.place, chosen.name);
    this.update(chosen, status);
  }

  update(chosen, status) {
    const facts = chosen.kind === "element" ? this.element(chosen.name, status) : this.connection(chosen.name, status);
    this.facts.replaceChildren(...facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
    if (this.plot) this.plot.setData(this.history.series(chosen.name));
  }

  element(name, status) {
    const found = status.elements.find((each) => each.name === name);
    if (!found) return [["State", "it is not in the lab any more"]];
    const known = Object.entries(found.details ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
    return [["State", found.reason ? `${found.state}: ${found.reason}` : found.state], ["Module", found.module],
      ["Since", new Date(found.since * 1000).toLocaleString()],
      ...known.map(([key, value]) => [key.replaceAll("_", " "), String(value)]),
      ...Object.entries(found.counters).map(([key, value]) => [key, this.counters(value)])];
  }

  connection(name, status) {
    const found = status.connections.find((each) => `${each.from}:${each.to}` === name);
    if (!found) return [["State", "it is not in the lab any more"]];
    const rows = [[`${found.from} sends`, this.counters(found.sent)], [`${found.to} sends`, this.counters(found.received)]];
    const impaired = status.impairments.find((each) => [each.element, each.other].sort().join() === [found.from, found.to].sort().join());
    if (impaired) {
      rows.push([`Impaired from ${impaired.element}`, impaired.out || "no"], [`Impaired from ${impaired.other}`, impaired.in || "no"],
        ["Frames that wait", String(impaired.waiting)]);
    }
    return rows;
  }

  counters(counters) {
    const drops = Object.entries(counters.drops).map(([reason, count]) => `${count} dropped: ${reason}`);
    return [`${counters.frames} frames, ${counters.bytes} bytes, ${bits(counters.bits_per_second)}`, ...drops].join("; ");
  }

  addConnection(name) {
    const place = element("div", { class: "plot" });
    this.place.append(element("h3", {}, "Last minutes"), place);
    const ink = getComputedStyle(document.body).color;
    const axis = { stroke: ink, grid: { stroke: "#8885", width: 1 } };
    this.plot = new uPlot({
      width: place.clientWidth, height: 180,
      series: [{}, { label: "out", stroke: "#2f81d6", width: 2 }, { label: "in", stroke: "#d6702f", width: 2, dash: [6, 3] }],
      axes: [axis, { ...axis, size: 86, values: (plot, ticks) => ticks.map(bits) }],
    }, this.history.series(name), place);
    this.observer = new ResizeObserver(() => this.plot?.setSize({ width: place.clientWidth, height: 180 }));
    this.observer.observe(place);
    this.addCapture(name);
    if (this.write) this.place.append(sliders(...name.split(":")));
  }

  addCapture(name) {
    const filter = element("input", { id: "filter", size: 14, placeholder: "icmp" });
    const count = element("input", { id: "count", type: "number", min: 1, value: 100 });
    const start = element("button", { type: "button", id: "capture" }, "Capture to a file");
    start.addEventListener("click", () => {
      const asked = new URLSearchParams({ connection: name, filter: filter.value, count: count.value });
      const link = element("a", { href: `/api/capture?${asked}`, download: "" });
      document.body.append(link);
      link.click();
      link.remove();
    });
    const said = element("p", { role: "status", class: "hint" });
    const buttons = element("div", { class: "buttons" }, element("label", { for: "filter" }, "Filter"), filter,
      element("label", { for: "count" }, "Frames"), count, start);
    this.place.append(element("h3", {}, "Capture"), buttons, said);
    const command = `tmelink capture ${this.lab} ${name} -w - | wireshark -k -i -`;
    if (this.wireshark) {
      const open = element("button", { type: "button", id: "wireshark" }, "Open in Wireshark");
      open.addEventListener("click", async () => {
        try {
          await ask("/api/wireshark", { connection: name });
          said.textContent = "Wireshark opens on the computer that this page comes from";
        } catch (error) {
          said.textContent = error.message;
        }
      });
      buttons.append(open);
    } else if (this.here) {
      const copy = element("button", { type: "button", id: "wireshark" }, "Copy the command for Wireshark");
      copy.addEventListener("click", async () => {
        await navigator.clipboard?.writeText(command);
        said.textContent = navigator.clipboard ? "copied" : "the browser lets no page copy here";
      });
      buttons.append(copy);
      this.place.append(element("p", { class: "hint" }, "Live in Wireshark: ", element("code", {}, command)));
    }
  }
}
