// One tool call: typed by the model, run, answered.

import { Code } from "/static/code.js";
import { label, say } from "/static/words.js";

const SVG = "http://www.w3.org/2000/svg";

// tool -> [icon, the argument that names what it is about]
const TOOLS = {
  write_file: ["M12.5 4.5l3 3L7 16H4v-3z", "path"],
  edit_file: ["M12.5 4.5l3 3L7 16H4v-3zM12 16h4", "path"],
  read_file: ["M5 3h7l3 3v11H5zM8 9h4M8 12.5h4", "path"],
  list_files: ["M3 5h5l1.5 2H17v9H3z", null],
  check_python: ["M10 2.8l6 2.2v4.5c0 3.7-2.5 6.3-6 7.7-3.5-1.4-6-4-6-7.7V5zM7.4 10l1.9 1.9L13 8.2", "path"],
  search_docs: ["M9 3.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM13.2 13.2L17 17", "query"],
};
const OTHER = ["M4 10h12M11 5l5 5-5 5", undefined];

// Long texts get a pane of code; of a change the old and the new text are told apart.
const PANES = { content: "", file_text: "", code: "", old: "-", new: "+" };
const PANE_NAMES = { old: "old", new: "newText" };

export class Card {
  constructor(name) {
    [this.icon, this.about] = TOOLS[name] ?? OTHER;
    this.name = name;
    this.panes = new Map();
    this.fields = new Map();
    this.typed = 0;
    this.element = make("article", "card");
    this.title = make("span", "what");
    this.chip = make("span", "chip");
    this.body = make("div", "body");
    this.body.hidden = true;
    const head = make("div", "head");
    const tool = make("span", "tool", name);
    this.element.setAttribute("aria-label", name);
    if (name in TOOLS) {
      say(tool, name);
      label(this.element, name);
    }
    head.append(icon(this.icon), tool, this.title, this.chip);
    this.element.append(head, this.body);
    this.state("typing", "typing", { count: 0 });
  }

  state(state, key = state, values = {}) {
    this.element.dataset.state = state;
    say(this.chip, key, values);
  }

  // --- the arguments ---

  start(path) {
    if (path.length !== 1) return;
    const [key] = path;
    if (this.about === undefined && !(key in PANES)) this.about = key;
    if (key in PANES) this.pane(key);
  }

  type(path, text) {
    this.typed += text.length;
    this.state("typing", "typing", { count: this.typed });
    const [key] = path;
    if (path.length !== 1) return;
    if (key in PANES) this.pane(key).append(text);
    else if (key === this.about) this.title.append(text);
    else this.field(key).append(text);
  }

  finishArgument(path, value) {
    if (path.length !== 1) return;
    const [key] = path;
    if (key in PANES && typeof value === "string") return this.pane(key).close();
    const text = typeof value === "string" ? value : JSON.stringify(value);
    (key === this.about ? this.title : this.field(key)).textContent = text;
  }

  /** The whole arguments at once, as a history has them. */
  fill(args) {
    this.recalled = true;
    for (const [key, value] of Object.entries(args ?? {})) {
      this.start([key]);
      if (key in PANES && typeof value === "string") this.pane(key).append(value);
      this.finishArgument([key], value);
    }
    this.ready();
  }

  ready() {
    for (const pane of this.panes.values()) pane.close();
    this.state("ready", "typed");
  }

  pane(key) {
    if (!this.panes.has(key)) {
      const pane = new Code({ path: this.title.textContent, sign: PANES[key], live: !this.recalled });
      pane.element.dataset.sign = PANES[key];
      if (key in PANE_NAMES) label(pane.element, PANE_NAMES[key]);
      else pane.element.setAttribute("aria-label", this.title.textContent || key);
      pane.element.setAttribute("role", "group");
      this.panes.set(key, pane);
      this.show(pane.element);
    }
    return this.panes.get(key);
  }

  field(key) {
    if (!this.fields.has(key)) {
      const value = make("dd");
      this.list ??= this.show(make("dl"));
      this.list.append(make("dt", "", key), value);
      this.fields.set(key, value);
    }
    return this.fields.get(key);
  }

  show(element) {
    this.body.hidden = false;
    this.body.append(element);
    return element;
  }

  // --- the tool ---

  run() {
    this.began = performance.now();
    this.ready();
    this.waits?.remove();
    this.state("running");
  }

  progress(data) {
    const { done, of } = data ?? {};
    if (!(of > 0)) return;
    if (!this.bar) {
      this.bar = make("progress");
      label(this.bar, "running");
      this.element.append(this.bar);
    }
    this.bar.max = of;
    this.bar.value = done;
  }

  finish(content) {
    this.end("done");
    const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
    if (!text) return;
    if (!text.includes("\n") && text.length < 200) return void this.show(make("p", "result", text));
    const details = make("details", "result");
    const first = text.trimStart().split("\n", 1)[0].slice(0, 200);
    details.append(make("summary", "", first), make("pre", "", text));
    this.show(details);
  }

  fail(error) {
    this.end("failed");
    this.show(make("pre", "error", error));
  }

  end(state) {
    this.bar?.remove();
    this.waits?.remove();
    const seconds = this.began ? (performance.now() - this.began) / 1000 : 0;
    if (state === "done" && seconds >= 0.1) this.state(state, "doneIn", { seconds });
    else this.state(state);
  }

  /** The model could not end the call, so it does not run. */
  invalid(error) {
    for (const pane of this.panes.values()) pane.close();
    this.state("invalid");
    if (error) this.show(make("p", "error", error));
  }

  /** The run was stopped. */
  halt() {
    if (["typing", "ready", "running", "waiting"].includes(this.element.dataset.state)) {
      for (const pane of this.panes.values()) pane.close();
      this.end("halted");
    }
  }

  /** Ask the user; gives back "allow" or "refuse" to `answer`. */
  wait(message, answer) {
    this.state("waiting");
    this.waits?.remove();
    this.waits = make("div", "waits");
    const buttons = ["allow", "refuse"].map((key) => {
      const button = say(make("button", key), key);
      button.type = "button";
      button.addEventListener("click", () => {
        for (const each of buttons) each.disabled = true;
        answer(key);
      });
      return button;
    });
    this.waits.append(say(make("span"), "question"), ...buttons);
    this.element.append(this.waits);
    buttons[0].focus({ preventScroll: true });
    this.waits.scrollIntoView({ block: "nearest" });
  }
}

export function make(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function icon(shape) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const drawn = document.createElementNS(SVG, "path");
  drawn.setAttribute("d", shape);
  svg.append(drawn);
  return svg;
}
