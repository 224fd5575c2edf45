"""The rows of the comparison: what each asks, and how what was seen becomes a cell.

Nothing here knows a package by its name: a cell follows from what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_glm.testing import GLMServer

from .answers import CITY, FILE, REASONING, requests_of

YES, PARTLY, NO = "yes", "partly", "no"


class Text(NamedTuple):
    """The same in both languages."""

    en: str
    zh: str


class Cell(NamedTuple):
    """What stands in a cell.

    Attributes:
        value: `yes`, `partly`, `no`, or a number.
        seen: What was seen, in a line.
        notes: Names of `NOTES`, each with what its text takes.
    """

    value: str
    seen: str
    notes: tuple[tuple[str, str], ...] = ()


class Sight(NamedTuple):
    """What was seen of a peer: by itself, and by the server."""

    seen: Mapping[str, Any]
    server: GLMServer

    def bodies(self, name: str) -> list[Mapping[str, Any]]:
        """Give the bodies of the requests with a prompt."""
        return [received.body for received in requests_of(self.server, name)]


class Row(NamedTuple):
    """A row."""

    label: Text
    judge: Callable[[Sight], Cell]


VALUES = {YES: Text("yes", "是"), PARTLY: Text("partly", "部分"), NO: Text("no", "否")}
NOTES: Mapping[str, Text] = {
    "tool_stream": Text(
        'With `extra_body={"tool_stream": True}` (ChatLiteLLM: that inside `model_kwargs`).',
        '需要 `extra_body={"tool_stream": True}`（ChatLiteLLM 要放在 `model_kwargs` 里）。',
    ),
    "emptied": Text(
        "With `tool_stream` bound the calls arrive, with empty arguments.",
        "绑定 `tool_stream` 后能收到调用，但参数为空。",
    ),
    "no arguments": Text("The calls come out with empty arguments.", "得到的调用参数为空。"),
    "first only": Text("Only the first call has its arguments.", "只有第一个调用有参数。"),
    "turn lost": Text(
        "The call is not sent back either, so that a tool loop forgets what it asked.",
        "连调用本身也不会回传，工具循环会忘记自己调用过什么。",
    ),
    "thinking": Text(
        "By adding GLM's field to the body: `extra_body`, or `bind` (ChatZhipuAI).",
        "要自行把 GLM 的字段加进请求体：用 `extra_body`，或用 `bind`（ChatZhipuAI）。",
    ),
    "token_usage": Text(
        'In `response_metadata["token_usage"]`; `usage_metadata` is empty.',
        '只在 `response_metadata["token_usage"]` 里，`usage_metadata` 为空。',
    ),
    "ran half": Text(
        "It ran with half of a string (`stream_mode`: {}).",
        "工具带着只有一半的字符串执行了（`stream_mode`：{}）。",
    ),
    "ran closed": Text(
        "It ran where the cut arguments are valid JSON (`stream_mode`: {}).",
        "截断后的参数恰好是合法 JSON 时，工具照样执行了（`stream_mode`：{}）。",
    ),
    "no retries": Text(
        "It retries nothing, not even a rate limit.", "任何错误都不重试，限流也不例外。"
    ),
    "retried": Text("Sent {} times.", "共发送 {} 次。"),
    "raised": Text("Raised as {}.", "抛出的是 {}。"),
    "untold": Text(
        "Without the server's text where the answer is whole.",
        "非流式调用时丢失了服务端的错误说明。",
    ),
    "method": Text(
        'Not by the default method, but with `method="function_calling"`.',
        '默认方法不行，须指定 `method="function_calling"`。',
    ),
    "forced": Text(
        "For glm-5.3 its tool choice is refused, as public reports say of Z.ai.",
        "用于 glm-5.3 时，它发送的 tool_choice 会被拒绝（据公开反馈，Z.ai 即如此）。",
    ),
    "fenced": Text("JSON in a Markdown fence raises.", "JSON 包在 Markdown 代码块里时会报错。"),
    "not validated": Text(
        "An answer of another shape passes where the schema is a dict.",
        "schema 为字典时，结构不符的回答也会通过。",
    ),
    "one loop": Text("The second `asyncio.run` ends in `{}`.", "第二次 `asyncio.run` 报错：`{}`。"),
    "no pickle": Text("It cannot be pickled.", "不能用 pickle 序列化。"),
    "lost": Text("None of them arrive.", "参数片段全部丢失。"),
    "table": Text(
        "In LiteLLM's own table: `litellm.get_model_info`.",
        "在 LiteLLM 自带的模型表里：`litellm.get_model_info`。",
    ),
    "reached": Text("Those that were tried: {}.", "试过的有：{}。"),
    "needs zhipuai": Text(
        "`ZhipuAIEmbeddings` needs the package zhipuai besides.",
        "`ZhipuAIEmbeddings` 还需要安装 zhipuai 包。",
    ),
}
"""What is said below the table; `{}` is what was seen."""


def arguments(sight: Sight) -> Cell:
    """Whether fragments arrive, and make the calls that the server sent."""
    expected = [["write_file", FILE], ["weather", {"city": "Paris"}]]
    ways: Mapping[str, Any] = sight.seen["arguments"]
    streams = {way: w.get("fragments", 0) > 20 for way, w in ways.items()}
    right = {way: w.get("calls") == expected for way, w in ways.items()}
    seen = "; ".join(
        f"{way}: {w.get('fragments')} fragments, calls {'right' if right[way] else 'wrong'}"
        for way, w in ways.items()
    )
    if streams["default"] and right["default"]:
        return Cell(YES, seen)
    if streams["asked"] and right["asked"]:
        return Cell(PARTLY, seen, (("tool_stream", ""),))
    return Cell(NO, seen, () if right["asked"] else (("emptied", ""),))


def no_index(sight: Sight) -> Cell:
    """Whether calls come out right."""
    expected = [["weather", {"city": "Shanghai"}], ["weather", {"city": "Paris"}]]
    calls = sight.seen["no_index"].get("calls") or []
    seen = f"calls: {calls}"
    if calls == expected:
        return Cell(YES, seen)
    note = "first only" if calls[:1] == expected[:1] else "no arguments"
    return Cell(NO, seen, ((note, ""),))


def reasoning(sight: Sight) -> Cell:
    """Whether it is in all the places where LangChain has it."""
    places = [*sight.seen["reasoning"]["stream"], *sight.seen["reasoning"]["whole"]]
    found = [place == REASONING for place in places] + [sight.seen["events"]["reasoning"] > 0]
    names = ("chunks", "their blocks", "message", "its blocks", "v3 events")
    seen = ", ".join(f"{name} {_said(is_in)}" for name, is_in in zip(names, found, strict=True))
    return Cell(_of(found), seen)


def reasoning_back(sight: Sight) -> Cell:
    """Whether the second request has the reasoning of the first answer."""
    turn = sight.bodies("history")[1]["messages"][1]
    seen = f"the turn that was sent back has {', '.join(sorted(turn))}"
    notes = () if turn.get("tool_calls") else (("turn lost", ""),)
    return Cell(YES if turn.get("reasoning_content") == REASONING else NO, seen, notes)


def thinking(sight: Sight) -> Cell:
    """Whether the field of the package sends what GLM understands."""
    sent = {
        name: [body.get("thinking") for body in sight.bodies(f"thinking {name}")]
        for name in ("own", "extra")
    }
    seen = f"by its own field: {sent['own']}; added to the body: {sent['extra']}"
    off = [{"type": "disabled"}]
    if sent["own"] == off:
        return Cell(YES, seen)
    return Cell(PARTLY, seen, (("thinking", ""),)) if sent["extra"] == off else Cell(NO, seen)


def usage(sight: Sight) -> Cell:
    """Whether `usage_metadata` says what the server said."""
    came = sight.seen["usage"]["usage_metadata"] or {}
    seen = f"usage_metadata: {came or None}"
    numbers = (
        came.get("input_tokens"),
        came.get("output_tokens"),
        came.get("input_token_details", {}).get("cache_read"),
        came.get("output_token_details", {}).get("reasoning"),
    )
    if numbers == (11, 7, 5, 3):
        return Cell(YES, seen)
    if came:
        return Cell(PARTLY, seen)
    elsewhere = sight.seen["usage"]["elsewhere"]
    return Cell(PARTLY, seen, (("token_usage", ""),)) if elsewhere else Cell(NO, seen)


def cut(sight: Sight) -> Cell:
    """Whether a cut call is kept from running."""
    ran = {way: calls for way, calls in sight.seen["cut"].items() if calls}
    seen = f"ran: {ran or 'nothing'}"
    notes = []
    for note, prompt in (("ran half", "cut in a string"), ("ran closed", "cut and closed")):
        modes = [way.rpartition(", ")[2] for way in ran if way.startswith(prompt)]
        if modes:
            notes.append((note, ", ".join(f"`{mode}`" for mode in modes)))
    return Cell(NO if ran else YES, seen, (*notes,))


def balance(sight: Sight) -> Cell:
    """Whether a rate limit is sent again, and an empty balance is not."""
    empty, limited = len(sight.bodies("balance")), len(sight.bodies("rate limit"))
    seen = f"{empty} requests for code 1113, {limited} for 1302"
    if empty > 1:
        return Cell(NO, seen, (("retried", str(empty)),))
    return Cell(YES, seen) if limited > 1 else Cell(PARTLY, seen, (("no retries", ""),))


def overflow(sight: Sight) -> Cell:
    """Whether it is LangChain's class."""
    error = sight.seen["failing"]["overflow"]
    return Cell(YES if "ContextOverflowError" in error["is"] else NO, f"raised {error['type']}")


