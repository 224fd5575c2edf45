"""The bytes of a `Reply`: key for key as recorded, whatever the request asks for."""

import json

import pytest

from langchain_glm.testing import Call, GLMServer, Reply

HEAD = (
    '{"id":"202601010000000000000000000001","created":1767225601,'
    '"object":"chat.completion.chunk","model":"glm-4.7","choices":['
)
USAGE = (
    '"usage":{"prompt_tokens":13,"completion_tokens":%d,"total_tokens":%d,'
    '"prompt_tokens_details":{"cached_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":%d}}'
)


def stream(*choices, completion, reasoning, first=""):
    """The expected body: every choice in a frame, usage on the last, then the end."""
    usage = "," + USAGE % (completion, 13 + completion, reasoning)
    frames = [f"data: {HEAD}{choice}]" for choice in choices]
    frames[0] += first
    frames[-1] += usage
    return "".join(frame + "}\n\n" for frame in frames) + "data: [DONE]\n\n"


def delta(text):
    return f'{{"index":0,"delta":{text}}}'


def finish(reason):
    head = f'{{"index":0,"finish_reason":"{reason}",'
    return head + '"delta":{"role":"assistant","content":""}}'


REASONING = [
    delta('{"role":"assistant","reasoning_content":"Let "}'),
    delta('{"role":"assistant","reasoning_content":"me"}'),
]
TEXT = [
    delta('{"role":"assistant","content":"你好，世"}'),
    delta('{"role":"assistant","content":"界"}'),
]
WHOLE_CALLS = [
    delta(
        '{"tool_calls":[{"id":"call_0001","index":0,"type":"function",'
        '"function":{"name":"add","arguments":"{\\"a\\": \\"é\\"}"}}]}'
    ),
    delta(
        '{"tool_calls":[{"id":"mine","index":1,"type":"function",'
        '"function":{"name":"go","arguments":"{\\"a"}}]}'
    ),
]
CALLS_IN_FRAGMENTS = [
    delta(
        '{"tool_calls":[{"index":0,"id":"call_0001","type":"function",'
        '"function":{"name":"add","arguments":""}}]}'
    ),
    *(
        delta(
            '{"tool_calls":[{"index":0,"type":"function",'
            f'"function":{{"arguments":"{piece}"}}}}]}}'
        )
        for piece in ('{\\"a\\"', ': \\"é', '\\"}')
    ),
    delta(
        '{"tool_calls":[{"index":1,"id":"mine","type":"function",'
        '"function":{"name":"go","arguments":""}}]}'
    ),
    delta('{"tool_calls":[{"index":1,"type":"function","function":{"arguments":"{\\"a"}}]}'),
]
CALLS = (Call("add", {"a": "é"}), Call("go", '{"a', id="mine"))
FULL = Reply("Let me", "你好，世界", CALLS)


@pytest.mark.parametrize(
    ("reply", "body", "expected"),
    [
        pytest.param(
            Reply(text="你好，世界"),
            {},
            stream(*TEXT, finish("stop"), completion=2, reasoning=0),
            id="text",
        ),
        pytest.param(
            FULL,
            {},
            stream(
                *REASONING, *TEXT, *WHOLE_CALLS, finish("tool_calls"), completion=10, reasoning=2
            ),
            id="whole-calls",
        ),
        pytest.param(
            FULL,
            {"tool_stream": True},
            stream(
                *REASONING,
                *TEXT,
                *CALLS_IN_FRAGMENTS,
                finish("tool_calls"),
                completion=10,
                reasoning=2,
            ),
            id="calls-in-fragments",
        ),
        pytest.param(
            FULL,
            {"thinking": {"type": "disabled"}},
            stream(*TEXT, *WHOLE_CALLS, finish("tool_calls"), completion=8, reasoning=0),
            id="thinking-disabled",
        ),
        pytest.param(
            Reply(finish_reason="length", web_search=[{"title": "t"}]),
            {},
            stream(
                finish("length"), completion=0, reasoning=0, first=',"web_search":[{"title":"t"}]'
            ),
            id="nothing-but-a-finish",
        ),
        pytest.param(
            Reply(text="你好，世界", web_search=[{"title": "t"}]),
            {},
            stream(
                *TEXT,
                finish("stop"),
                completion=2,
                reasoning=0,
                first=',"web_search":[{"title":"t"}]',
            ),
            id="web-search-on-the-first-frame",
        ),
    ],
)
def test_stream(ask, reply, body, expected):
    with GLMServer(reply) as server:
        status, got = ask(server, stream=True, **body)
    assert (status, got.decode()) == (200, expected)


WHOLE = (
    '{"choices":[{"finish_reason":"%s","index":0,"message":{"content":"%s",%s"role":"assistant"%s}}],'
    '"created":1767225601,"id":"202601010000000000000000000001","model":"%s",'
    '"object":"chat.completion","request_id":"202601010000000000000000000001","usage":%s}'
)
ESTIMATE = (
    '{"completion_tokens":%d,"completion_tokens_details":{"reasoning_tokens":%d},'
    '"prompt_tokens":13,"prompt_tokens_details":{"cached_tokens":0},"total_tokens":%d}'
)


