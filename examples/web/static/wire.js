// The two ways to a run: server-sent events read with fetch (the default), or a WebSocket.
// Both give the events of langchain_glm.streaming as objects; /api/schema describes them.

const PAUSES = [300, 1000, 2000, 4000]; // before each try to come back

const path = (name) => `/api/conversations/${name}`;

export async function ask(url, options = {}) {
  const response = await fetch(url, options);
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

export const about = () => ask("/api/about");
export const conversations = () => ask("/api/conversations");
export const conversation = (name) => ask(path(name));
export const forget = (name) => ask(path(name), { method: "DELETE" });

/**
 * A run: iterate over `events`; `stop()` really stops it.
 *
 * @param {string} name the conversation
 * @param {object|null} order what to do; null to come back to the run that is at work
 * @param {{socket?: boolean, onBreak?: () => void}} options
 */
export function run(name, order, { socket = false, onBreak = () => {} } = {}) {
  return socket && order ? overSocket(name, order) : overEvents(name, order, onBreak);
}

function overEvents(name, order, onBreak) {
  const leaving = new AbortController();
  const url = `${path(name)}/run`;
  async function* events() {
    let seen = 0;
    let ended = false;
    let pauses = [...PAUSES];
    let begin = order && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) };
    while (!ended) {
      try {
        const headers = seen ? { "Last-Event-ID": String(seen) } : {};
        const response = await fetch(url, { ...(begin ?? { headers }), signal: leaving.signal });
        if (!response.ok) throw await refusal(response);
        if (response.status === 204) throw new Gone();
        begin = null;
        for await (const frame of frames(response.body)) {
          if (frame.data === "[DONE]") ended = true;
          else {
            seen = Number(frame.id);
            pauses = [...PAUSES];
            yield JSON.parse(frame.data);
          }
        }
        if (!ended) throw new TypeError("The stream broke off.");
      } catch (error) {
        if (leaving.signal.aborted) return;
        // An order may have been taken before the connection broke: it is never sent twice.
        if (!(error instanceof TypeError) || begin || !pauses.length) throw error;
        onBreak();
        await new Promise((resume) => setTimeout(resume, pauses.shift()));
      }
    }
  }
  return {
    events: events(),
    async stop() {
      leaving.abort();
      await ask(url, { method: "DELETE" });
    },
    leave: () => leaving.abort(),
  };
}

function overSocket(name, order) {
  const address = new URL(`${path(name)}/run`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  const arrived = [];
  let wake = () => {};
  let ended = null;
  socket.onopen = () => socket.send(JSON.stringify(order));
  socket.onmessage = (message) => {
    arrived.push(JSON.parse(message.data));
    wake();
  };
  socket.onclose = (event) => {
    ended = event;
    wake();
  };
  async function* events() {
    while (arrived.length || !ended) {
      if (arrived.length) yield arrived.shift();
      else await new Promise((resume) => (wake = resume));
    }
    if (ended.code === 1008) throw new Refused(ended.reason === "BusyError" ? 409 : 400, ended.reason);
    if (ended.code === 1006) throw new TypeError("The connection broke.");
  }
  return { events: events(), stop: async () => socket.close(), leave: () => socket.close() };
}

/** The frames of a stream of server-sent events. */
async function* frames(body) {
  let rest = "";
  for await (const text of pieces(body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const frame = {};
      for (const line of block.split("\n")) {
        const at = line.indexOf(": ");
        if (at > 0) frame[line.slice(0, at)] = line.slice(at + 2);
      }
      if (frame.data !== undefined) yield frame; // a heartbeat has none
    }
  }
}

async function* pieces(stream) {
  const reader = stream.getReader(); // Safari cannot iterate over a stream
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The server's refusal of a request. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The run is over, and its events are not kept: the conversation has what it left. */
export class Gone extends Error {}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : response.statusText;
  return new Refused(response.status, detail);
}