def hidden(sight: Sight) -> Cell:
    """Whether an error under HTTP 200 is raised for what it is."""
    errors = [sight.seen["failing"][f"error in a {where}"] for where in ("body", "stream")]
    types = [error["type"] if error else "nothing" for error in errors]
    seen = f"whole: {types[0]}, streamed: {types[1]}"
    is_told = [bool(error) and "overloaded" in error["text"] for error in errors]
    is_standard = all(bool(error) and "ModelError" in error["is"] for error in errors)
    shown = ", ".join(f"`{kind}`" for kind in _distinct(types))
    notes = [] if is_standard else [("raised", shown)]
    if any(is_told) and not all(is_told):
        notes.append(("untold", ""))
    return Cell(_of(is_told), seen, (*notes,))


def broken(sight: Sight) -> Cell:
    """Whether a stream without an end raises."""
    error = sight.seen["failing"]["no end"]
    return Cell(YES, f"raised {error['type']}") if error else Cell(NO, "ended silently")


def structured(sight: Sight) -> Cell:
    """Whether right answers become objects, and wrong ones errors."""
    came = sight.seen["structured"]
    right = {name: came[name] == CITY for name in ("right", "glm-5.3", "fenced")}
    validated = {name: "error" in came[name] for name in ("wrong", "wrong, dict")}
    lines = [*(f"{n}: {_said(r)}" for n, r in right.items())]
    lines += [f"{n}: {'refused' if v else 'passes'}" for n, v in validated.items()]
    seen = f"method {came['method']}; {', '.join(lines)}"
    if not right["right"]:
        return Cell(NO, seen)
    notes = {
        "method": came["method"] != "default",
        "forced": not right["glm-5.3"],
        "fenced": not right["fenced"],
        "not validated": not all(validated.values()),
    }
    wrong = tuple((name, "") for name, is_so in notes.items() if is_so)
    return Cell(PARTLY if wrong else YES, seen, wrong)


