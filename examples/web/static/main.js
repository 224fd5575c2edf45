// The page: conversations at the side, turns in the middle, a message at the foot.

import { forgetColours } from "/static/code.js";
import { make } from "/static/card.js";
import { Turn } from "/static/turn.js";
import * as wire from "/static/wire.js";
import { currentLanguage, label, say, setLanguage, words } from "/static/words.js";

const find = (id) => document.getElementById(id);
const [log, turns, welcome, form, message, send, stop, ask, status, sidebar, shade, menu] = [
  "log", "turns", "welcome", "composer", "message", "send", "stop", "ask", "status", "sidebar", "shade", "menu",
].map(find);

const overSocket = new URLSearchParams(location.search).get("wire") === "websocket";
const STATUS = { run_finished: "finished", run_interrupted: "interrupted", run_failed: "broken", stopped: "stopped" };

let name = ""; // of the conversation
let current = null; // the run that is at work, and its turn
let stopping = false;
let about = { model: "", demonstration: false };

// --- runs ---

async function follow(turn, order) {
  const mine = (current = { turn, run: wire.run(name, order, { socket: overSocket, onBreak: () => tell(words("back")) }) });
  atWork(true);
  try {
    for await (const event of mine.run.events) {
      if (!mine.begun) {
        mine.begun = true;
        list();
      }
      const follows = isAtEnd();
      turn.apply(event);
      if (follows) toEnd();
    }
    if (current === mine) turn.end("stopped");
  } catch (error) {
    if (current !== mine) return;
    if (error instanceof wire.Gone) return void open(name);
    const key = error.status === 409 ? "busy" : error instanceof TypeError ? "lost" : null;
    turn.end("broken", { error: { key, message: error.message } });
  } finally {
    if (current === mine) {
      current = null;
      atWork(false);
      toEnd();
      list();
    }
  }
}

function tellAgent(text) {
  if (current || stopping || !text.trim()) return;
  if (!name) rename(newName());
  welcome.hidden = true;
  const turn = addTurn(text);
  toEnd();
  if (!find("heading").textContent) title(text);
  follow(turn, { message: text, ask: ask.checked });
}

async function halt() {
  if (!current) return;
  const { run, turn } = current;
  current = null;
  turn.end("stopped");
  stop.disabled = stopping = true;
  try {
    await run.stop();
  } catch {
    tell(words("lost"));
  }
  stop.disabled = stopping = false;
  atWork(Boolean(current));
  list();
}

function answer(turn, answers) {
  if (current) return;
  turn.resume();
  follow(turn, { answers, ask: true });
}

function addTurn(text) {
  const turn = new Turn(text, {
    tell,
    onAnswer: (answers) => answer(turn, answers),
    onAgain: tellAgent,
  });
  turns.append(turn.element);
  return turn;
}

function atWork(works) {
  send.hidden = works;
  stop.hidden = !works;
  turns.setAttribute("aria-busy", String(works));
  focusMessage();
}

/** Not where it brings up a keyboard, nor away from a question. */
function focusMessage() {
  const asked = document.activeElement?.closest(".waits");
  if (!asked && matchMedia("(pointer: fine)").matches) message.focus({ preventScroll: true });
}

// --- conversations ---

