// The page: follows the lab by server-sent events, and gives each part of the page what it shows.

import { bits, element } from "./dom.js";
import { Details } from "./details.js";
import { Doctor } from "./doctor.js";
import { FileEditor } from "./file.js";
import { History } from "./history.js";
import { Topology } from "./topology.js";

const MOST_EVENTS = 500;
const history = new History();
const topology = new Topology(document.getElementById("topology"), choose);
const details = new Details(document.getElementById("details"), history);
const doctor = new Doctor(document.getElementById("doctor"));
const editor = new FileEditor(document.getElementById("file"));
let status = null;
let chosen = null;

function choose(kind, name) {
  chosen = { kind, name };
  topology.mark(name);
  details.show(chosen, status);
  document.getElementById("details").focus({ preventScroll: true });
}

function counted(counters) {
  return Object.values(counters.drops).reduce((sum, count) => sum + count, 0);
}

function nameOf(connection) {
  return `${connection.from}:${connection.to}`;
}

// Rows stay where they are, so that whoever reads or has the focus is not disturbed.
function rows(table, items, key, fill) {
  const body = document.querySelector(`#${table} tbody`);
  const before = new Map([...body.children].map((row) => [row.dataset.key, row]));
  for (const item of items) {
    const name = key(item);
    let row = before.get(name);
    before.delete(name);
    if (!row) {
      row = element("tr", { "data-key": name });
      body.append(row);
    }
    fill(row, item, name);
  }
  for (const row of before.values()) row.remove();
}

function cells(row, kind, name, texts) {
  if (!row.children.length) {
    const button = element("button", { type: "button", class: "choice" }, name);
    button.addEventListener("click", () => choose(kind, name));
    row.append(element("td", {}, button), ...texts.map(() => element("td")));
  }
  texts.forEach(([text, style], number) => {
    const cell = row.children[number + 1];
    if (cell.textContent !== text) cell.textContent = text;
    cell.className = style;
  });
}

function showStatus(now) {
  status = now;
  history.add(now);
  topology.show(now);
  document.getElementById("summary").textContent = `${now.up} of ${now.total} elements up`;
  rows("elements", now.elements, (each) => each.name, (row, each, name) =>
    cells(row, "element", name, [
      [each.reason ? `${each.state}: ${each.reason}` : each.state, each.state],
      [each.summary, ""],
    ]));
  rows("connections", now.connections, nameOf, (row, each, name) =>
    cells(row, "connection", name, [
      [bits(history.rate(name, "sent")), "number"],
      [bits(history.rate(name, "received")), "number"],
      [String(counted(each.sent) + counted(each.received)), "number"],
    ]));
  if (chosen) details.update(chosen, now);
}

function showEvent(event) {
  const log = document.getElementById("log");
  const time = new Date(event.time * 1000);
  log.prepend(element("li", {},
    element("time", { datetime: time.toISOString() }, time.toLocaleTimeString()),
    [event.element, event.kind, event.detail].filter(Boolean).join(" ")));
  while (log.children.length > MOST_EVENTS) log.lastChild.remove();
}

const live = new EventSource("/api/live");
live.addEventListener("hello", (message) => {
  const hello = JSON.parse(message.data);
  document.getElementById("lab").textContent = hello.name;
  document.title = `${hello.name} – tmelink`;
  document.getElementById("log").replaceChildren();
  details.write = hello.write;
  details.wireshark = hello.wireshark;
  details.lab = hello.name;
  details.here = hello.here;
  if (hello.write && hello.here) editor.open();
  doctor.look();
});
live.addEventListener("status", (message) => showStatus(JSON.parse(message.data)));
live.addEventListener("happened", (message) => showEvent(JSON.parse(message.data)));
live.addEventListener("gone", (message) => {
  document.getElementById("summary").textContent = JSON.parse(message.data).message;
});
live.addEventListener("error", () => {
  document.getElementById("summary").textContent = "the page's server does not answer; trying again";
});