def search(sight: Sight) -> Cell:
    """Whether what was found is in the message."""
    came = sight.seen["search"]
    names = ("whole", "stream", "whole, cited", "stream, cited")
    found = [came[name] is True for name in names]
    seen = ", ".join(f"{name}: {_said(f)}" for name, f in zip(names, found, strict=True))
    return Cell(_of(found), seen)


def anywhere(sight: Sight) -> Cell:
    """Whether one model serves several loops, and can be pickled."""
    loops, pickled = sight.seen["loops"], sight.seen["pickled"]
    works = [loops.get("said") == ["Hello"] * 4, pickled.get("said") == "Hello"]
    notes: list[tuple[str, str]] = []
    if not works[0]:
        notes.append(("one loop", f"{loops['error']['error']}: {loops['error']['text']}"))
    if not works[1]:
        notes.append(("no pickle", ""))
    return Cell(_of(works), f"several loops {_said(works[0])}, pickle {_said(works[1])}", (*notes,))


def profile(sight: Sight) -> Cell:
    """Whether the model's sizes are known."""
    known = sight.seen["knowledge"]
    seen = f"max_input_tokens: {known['max_input_tokens']}, elsewhere: {known['elsewhere']}"
    if known["max_input_tokens"]:
        return Cell(YES, seen)
    return Cell(PARTLY, seen, (("table", ""),)) if known["elsewhere"] else Cell(NO, seen)


def cost(sight: Sight) -> Cell:
    """Whether an answer tells its price."""
    is_told = sight.seen["knowledge"]["cost"]
    return Cell(_said(is_told), f"a cost in the message: {_said(is_told)}")


def others(sight: Sight) -> Cell:
    """Which other APIs were asked."""
    apis = {
        "/responses": "OpenAI Responses",
        "/messages": "Anthropic",
        ":generateContent": "Gemini",
        "/api/generate": "Ollama",
    }
    asked = [received.path for received in sight.server.requests]
    found = [name for end, name in apis.items() if any(path.endswith(end) for path in asked)]
    seen = f"requests to {', '.join(found) or 'nothing else'}"
    return Cell(YES, seen, (("reached", ", ".join(found)),)) if found else Cell(NO, seen)


