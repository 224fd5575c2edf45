// Reads each URL of the second argument, a JSON object of name -> URL, as `useChat` does, with the
// package that the first argument names. The transport checks each chunk with the SDK's schema.
const { DefaultChatTransport, readUIMessageStream } = await import(process.argv[2]);

async function read(api) {
  const seen = { errors: [], states: {}, inputs: {}, chunks: [], message: null };
  const transport = new DefaultChatTransport({ api });
  const request = { chatId: "c", messages: [], trigger: "submit-message" };
  const stream = (await transport.sendMessages(request)).pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        seen.chunks.push(chunk);
        controller.enqueue(structuredClone(chunk));
      },
    }),
  );
  const onError = (error) => seen.errors.push(String(error.message));
  for await (const message of readUIMessageStream({ stream, onError })) {
    for (const part of message.parts.filter((part) => part.toolCallId)) {
      note((seen.states[part.toolCallId] ??= []), part.state);
      note((seen.inputs[part.toolCallId] ??= []), part.input ?? null);
    }
    seen.message = message;
  }
  return seen;
}

function note(list, value) {
  if (JSON.stringify(list.at(-1)) !== JSON.stringify(value)) list.push(value);
}

const answers = {};
for (const [name, url] of Object.entries(JSON.parse(process.argv[3]))) {
  answers[name] = await read(url);
}
console.log(JSON.stringify(answers));
