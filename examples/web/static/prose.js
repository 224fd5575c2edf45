// What a model writes, as elements. Markdown is read by hand and only ever becomes text nodes in
// a few elements: nothing that a model writes is parsed as HTML.

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^\s*][^*]*?)\*|\[([^\]]+)\]\(([^)\s]+)\)/gs;

/** A text that grows. What stands before its last blank line is not touched again. */
export class Prose {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "prose";
    this.open = document.createElement("div");
    this.element.append(this.open);
    this.text = "";
    this.due = false;
  }

  append(text) {
    this.text += text;
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.render());
  }

  render() {
    this.due = false;
    const at = lastBreak(this.text);
    if (at) {
      this.open.before(...blocks(this.text.slice(0, at)));
      this.text = this.text.slice(at);
    }
    this.open.replaceChildren(...blocks(this.text));
  }
}

/** The position after the last blank line that is not inside of a fence. */
function lastBreak(text) {
  let at = 0;
  let end = 0;
  let fenced = false;
  for (const line of text.split("\n").slice(0, -1)) {
    at += line.length + 1;
    if (line.trimStart().startsWith("```")) fenced = !fenced;
    else if (!fenced && !line.trim()) end = at;
  }
  return end;
}

function blocks(text) {
  const made = [];
  const lines = text.split("\n");
  while (lines.length) {
    const line = lines.shift();
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    const item = itemOf(line);
    if (line.trimStart().startsWith("```")) made.push(fence(lines));
    else if (heading) made.push(element("h3", heading[2]));
    else if (item) made.push(list(item, lines));
    else if (line.trim()) made.push(paragraph(line, lines));
  }
  return made;
}

function fence(lines) {
  const code = [];
  while (lines.length) {
    const line = lines.shift();
    if (line.trimStart().startsWith("```")) break;
    code.push(line);
  }
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.textContent = code.join("\n");
  return pre;
}

function itemOf(line) {
  const found = /^\s*(?:([-*+])|(\d+)[.)])\s+(.*)/.exec(line);
  return found && { kind: found[1] ? "ul" : "ol", text: found[3] };
}

function list(first, lines) {
  const made = document.createElement(first.kind);
  for (let item = first; item; item = lines.length ? itemOf(lines[0]) : null) {
    if (item !== first) lines.shift();
    made.append(element("li", item.text));
  }
  return made;
}

function paragraph(first, lines) {
  const text = [first];
  while (lines.length && lines[0].trim() && !itemOf(lines[0]) && !/^\s*(```|#{1,6}\s)/.test(lines[0])) {
    text.push(lines.shift());
  }
  return element("p", text.join("\n"));
}

function element(name, text) {
  const made = document.createElement(name);
  made.append(...inline(text));
  return made;
}

function inline(text) {
  const made = [];
  let done = 0;
  for (const found of text.matchAll(INLINE)) {
    made.push(text.slice(done, found.index), marked(found));
    done = found.index + found[0].length;
  }
  return [...made, text.slice(done)];
}

function marked([whole, , code, strong, emphasis, name, address]) {
  if (name !== undefined) return link(whole, name, address);
  const kind = code !== undefined ? "code" : strong !== undefined ? "strong" : "em";
  const made = document.createElement(kind);
  made.textContent = code ?? strong ?? emphasis;
  return made;
}

function link(whole, name, address) {
  if (!/^https?:\/\//i.test(address)) return whole;
  const made = document.createElement("a");
  made.href = address;
  made.rel = "noopener noreferrer";
  made.target = "_blank";
  made.textContent = name;
  return made;
}
