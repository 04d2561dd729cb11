// The picture: Cytoscape draws it, dagre lays it out; colours come from the page's style sheet.

import cytoscape from "./vendor/cytoscape.js";
import dagre from "./vendor/cytoscape-dagre.js";
import { bits } from "./dom.js";

cytoscape.use(dagre);

const LAYOUT = { name: "dagre", rankDir: "LR", nodeSep: 30, rankSep: 170, fit: true, padding: 24, animate: false };

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function style() {
  const ink = colour("--ink"), line = colour("--line");
  const states = { up: "--up", down: "--down", failed: "--down" };
  return [
    { selector: "node", style: { label: "data(label)", shape: "round-rectangle", width: "label", height: "label", padding: "9px", "text-valign": "center", "text-wrap": "wrap", color: ink, "background-color": colour("--card"), "border-width": 2, "border-color": colour("--other"), "font-size": 12 } },
    ...Object.entries(states).map(([state, name]) => ({ selector: `node[state = "${state}"]`, style: { "border-color": colour(name) } })),
    { selector: "node[state = 'down'], node[state = 'failed']", style: { "border-style": "dashed" } },
    { selector: "edge", style: { label: "data(label)", width: 2, "line-color": line, color: ink, "font-size": 10, "text-wrap": "wrap", "text-max-width": "150px", "curve-style": "bezier", "text-background-color": colour("--paper"), "text-background-opacity": 0.85, "text-background-padding": "2px" } },
    { selector: "edge[?impaired]", style: { "line-style": "dashed", "line-color": colour("--other") } },
    { selector: "edge[?between]", style: { "line-style": "dotted", width: 3, "line-color": colour("--accent") } },
    { selector: "node:parent", style: { "text-valign": "top", "border-width": 1, "border-color": line, "background-opacity": 0, "padding": "14px" } },
    { selector: ".chosen", style: { "border-width": 4, "line-color": colour("--accent"), width: 4 } },
    { selector: "node.chosen", style: { width: "label", "border-color": colour("--accent") } },
  ];
}

export class Topology {
  constructor(place, choose) {
    this.drawn = "";
    this.graph = cytoscape({ container: place, style: style(), minZoom: 0.2, maxZoom: 3, wheelSensitivity: 0.3 });
    this.graph.on("tap", "node:childless", (event) => choose("element", event.target.id()));
    this.graph.on("tap", "edge[name]", (event) => choose("connection", event.target.data("name")));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.graph.style(style()));
    new ResizeObserver(() => { this.graph.resize(); this.graph.fit(undefined, 24); }).observe(place);
  }

  show(status) {
    const impaired = new Map(status.impairments.map((each) =>
      [[each.element, each.other].sort().join(), each.out || each.in]));
    const links = status.links ?? [];
    const shape = JSON.stringify([status.elements.map((e) => e.name), status.connections.map((c) => [c.from, c.to]), links]);
    const changed = shape !== this.drawn;
    if (changed) {
      this.drawn = shape;
      this.graph.elements().remove();
    }
    this.graph.batch(() => {
      for (const each of status.elements) {
        const data = { id: each.name, state: each.state, label: `${each.name}\n${each.module.split("/").at(-1)}\n${each.state}` };
        if (each.host) {
          // The elements of a host are in a box of its own.
          data.parent = `host ${each.host}`;
          this.put("nodes", data.parent, { id: data.parent, label: each.host });
        }
        this.put("nodes", each.name, data);
      }
      for (const each of status.connections) {
        const name = `${each.from}:${each.to}`;
        const drops = [each.sent, each.received].flatMap((c) => Object.values(c.drops)).reduce((a, b) => a + b, 0);
        const words = impaired.get([each.from, each.to].sort().join()) ?? "";
        const label = [`${bits(each.sent.bits_per_second)} / ${bits(each.received.bits_per_second)}`,
          drops ? `${drops} dropped` : "", words].filter(Boolean).join("\n");
        this.put("edges", `edge ${name}`, { id: `edge ${name}`, source: each.from, target: each.to, name, label, impaired: Boolean(words) });
      }
      // Between hosts: the two ends of a link, which no connection of a lab joins.
      for (const each of links) {
        const id = `link ${each.from}:${each.to}`;
        this.put("edges", id, { id, source: each.from, target: each.to, label: "link", between: true });
      }
    });
    if (changed) this.graph.layout(LAYOUT).run();
  }

  put(group, id, data) {
    const known = this.graph.getElementById(id);
    if (known.nonempty()) known.data(data);
    else this.graph.add({ group, data });
  }

  mark(name) {
    this.graph.elements().removeClass("chosen");
    this.graph.getElementById(name).addClass("chosen");
    this.graph.getElementById(`edge ${name}`).addClass("chosen");
  }
}
