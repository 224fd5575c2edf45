// A pane of code that grows: one text node for each line, numbers beside them, and colours that
// are painted over the text (CSS custom highlights), so that the text stays plain text.

const PYTHON = new Set(
  "and as assert async await break class continue def del elif else except False finally for from global if import in is lambda match case None nonlocal not or pass raise return True try while with yield self".split(" "),
);
const TOKEN = /(#.*)|([rbfu]{0,2}(?:"""|'''))|([rbfu]{0,2}"(?:[^"\\]|\\.)*"?|[rbfu]{0,2}'(?:[^'\\]|\\.)*'?)|\b(\d[\d_.]*)\b|(@?[A-Za-z_]\w*)(\s*\()?/gi;
const KINDS = ["comment", "string", "number", "keyword", "call"];

const highlights = new Map();
if (window.Highlight && CSS.highlights) {
  for (const kind of KINDS) {
    highlights.set(kind, new Highlight());
    CSS.highlights.set(`code-${kind}`, highlights.get(kind));
  }
}

/** Forget the colours of all panes, which are not shown any more. */
export function forgetColours() {
  for (const highlight of highlights.values()) highlight.clear();
}

export class Code {
  /**
   * @param {string} path of its file, for the colours
   * @param {string} sign "+" or "-" of a change, in place of numbers
   * @param {boolean} live whether it shows its newest line
   */
  constructor({ path = "", sign = "", live = true } = {}) {
    this.element = document.createElement("div");
    this.element.className = "code";
    this.numbers = document.createElement("pre");
    this.numbers.className = "numbers";
    this.numbers.setAttribute("aria-hidden", "true");
    this.lines = document.createElement("code");
    const text = document.createElement("pre");
    text.append(this.lines);
    this.element.append(this.numbers, text);
    this.element.tabIndex = 0;
    this.element.dataset.open = "";
    this.sign = sign;
    this.live = live;
    this.isPython = path.endsWith(".py");
    this.waiting = "";
    this.count = 0;
    this.length = 0;
    this.quote = ""; // the triple quote that is open
    this.painted = []; // of the last line, which still grows
    this.due = false;
  }

  append(text) {
    this.waiting += text;
    this.length += text.length;
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.render());
  }

  /** Nothing more comes. */
  close() {
    delete this.element.dataset.open;
  }

  /** Whether its last line is in view: then it stays there. */
  get follows() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  render() {
    this.due = false;
    const follows = this.follows;
    const parts = this.waiting.split("\n");
    this.waiting = "";
    parts.forEach((part, at) => {
      const isWhole = at < parts.length - 1;
      if (!part && !isWhole) return; // a line begins with its first character
      if (!this.line || this.isWhole) this.begin();
      this.line.appendData(part);
      this.isWhole = isWhole;
      this.paint(isWhole);
    });
    if (follows && this.live) this.element.scrollTop = this.element.scrollHeight;
  }

  begin() {
    if (this.line) this.lines.append("\n");
    this.line = document.createTextNode("");
    this.lines.append(this.line);
    this.count += 1;
    this.numbers.append(`${this.count > 1 ? "\n" : ""}${this.sign || this.count}`);
    this.painted = [];
  }

  paint(isWhole) {
    if (!this.isPython || !highlights.size) return;
    for (const [kind, range] of this.painted) highlights.get(kind).delete(range);
    this.painted = [];
    const quote = this.tokens(this.line.data);
    if (isWhole) this.quote = quote;
  }

  tokens(text) {
    let quote = this.quote;
    let at = 0;
    if (quote) {
      const end = text.indexOf(quote);
      at = end < 0 ? text.length : end + 3;
      this.mark("string", 0, at);
      if (end < 0) return quote;
      quote = "";
    }
    TOKEN.lastIndex = at;
    for (let found; (found = TOKEN.exec(text)); ) {
      const [whole, comment, triple, string, digits, name, paren] = found;
      if (triple) {
        quote = triple.slice(-3);
        const end = text.indexOf(quote, TOKEN.lastIndex);
        TOKEN.lastIndex = end < 0 ? text.length : end + 3;
        this.mark("string", found.index, TOKEN.lastIndex);
        if (end < 0) return quote;
        quote = "";
      } else if (name) {
        const kind = PYTHON.has(name) || name[0] === "@" ? "keyword" : paren ? "call" : null;
        if (kind) this.mark(kind, found.index, found.index + name.length);
      } else {
        const kind = comment ? "comment" : string ? "string" : digits ? "number" : null;
        if (kind) this.mark(kind, found.index, found.index + whole.length);
      }
    }
    return quote;
  }

  mark(kind, from, to) {
    const range = new StaticRange({
      startContainer: this.line,
      startOffset: from,
      endContainer: this.line,
      endOffset: to,
    });
    highlights.get(kind).add(range);
    this.painted.push([kind, range]);
  }
}