@pytest.mark.parametrize(
    ("reply", "body", "expected"),
    [
        pytest.param(
            Reply(text="Hi"),
            {},
            WHOLE % ("stop", "Hi", "", "", "glm-4.7", ESTIMATE % (1, 0, 14)),
            id="text",
        ),
        pytest.param(
            Reply("Let me", tool_calls=[Call("add", {"a": 1})]),
            {"stream": False, "tool_stream": True},
            WHOLE
            % (
                "tool_calls",
                "",
                '"reasoning_content":"Let me",',
                (
                    ',"tool_calls":[{"function":{"arguments":"{\\"a\\": 1}","name":"add"},'
                    '"id":"call_0001","index":0,"type":"function"}]'
                ),
                "glm-4.7",
                ESTIMATE % (5, 2, 18),
            ),
            id="call",
        ),
        pytest.param(
            Reply("Let me", "Hi", finish_reason="sensitive", usage={"n": 1}, model="m"),
            {"thinking": {"type": "disabled"}},
            WHOLE % ("sensitive", "Hi", "", "", "m", '{"n":1}'),
            id="all-given",
        ),
        pytest.param(
            Reply(text="Hi", usage={}, web_search=[{"title": "t"}]),
            {},
            (WHOLE % ("stop", "Hi", "", "", "glm-4.7", "{}"))[:-1]
            + ',"web_search":[{"title":"t"}]}',
            id="web-search",
        ),
    ],
)
def test_whole_body(connect, reply, body, expected):
    with GLMServer(reply) as server, connect(server) as client:
        response = client.send(**body)
        got = response.read()
    assert got.decode() == expected
    assert response.getheader("Content-Type") == "application/json"
    assert response.getheader("Content-Length") == str(len(got))


def test_stream_is_chunked_one_frame_a_chunk(connect):
    with GLMServer(Reply(text="Hi")) as server, connect(server) as client:
        response = client.send(stream=True)
        assert response.getheader("Transfer-Encoding") == "chunked"
        assert response.getheader("Content-Type") == "text/event-stream"
        # read1 returns at the border of a chunk
        frames = [response.read1() for _ in range(3)]
        sent = [piece for _, piece in server.requests[0].sent]
        response.read()
    assert frames == sent
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in frames)


@pytest.mark.parametrize(("size", "count"), [(1, 10), (3, 4), (10, 1), (99, 1)])
def test_fragment_size(ask, size, count):
    with GLMServer(Reply(text="0123456789"), fragment_size=size) as server:
        _, body = ask(server, stream=True)
    chunks = [json.loads(line[6:]) for line in body.decode().split("\n\n")[:-2]]
    pieces = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert len(pieces) == count + 1  # and the finishing chunk
    assert "".join(pieces) == "0123456789"


def test_ids_differ_from_response_to_response_and_not_from_run_to_run(ask):
    def run():
        with GLMServer(Reply(tool_calls=[Call("f"), Call("f")])) as server:
            bodies = [json.loads(ask(server)[1]) for _ in range(2)]
        calls = [call["id"] for b in bodies for call in b["choices"][0]["message"]["tool_calls"]]
        return [body["id"] for body in bodies], calls

    ids, calls = run()
    assert calls == ["call_0001", "call_0002", "call_0003", "call_0004"]
    assert len(set(ids)) == 2
    assert run() == (ids, calls)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"raw": b"not json"}, "1210"),
        ({"raw": b"[1]"}, "1210"),
        ({"raw": b""}, "1210"),
        ({"model": ""}, "1214"),
        ({"messages": []}, "1213"),
        ({"messages": [{"role": "robot", "content": ""}]}, "1214"),
        ({"messages": ["hello"]}, "1214"),
        ({"thinking": {"type": "maybe"}}, "1210"),
        ({"thinking": True}, "1210"),
        ({"model": "glm-5.3", "thinking": {"type": "disabled"}}, "1210"),
        ({"model": "zai-org/GLM-5.3-FP8", "thinking": {"type": "disabled"}}, "1210"),
        ({"model": "glm-5.3", "tool_choice": "required"}, "1210"),
        ({"model": "glm-5.3-flash", "tool_choice": {"type": "function"}}, "1210"),
        ({"temperature": 1.01}, "1210"),
        ({"temperature": -1}, "1210"),
        ({"messages": [{"role": "assistant", "content": None}]}, "1214"),
    ],
)
def test_a_request_that_glm_refuses(ask, request_, code):
    with GLMServer(Reply(text="never")) as server:
        status, body = ask(server, stream=True, **request_)
    assert (status, json.loads(body)["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    "request_",
    [
        {"thinking": {"clear_thinking": False}},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "disabled"}},
        {"model": "glm-99"},
        {"model": "glm-5.3", "tool_choice": "auto"},
        {"model": "glm-5.3-flash", "tool_choice": "none"},
        {"model": "glm-5.2", "tool_choice": "required"},
        {"temperature": 0},
        {"temperature": 1.0},
        {"temperature": None},
        {"messages": [{"role": "assistant", "content": ""}, {"role": "assistant"}]},
        {"messages": [{"role": "developer", "content": ""}, {"role": "tool", "content": ""}]},
        {"no_such_field": 1},
    ],
)
def test_a_request_that_glm_takes(ask, request_):
    with GLMServer(Reply(text="Hi")) as server:
        assert ask(server, **request_)[0] == 200
