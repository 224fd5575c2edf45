// A chat with the AI SDK's `useChat`. Each tool call shows its arguments while they are typed.
import { useChat } from "@ai-sdk/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function Page() {
  const { messages, sendMessage, status, stop, error, regenerate } = useChat(); // POST /api/chat
  const [text, setText] = useState("Write a small Python program to fib.py");
  const busy = status === "submitted" || status === "streaming";

  function submit(event) {
    event.preventDefault();
    if (!busy && text.trim()) {
      sendMessage({ text });
      setText("");
    }
  }

  return (
    <>
      {messages.map((message) => (
        <section key={message.id} className={message.role}>
          {message.parts.map((part, at) => (
            <Part key={at} part={part} />
          ))}
        </section>
      ))}
      {error && (
        <p role="alert">
          {error.message} <button onClick={() => regenerate()}>Try again</button>
        </p>
      )}
      <form onSubmit={submit}>
        <input aria-label="Message" value={text} onChange={(e) => setText(e.target.value)} autoFocus />
        {busy ? <button type="button" onClick={stop}>Stop</button> : <button>Send</button>}
      </form>
    </>
  );
}

function Part({ part }) {
  if (part.type === "text") return <p>{part.text}</p>;
  if (part.type === "reasoning") return <p className="reasoning">{part.text}</p>;
  if (part.type.startsWith("tool-")) return <Call part={part} />;
  return null; // step-start
}

// The states are input-streaming, input-available, output-available and output-error. While the
// input streams, `part.input` is what the AI SDK could parse of it so far.
function Call({ part }) {
  const { path, content } = part.input ?? {};
  return (
    <article data-state={part.state}>
      <header>
        <b>{part.type.slice("tool-".length)}</b> {path} <small>{part.state}</small>
      </header>
      <pre>{content}</pre>
      {part.output && <footer>{part.output}</footer>}
      {part.errorText && <footer role="alert">{part.errorText}</footer>}
    </article>
  );
}

createRoot(document.querySelector("#root")).render(<Page />);
