// Runs `HttpAgent` against each URL of the argument, a JSON object of name -> URL, and prints what
// came of it. The agent has AG-UI's verifier (`verifyEvents`) and its schemas in its way.
import { HttpAgent } from "@ag-ui/client";

console.warn = console.error = () => {}; // a refused stream is also written there
process.env.SUPPRESS_TRANSFORMATION_WARNINGS = "";

async function run(url) {
  const seen = { types: [], customs: [], typed: {}, calls: {}, warnings: [] };
  console.warn = (text) => seen.warnings.push(String(text));
  const agent = new HttpAgent({ url, threadId: "t" });
  const subscriber = {
    onEvent: ({ event }) => void seen.types.push(event.type),
    onCustomEvent: ({ event }) => void seen.customs.push(event),
    onToolCallArgsEvent: ({ event, partialToolCallArgs }) =>
      void (seen.typed[event.toolCallId] ??= []).push(partialToolCallArgs),
    onToolCallEndEvent: ({ event, toolCallArgs }) =>
      void (seen.calls[event.toolCallId] = toolCallArgs),
    onRunFinishedEvent: ({ event, outcome, pendingToolCallIds }) =>
      void Object.assign(seen, { outcome, pending: pendingToolCallIds, usage: event.usage }),
    onRunErrorEvent: ({ event }) => void (seen.runError = event),
  };
  try {
    await agent.runAgent({ runId: "r" }, subscriber);
  } catch (error) {
    seen.refused = String(error.message);
  }
  return { ...seen, messages: agent.messages, interrupts: agent.pendingInterrupts };
}

const answers = {};
for (const [name, url] of Object.entries(JSON.parse(process.argv[2]))) {
  answers[name] = await run(url);
}
console.log(JSON.stringify(answers));
