"""A GLM for LangChain's standard integration tests: what it says in each of them.

It is given a request's body and nothing else, like a server, and does what a model could do: it
calls a tool only if it is offered, with arguments that the tool has, answers with JSON only where
it was told to, with the keys that it was told, and stops where it is to stop. A request that the
documentation rules out, or that lacks what the test is about, gets an error.

The documentation is the schema of the request in docs.z.ai's API reference.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from langchain_glm.testing import Call, Fail, Received, Reply

Body = Mapping[str, Any]
Answer = Callable[[Received], Reply | Fail]

VISION_MODELS = {"glm-4.6v", "glm-4.6v-flash"}


def script_of(test: str) -> list[Answer]:
    """The answers to the requests of a test, in order; none for a test that makes none."""
    return [_careful(answer) for answer in SCRIPTS.get(test, ())]


# ---- What no GLM takes ------------------------------------------------------------------------


def _careful(answer: Reply | Answer) -> Answer:
    def answered(received: Received) -> Reply | Fail:
        wrong = _what_is_wrong(received.body)
        if wrong:
            return Fail(400, "1214", wrong)
        return answer if isinstance(answer, Reply) else answer(received)

    return answered


def _what_is_wrong(body: Body) -> str | None:
    if len(body.get("stop", ())) > 1:
        return "stop: only one stop word is supported"
    open_calls: set[str] = set()
    for message in body["messages"]:
        content, role = message.get("content"), message["role"]
        if role == "user" and isinstance(content, list):
            types = {part.get("type") for part in content}
            if not types <= _parts_of(body["model"]):
                return f"messages: a part of {types} is not among the types of this model"
        elif not isinstance(content, str):
            return f"messages: the content of {role} is text, not {content!r}"
        open_calls |= {call["id"] for call in message.get("tool_calls", ())}
        if role == "tool" and message.get("tool_call_id") not in open_calls:
            return "messages: a tool's result without a call"
    return None


def _parts_of(model: str) -> set[str]:
    return {"text", "image_url", "video_url", "file_url"} if model in VISION_MODELS else {"text"}


# ---- What a model does ------------------------------------------------------------------------


def says(text: str, **expected: Any) -> Answer:
    """Say `text`, up to the stop word; but only if the request has the `expected` fields."""

    def answered(received: Received) -> Reply | Fail:
        body = received.body
        missing = {name: value for name, value in expected.items() if body.get(name) != value}
        if missing:
            return Fail(400, "1214", f"this test is about {missing}")
        said = text
        for word in body.get("stop", ()):
            said = said.partition(word)[0]
        return Reply(reasoning="Let me think how to say it.", text=said)

    return answered


def calls(name: str, arguments: Mapping[str, Any]) -> Answer:
    """Call a tool, if it is there, with those of the arguments that it has."""

    def answered(received: Received) -> Reply:
        for tool in received.body.get("tools", ()):
            function = tool["function"]
            if function["name"] == name:
                properties = function["parameters"].get("properties", {})
                known = {key: value for key, value in arguments.items() if key in properties}
                return Reply(reasoning=_THOUGHT, text="One moment.", tool_calls=[Call(name, known)])
        return Reply(reasoning="There is no such tool.", text=f"I cannot call {name}.")

    return answered


def gives(value: Mapping[str, Any]) -> Answer:
    """Answer with an object: as the only tool's arguments, or as JSON where that is asked for."""

    def answered(received: Received) -> Reply:
        body = received.body
        tools = body.get("tools", ())
        if tools:
            return calls(tools[0]["function"]["name"], value)(received)
        told = json.dumps(body["messages"])
        known = {key: value[key] for key in value if f'"{key}' in told or f"'{key}" in told}
        wanted = body.get("response_format", {}).get("type", "text")
        if wanted != "json_object":
            # `json_schema` is answered with 200 and not enforced, as public issues have it: prose.
            return Reply(text=" ".join(map(str, value.values())))
        return Reply(reasoning="As JSON, then.", text=json.dumps(known or {"answer": "a joke"}))

    return answered