def embeddings(sight: Sight) -> Cell:
    """Whether a text was sent to be embedded."""
    paths = [received.path for received in sight.server.requests]
    error = sight.seen["embeddings"].get("error")
    if any(path.endswith("/embeddings") for path in paths):
        return Cell(YES, "a request to /embeddings")
    if error and error["error"] == "ImportError":
        return Cell(PARTLY, error["text"], (("needs zhipuai", ""),))
    return Cell(NO, f"nothing was asked: {error}" if error else "there are none")


def without_openai(sight: Sight) -> Cell:
    """Whether the package openai was imported."""
    is_in = sight.seen["imported"]["openai"]
    return Cell(NO if is_in else YES, f"openai {'imported' if is_in else 'not imported'}")


ROWS: Mapping[str, Row] = {
    "arguments": Row(
        Text("Tool-call arguments arrive as they are written", "工具调用的参数边生成边到达"),
        arguments,
    ),
    "no index": Row(
        Text(
            "Calls survive deltas without `index`, as some resellers send them",
            "增量不带 `index` 时（有些转售平台如此），调用仍然正确",
        ),
        no_index,
    ),
    "cut": Row(
        Text(
            "A call cut at `max_tokens` does not run in `create_agent`",
            "被 `max_tokens` 截断的调用不会在 `create_agent` 中执行",
        ),
        cut,
    ),
    "reasoning": Row(
        Text(
            "Reasoning in chunks, messages, `content_blocks`, v3 events",
            "消息块、消息、`content_blocks` 和 v3 事件里都有推理内容",
        ),
        reasoning,
    ),
    "reasoning back": Row(
        Text("Reasoning goes back with a tool's result", "推理内容会随工具结果一起回传"),
        reasoning_back,
    ),
    "thinking": Row(
        Text("A field of its own switches thinking off", "有专用参数可以关闭思考"),
        thinking,
    ),
    "structured": Row(
        Text(
            "Structured output where the host enforces no schema",
            "服务端不强制 schema 时也能结构化输出",
        ),
        structured,
    ),
    "search": Row(
        Text("What GLM's web search found is in the message", "消息里有 GLM 联网搜索的结果"),
        search,
    ),
    "usage": Row(Text("Token usage of streams", "流式输出的 token 用量"), usage),
    "balance": Row(
        Text(
            "Sends a rate limit (1302) again, an empty balance (1113) not",
            "限流（1302）会重试，余额不足（1113）不重试",
        ),
        balance,
    ),
    "overflow": Row(
        Text(
            "Too long a prompt (1261) is LangChain's `ContextOverflowError`",
            "提示词过长（1261）时抛出 LangChain 的 `ContextOverflowError`",
        ),
        overflow,
    ),
    "hidden": Row(
        Text(
            "An error under HTTP 200 is raised, with its text",
            "HTTP 200 响应里的错误会抛出，并带有错误说明",
        ),
        hidden,
    ),
    "broken": Row(
        Text(
            "A stream that ends without a finish reason raises",
            "流式响应没给出结束原因就终止时会报错",
        ),
        broken,
    ),
    "anywhere": Row(
        Text(
            "One object works in several event loops, and can be pickled",
            "同一个对象可用于多个事件循环，也能用 pickle 序列化",
        ),
        anywhere,
    ),
    "profile": Row(
        Text("The model's sizes are known (`profile`)", "内置模型规格（`profile`）"), profile
    ),
    "cost": Row(
        Text("The price of an answer stands in its metadata", "回答的元数据里有费用"), cost
    ),
    "others": Row(
        Text("The same class speaks other providers' APIs", "同一个类也能调用其他厂商的 API"),
        others,
    ),
    "embeddings": Row(
        Text("Embeddings in the same package", "同一个包里有向量模型（embeddings）"), embeddings
    ),
    "openai": Row(Text("Runs without the package openai", "不依赖 openai 包"), without_openai),
}

COSTS: Mapping[str, Text] = {
    "text": Text(
        "CPU per text chunk, ChatOpenAI = 1", "每个正文消息块的 CPU 时间（ChatOpenAI = 1）"
    ),
    "arguments": Text(
        "CPU per fragment of arguments, ChatOpenAI = 1",
        "每个参数片段的 CPU 时间（ChatOpenAI = 1）",
    ),
}
"""Rows that `make bench-peers` has measured."""


def _of(found: Sequence[bool]) -> str:
    return YES if all(found) else PARTLY if any(found) else NO


def _said(is_so: bool) -> str:
    return YES if is_so else NO


def _distinct(values: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:  # some cannot be hashed
        if value not in kept:
            kept.append(value)
    return kept
