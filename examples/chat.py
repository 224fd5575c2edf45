"""A conversation: reasoning and text as they come, the history kept, tokens after each answer.

`python examples/chat.py` asks at the prompt; `python examples/chat.py QUESTION ...` asks these, one
after the other. Against Z.ai when ZAI_API_KEY is set, else against the bundled GLM server.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from keyless import chat_model, dim
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage

from langchain_glm import ChatGLM
from langchain_glm.streaming import MessageFinished, ReasoningDelta, TextDelta, tool_call_events
from langchain_glm.testing import Received, Reply

SYSTEM = "You are a patient teacher. Answer in at most three sentences."


def answer(model: ChatGLM, history: list[AnyMessage]) -> None:
    """Print an answer to a history as it comes, and add it."""
    thinks = False
    for event in tool_call_events(model.stream(history)):
        match event:
            case ReasoningDelta(text):
                thinks = True
                print(dim(text), end="", flush=True)
            case TextDelta(text):
                print("\n" * thinks + text, end="", flush=True)
                thinks = False
            case MessageFinished(message=message, usage=usage):
                history.append(message)  # whole: its reasoning goes back with it
                if usage:
                    told = f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out"
                    print(dim(f"\n[{told}, {len(history)} messages]"))


def questions() -> Iterator[str]:
    """Give the questions of the command line, or those typed, or the ones that are prepared."""
    if sys.argv[1:] or not sys.stdin.isatty():
        for question in sys.argv[1:] or SCRIPTED:
            print(f"\nYou: {question}")
            yield question
        return
    suggested = iter(SCRIPTED)
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # ctrl-d, ctrl-c at the prompt
        while True:
            suggestion = next(suggested, "")
            hint = f" (Enter for: {suggestion})" if suggestion else " (Enter to leave)"
            question = input(f"\nYou{hint}: ") or suggestion
            if not question:
                return
            yield question


SCRIPTED = {
    "Why is the sky blue?": Reply(
        reasoning=(
            "Rayleigh scattering: it grows with the fourth power of the frequency. Three "
            "sentences at most, so no formula."
        ),
        text=(
            "Air scatters short waves of light far more than long ones. So the blue part of "
            "sunlight reaches you from all over the sky, and the red part mostly from the sun."
        ),
    ),
    "Then why is it not violet?": Reply(
        reasoning=(
            "They noticed that violet is shorter still. Two reasons: the sun gives less of it, "
            "and the eye sees it badly."
        ),
        text=(
            "Violet is scattered even more, as you noticed. But sunlight has less of it, and your "
            "eyes are less sensitive to it, so the mixture looks blue."
        ),
    ),
    "And at sunset?": Reply(
        reasoning="The path through the air is much longer: the blue is gone by then.",
        text=(
            "Then the light crosses far more air before it reaches you. The blue has been "
            "scattered away to the sides, and what is left is orange and red."
        ),
    ),
}


def script(received: Received) -> Reply:
    """Answer the prepared questions; say of others that nobody reads them."""
    asked = received.body["messages"][-1]["content"]
    nobody = "I am a script and cannot answer that. Set ZAI_API_KEY to talk to GLM."
    return SCRIPTED.get(asked, Reply(text=nobody))


def main() -> None:
    """Hold the conversation."""
    history: list[AnyMessage] = [SystemMessage(SYSTEM)]
    with chat_model(script) as model:
        for question in questions():
            history.append(HumanMessage(question))
            answer(model, history)


if __name__ == "__main__":
    main()
