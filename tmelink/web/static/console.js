// The console of an emulator: xterm.js shows what it writes, and sends what is typed.

import { Terminal } from "./vendor/xterm.js";
import { ask, element } from "./dom.js";

// xterm.js puts its rules into style elements, which the page's policy forbids. A style sheet that a script has made is
// allowed, so each of those elements hands its text to one.
function withStyleSheets(open) {
  const original = document.createElement;
  const sheets = [];
  document.createElement = function createElement(name, ...more) {
    if (name !== "style") return original.call(document, name, ...more);
    const sheet = new CSSStyleSheet();
    sheets.push(sheet);
    document.adoptedStyleSheets.push(sheet);
    const stand = original.call(document, "span");
    stand.hidden = true;
    Object.defineProperty(stand, "textContent", { set: (text) => sheet.replaceSync(text) });
    return stand;
  };
  try {
    open();
  } finally {
    document.createElement = original;
  }
  return () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !sheets.includes(sheet));
  };
}

const ESCAPE_HINT = "Tab and all other keys go to the emulator; Ctrl+F6 leaves the console.";

export class Console {
  constructor(place, name) {
    this.name = name;
    this.terminal = new Terminal({ rows: 24, cols: 80, fontSize: 13, screenReaderMode: true, convertEol: false });
    const screen = element("div", { class: "console" });
    const said = element("p", { role: "status", class: "hint" }, ESCAPE_HINT);
    place.append(element("h3", {}, "Console"), screen, said);
    this.forget = withStyleSheets(() => this.terminal.open(screen));
    this.terminal.textarea?.setAttribute("aria-label", `Console of ${name}`);
    this.terminal.onData((text) => this.send(text, said));
    this.terminal.attachCustomKeyEventHandler((event) => {
      if (event.key !== "F6" || !event.ctrlKey) return true;
      event.preventDefault();
      if (event.type === "keydown") place.focus();
      return false;
    });
    this.events = new EventSource(`/api/console?${new URLSearchParams({ element: name })}`);
    // A stream that begins again begins with what was written last.
    this.events.addEventListener("open", () => this.terminal.reset());
    this.events.addEventListener("output", (message) => {
      this.terminal.write(Uint8Array.from(atob(JSON.parse(message.data)), (each) => each.charCodeAt(0)));
    });
  }

  async send(text, said) {
    try {
      await (this.sent = (this.sent ?? Promise.resolve()).then(() => ask("/api/console", { element: this.name, text })));
    } catch (error) {
      said.textContent = error.message;
      this.sent = undefined;
    }
  }

  close() {
    this.events.close();
    this.terminal.dispose();
    this.forget();
  }
}