const newName = () =>
  [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function rename(wanted) {
  name = wanted;
  history.replaceState(null, "", wanted ? `#${wanted}` : location.pathname + location.search);
}

function title(text) {
  find("heading").textContent = text.slice(0, 80);
}

function clear() {
  current?.run.leave();
  current?.turn.end("stopped");
  current = null;
  turns.replaceChildren();
  forgetColours();
  title("");
  atWork(false);
}

function begin() {
  clear();
  rename("");
  welcome.hidden = false;
  toggleSidebar(false);
  list();
}

async function open(wanted) {
  clear();
  rename(wanted);
  toggleSidebar(false);
  const found = await wire.conversation(wanted).catch(() => null);
  if (name !== wanted) return;
  if (!found?.messages.length) return begin();
  welcome.hidden = true;
  const turn = recall(found);
  list();
  requestAnimationFrame(() => requestAnimationFrame(toEnd));
  if (found.running) {
    turn.resume(found.seconds);
    follow(turn, null);
  } else if (found.waiting.length) turn.wait(found.waiting);
}

/** Show a history; gives the last turn. */
function recall({ messages, turns: ends }) {
  let turn = null;
  const close = () => {
    if (!turn) return;
    const { status = "stopped", seconds = 0, error } = ends[turn.id] ?? {};
    turn.end(STATUS[status] ?? status, { seconds, error });
  };
  for (const each of messages) {
    if (each.type === "human") {
      close();
      turn = addTurn(each.text);
      turn.id = each.id;
      if (!find("heading").textContent) title(each.text);
    } else turn?.recall(each);
  }
  close();
  return turn;
}

async function list() {
  const all = await wire.conversations().catch(() => null);
  if (!all) return;
  find("conversations").replaceChildren(...all.map(row));
}

function row({ id, title: text }) {
  const item = make("li");
  const link = make("a", "", text);
  link.href = `#${id}`;
  if (id === name) link.setAttribute("aria-current", "page");
  const remove = label(make("button", "quiet", "×"), "delete", { title: text });
  remove.type = "button";
  remove.addEventListener("click", async () => {
    if (id === name) begin();
    await wire.forget(id).catch(() => {});
    await list();
    focusMessage();
  });
  item.append(link, remove);
  return item;
}

// --- the page itself ---

const tell = (text) => (status.textContent = text);
const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
const toEnd = () => (log.scrollTop = log.scrollHeight);

function fit() {
  message.style.height = "auto";
  message.style.height = `${Math.min(message.scrollHeight, 200)}px`;
}

function toggleSidebar(shown) {
  document.body.classList.toggle("with-sidebar", shown);
  menu.setAttribute("aria-expanded", String(shown));
  shade.hidden = !shown;
}

function speak(language) {
  setLanguage(language);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === currentLanguage()));
  }
  find("suggestions").replaceChildren(
    ...words("suggestions").map((text) => {
      const item = make("li");
      const button = make("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => tellAgent(text));
      item.append(button);
      return item;
    }),
  );
  showModel();
}

function showModel() {
  find("scripted").hidden = !about.demonstration;
  const badge = find("model");
  badge.textContent = about.model;
  badge.hidden = !about.model;
  if (about.demonstration) badge.append(" · ", say(make("span"), "scriptedModel"));
}

const remembered = (key) => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is forbidden
  }
};
const remember = (key, value) => {
  try {
    localStorage.setItem(key, value);
  } catch {
    // storage is forbidden
  }
};

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = message.value;
  if (current || stopping || !text.trim()) return;
  message.value = "";
  fit();
  tellAgent(text.trim());
});
message.addEventListener("input", fit);
message.addEventListener("keydown", (event) => {
  // While an input method composes (Chinese, Japanese), Enter chooses a word.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (document.body.classList.contains("with-sidebar")) {
    toggleSidebar(false);
    menu.focus();
  } else halt();
});
stop.addEventListener("click", halt);
find("new").addEventListener("click", begin);
menu.addEventListener("click", () => toggleSidebar(!document.body.classList.contains("with-sidebar")));
shade.addEventListener("click", () => toggleSidebar(false));
ask.checked = remembered("ask") === "true";
ask.addEventListener("change", () => remember("ask", String(ask.checked)));
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    remember("language", button.dataset.language);
    speak(button.dataset.language);
  });
}
window.addEventListener("hashchange", () => {
  const wanted = location.hash.slice(1);
  if (wanted !== name) wanted ? open(wanted) : begin();
});

speak(remembered("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
wire.about().then((found) => {
  about = found;
  showModel();
});
if (location.hash.length > 1) open(location.hash.slice(1));
else begin();