def goes_on(received: Received) -> Reply | Fail:
    """Answer after a tool's result, if the reasoning before its call came back, as documented."""
    *_, turn, result = received.body["messages"]
    if result["role"] != "tool" or turn.get("reasoning_content") != _THOUGHT:
        return Fail(400, "1214", "this test is about reasoning, call and result in a row")
    return Reply(reasoning="The tool knows.", text=f"The answer is: {result['content']}")


def sees(received: Received) -> Reply | Fail:
    """Describe the image of the last message."""
    parts = received.body["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    if not urls or not urls[0].startswith(("data:image/png;base64,iVBORw0KGgo", "https://")):
        return Fail(400, "1210", "this test is about an image")
    return Reply(reasoning="An image.", text="A diagram: boxes, and arrows between them.")


def _counted(text: str, *, cached: int) -> Reply:
    usage = {
        "prompt_tokens": 1210,
        "completion_tokens": 24,
        "total_tokens": 1234,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }
    return Reply(reasoning="Read it again.", text=text, usage=usage)


_THOUGHT = "There is a tool for this. I fill in what it needs."

HELLO = says("Hello! How can I help you today?")
HAIKUS = says("Old pond, still water\n\nA frog leaps into the sound\n\nRipples, and silence")
MAGIC = calls("magic_function", {"input": 3})
NO_ARGUMENTS = calls("magic_function_no_args", {})
SUM = says("1 + 2 is 3.")
JOKE = gives({"setup": "Why did the cat sit on the mouse?", "punchline": "To keep an eye on it."})
SETUP = gives({"setup": "Why did the cat sit on the keyboard?"})
USAGE = [
    HELLO,
    says("The bat is 1.05, the ball 0.05.", thinking={"type": "enabled"}),
    _counted("Four.", cached=0),
    _counted("Four.", cached=1152),
]
CHINESE = {"customer_name": "你好啊集团", "description": "A Chinese technology company"}
JAPANESE = {"customer_name": "こんにちは株式会社", "description": "A Japanese company"}

SCRIPTS: Mapping[str, list[Reply | Answer]] = {
    "test_invoke": [HELLO],
    "test_ainvoke": [HELLO],
    "test_stream": [HELLO],
    "test_astream": [HELLO],
    "test_stream_events_v3": [HELLO],
    "test_astream_events_v3": [HELLO],
    "test_invoke_with_model_override": [HELLO],
    "test_ainvoke_with_model_override": [HELLO],
    "test_stream_with_model_override": [HELLO],
    "test_astream_with_model_override": [HELLO],
    "test_batch": [HELLO, HELLO],
    "test_abatch": [HELLO, HELLO],
    "test_conversation": [HELLO],
    "test_double_messages_conversation": [HELLO],
    "test_message_with_name": [HELLO],
    "test_usage_metadata": USAGE,
    "test_usage_metadata_streaming": [HAIKUS, *USAGE[1:]],
    "test_stop_sequence": [says("Hi! How are you?", stop=["you"])] * 2,
    "test_tool_calling": [MAGIC, MAGIC],
    "test_tool_calling_async": [MAGIC, MAGIC],
    "test_tool_calling_with_no_arguments": [NO_ARGUMENTS, NO_ARGUMENTS],
    "test_bind_runnables_as_tools": [calls("greeting_generator", {"answer_style": "Pirate"})],
    "test_unicode_tool_call_integration": [
        calls("unicode_customer", CHINESE),
        calls("unicode_customer", JAPANESE),
    ],
    "test_tool_message_histories_string_content": [SUM],
    "test_tool_message_histories_list_content": [SUM],
    "test_tool_message_error_status": [calls("my_adder_tool", {"a": 1, "b": 2})],
    "test_structured_few_shot_examples": [calls("my_adder_tool", {"a": 3, "b": 4})],
    "test_agent_loop": [calls("get_weather", {"location": "San Francisco, CA"}), goes_on],
    "test_anthropic_inputs": [says("Green is a fine colour."), HELLO],
    "test_structured_output": [JOKE, JOKE],
    "test_structured_output_async": [JOKE, JOKE],
    "test_structured_output_pydantic_2_v1": [JOKE] * 4,
    "test_structured_output_optional_param": [SETUP, JOKE, JOKE, JOKE],
    "test_json_mode": [JOKE] * 4,
    "test_image_inputs": [sees, sees, sees],
    "test_stream_time": [says("Once there was a cat. " * 40)],
}
