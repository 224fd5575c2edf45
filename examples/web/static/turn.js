// One turn: what the user said, and all that the agent did about it, in order.

import { Card, make } from "/static/card.js";
import { Prose } from "/static/prose.js";
import { say, words } from "/static/words.js";

export class Turn {
  /**
   * @param {string} text what the user said
   * @param {{tell: (text: string) => void, onAnswer: (answers: object) => void, onAgain: () => void}} does
   */
  constructor(text, does) {
    this.does = does;
    this.said = text;
    this.cards = new Map(); // by the id of the call
    this.typing = new Map(); // by message and index, until it is whole
    this.usage = { given: 0, made: 0, asked: 0 };
    this.began = performance.now();
    this.element = make("section", "turn");
    this.agent = make("div", "agent");
    const line = make("div", "end");
    this.dot = make("span", "dot");
    this.endText = say(make("span"), "working");
    this.clock = make("span", "clock");
    this.counts = make("span", "counts");
    line.append(this.dot, this.endText, this.clock, this.counts);
    this.line = line;
    this.element.append(make("div", "user", text), this.agent, line);
    this.element.dataset.status = "working";
    this.tick = setInterval(() => this.time(), 100);
  }

  time() {
    const seconds = (performance.now() - this.began) / 1000;
    say(this.clock, "seconds", { seconds });
  }

  /** Show an event of the run. */
  apply(event) {
    EVENTS[event.type]?.call(this, event);
  }

  // --- what the model says ---

  think(text) {
    if (!this.thought) {
      this.leave();
      this.thought = new Thought();
      this.agent.append(this.thought.element);
    }
    this.thought.append(text);
  }

  write(text) {
    if (!this.prose) {
      this.leave();
      this.prose = new Prose();
      this.agent.append(this.prose.element);
    }
    this.prose.append(text);
  }

  /** The stretch of thought or text is over. */
  leave() {
    this.thought?.close();
    this.thought = this.prose = null;
  }

  // --- calls and tools ---

  call(event) {
    const key = `${event.message_id}/${event.index}`;
    let card = this.typing.get(key);
    if (!card) {
      card = this.add(event.name);
      this.typing.set(key, card);
      this.does.tell(words("writing", { what: words(event.name) }));
    }
    if (event.id) this.cards.set(event.id, card);
    return card;
  }

  tool(event) {
    let card = this.cards.get(event.id);
    if (!card) {
      card = this.add(event.name);
      card.fill(event.arguments);
      this.cards.set(event.id, card);
    }
    return card;
  }

  add(name) {
    this.leave();
    const card = new Card(name);
    this.agent.append(card.element);
    return card;
  }

  finishMessage(event) {
    this.leave();
    this.typing.clear();
    this.count(event.usage);
  }

  count(usage) {
    this.usage.asked += 1;
    this.usage.given += usage?.input_tokens ?? 0;
    this.usage.made += usage?.output_tokens ?? 0;
  }

  /** A person is asked. */
  wait(interrupts) {
    for (const { id, value } of interrupts) {
      const card = this.cards.get(value?.tool_call_id);
      card?.wait(value?.message ?? "", (answer) => this.does.onAnswer({ [id]: answer }));
    }
  }

  /** The run goes on: with a person's answer, or it was at work all the time. */
  resume(seconds = this.seconds ?? 0) {
    this.status = null;
    this.element.dataset.status = "working";
    say(this.endText, "working");
    this.began = performance.now() - seconds * 1000;
    this.tick = setInterval(() => this.time(), 100);
  }

  // --- the end ---

  end(status, { seconds, error } = {}) {
    if (this.status) return;
    clearInterval(this.tick);
    this.status = status;
    this.leave();
    if (status !== "interrupted") {
      for (const card of [...this.typing.values(), ...this.cards.values()]) card.halt();
    }
    this.seconds = seconds ?? (performance.now() - this.began) / 1000;
    this.element.dataset.status = status;
    say(this.endText, status);
    say(this.clock, "seconds", { seconds: this.seconds });
    this.sums();
    if (error) this.complain(error);
    this.does.tell(words(status));
  }

  sums() {
    const { asked, given, made } = this.usage;
    if (!asked) return;
    const calls = say(make("span"), asked === 1 ? "askedOnce" : "asked", { count: asked });
    this.counts.replaceChildren(calls, say(make("span"), "tokens", { given, made }));
  }

  complain({ message, code, key }) {
    const box = make("div", "trouble");
    box.setAttribute("role", "alert");
    box.append(key ? say(make("p"), key) : make("p", "", message));
    const row = make("div", "row");
    const again = say(make("button"), "again");
    again.type = "button";
    again.addEventListener("click", () => this.does.onAgain(this.said));
    row.append(again);
    if (code) row.append(say(make("span", "error-code"), "code", { code }));
    box.append(row);
    this.agent.append(box);
  }

  // --- history ---

  /** Show a message of the conversation's history. */
  recall(message) {
    if (message.type === "tool") {
      const card = this.cards.get(message.id);
      if (message.failed) card?.fail(message.content);
      else card?.finish(message.content);
      return;
    }
    if (message.reasoning) this.think(message.reasoning);
    if (message.text) this.write(message.text);
    for (const call of message.calls) {
      const card = this.add(call.name);
      card.fill(call.arguments);
      this.cards.set(call.id, card);
    }
    this.leave();
    if (message.usage) this.count(message.usage);
  }
}

const EVENTS = {
  reasoning_delta(event) {
    this.think(event.text);
  },
  text_delta(event) {
    this.write(event.text);
  },
  tool_call_started(event) {
    this.call(event);
  },
  argument_started(event) {
    this.call(event).start(event.path);
  },
  argument_delta(event) {
    this.call(event).type(event.path, event.text);
  },
  argument_finished(event) {
    this.call(event).finishArgument(event.path, event.value);
  },
  tool_call_finished(event) {
    this.call(event).ready();
  },
  tool_call_invalid(event) {
    this.call(event).invalid(event.reason === "broken_stream" ? "" : event.error);
  },
  message_finished(event) {
    this.finishMessage(event);
  },
  tool_started(event) {
    this.tool(event).run();
  },
  tool_progress(event) {
    if (event.id) this.tool(event).progress(event.data);
  },
  tool_finished(event) {
    this.tool(event).finish(event.content);
  },
  tool_failed(event) {
    this.tool(event).fail(event.error);
    this.does.tell(`${words(event.name)}: ${words("failed")}`);
  },
  run_finished() {
    this.end("finished");
  },
  run_interrupted(event) {
    this.end("interrupted");
    this.wait(event.interrupts);
  },
  run_failed(event) {
    this.end("broken", { error: event.error });
  },
};

/** What the model thinks, folded away; its last words can be seen while it does. */
class Thought {
  constructor() {
    this.began = performance.now();
    this.element = make("details", "thought");
    this.summary = make("summary");
    this.name = say(make("span", "name"), "thinking");
    this.peek = make("span", "peek");
    this.peek.setAttribute("aria-hidden", "true");
    this.text = make("div", "text");
    this.summary.append(this.name, this.peek);
    this.element.append(this.summary, this.text);
    this.element.dataset.open = "";
  }

  append(text) {
    this.text.append(text);
    this.tail = ((this.tail ?? "") + text).slice(-120);
    this.peek.textContent = this.tail.replace(/\s+/g, " ");
  }

  close() {
    const seconds = (performance.now() - this.began) / 1000;
    delete this.element.dataset.open;
    this.peek.remove();
    if (seconds < 0.1) say(this.name, "thought");
    else say(this.name, "thoughtFor", { seconds });
  }
}
