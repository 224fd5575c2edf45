"""The server of the page in examples/web: its runs, its histories, its four wires."""

import ast
import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest
from pythons import async_agents_stream
from web_sites import TALK, demonstration, frames_of, site
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, Cut, Fail, Reply

STATIC = Path(__file__).parents[2] / "examples" / "web" / "static"
WRITE = Call("write_file", {"path": "a.py", "content": "print('你好')\n"})
LONG = "It goes on and on. " * 2000


def kinds(events):
    return [event["type"] for event in events]


def roles(messages):
    return [message["role"] for message in messages]


# --- runs ---


async def test_the_frames_are_numbered_and_as_the_schema_says(tmp_path):
    answers = [Reply(reasoning="Hm.", text="I write.", tool_calls=[WRITE]), Reply(text="Done.")]
    async with site(answers, tmp_path) as page:
        async with page.begun() as frames:
            seen = [frame async for frame in frames]
        schema = jsonschema.Draft202012Validator((await page.client.get("/api/schema")).json())
    *events, done = seen
    assert [frame["id"] for frame in events] == [str(n + 1) for n in range(len(events))]
    assert done["data"] == "[DONE]"
    for frame in events:
        schema.validate(json.loads(frame["data"]))
    assert events[-1]["event"] == "run_finished"
    written = tmp_path / "files" / "talk" / "a.py"
    assert written.read_text(encoding="utf-8") == "print('你好')\n"


@async_agents_stream
async def test_a_reader_that_comes_back_misses_nothing(tmp_path):
    async with site([Reply(text="0123456789" * 20)], tmp_path, pace=0.005) as page:
        async with page.begun() as frames:
            first = [await anext(frames) for _ in range(3)]
        assert (await page.show())["running"]
        headers = {"Last-Event-ID": first[-1]["id"]}
        async with page.client.stream("GET", f"{TALK}/run", headers=headers) as response:
            rest = [frame async for frame in frames_of(response)]
        after = await page.client.get(f"{TALK}/run")
    events = [json.loads(frame["data"]) for frame in [*first, *rest] if frame["id"]]
    said = "".join(event["text"] for event in events if event["type"] == "text_delta")
    assert said == "0123456789" * 20
    assert [int(frame["id"]) for frame in rest[:-1]] == list(range(4, 4 + len(rest) - 1))
    assert after.status_code == 204


@async_agents_stream
async def test_a_page_that_is_reloaded_sees_the_turn_from_its_beginning(tmp_path):
    answers = [Reply(text="First."), Reply(tool_calls=[WRITE]), Reply(text=LONG)]
    async with site(answers, tmp_path, pace=0.002) as page:
        await page.run("One.")
        async with page.begun("Two.") as frames:
            while json.loads((await anext(frames))["data"])["type"] != "text_delta":
                pass
            shown = await page.show()
            assert [m["text"] for m in shown["messages"]] == ["One.", "First.", "Two."]
            async with page.client.stream("GET", f"{TALK}/run") as response:
                again = await anext(frames_of(response))
        await page.client.delete(f"{TALK}/run")
    assert again["id"] == "1"


@async_agents_stream
async def test_a_stop_closes_the_connection_to_glm_and_keeps_what_was_said(tmp_path):
    answers = [Reply(reasoning="Hm.", text=LONG), Reply(text="Yes?")]
    async with site(answers, tmp_path, pace=0.002) as page:
        async with page.begun("Talk.") as frames:
            while json.loads((await anext(frames))["data"])["type"] != "text_delta":
                pass
            await page.client.delete(f"{TALK}/run")
            assert page.glm.requests[0].hung_up.wait(5)
            rest = [frame async for frame in frames]
        shown = await page.show()
        await page.run("Go on.")
        assert roles(page.sent) == ["user", "assistant", "user"]
    assert rest[-1]["data"] == "[DONE]"
    assert kinds(json.loads(f["data"]) for f in rest[:-1]) == ["text_delta"] * (len(rest) - 1)
    (asked, said) = shown["messages"]
    assert LONG.startswith(said["text"])
    assert said["text"]
    assert said["reasoning"] == "Hm."
    assert shown["turns"][asked["id"]]["status"] == "stopped"


@async_agents_stream
async def test_a_stop_while_tools_run_answers_every_call(tmp_path):
    calls = [Call("search_docs", {"query": "date"}), Call("list_files", {})]
    answers = [Reply(tool_calls=calls), Reply(text="I see.")]
    async with site(answers, tmp_path, tool_pace=0.2) as page:
        async with page.begun() as frames:
            while json.loads((await anext(frames))["data"])["type"] != "tool_finished":
                pass
            await page.client.delete(f"{TALK}/run")
        shown = await page.show()
        await page.run("Go on.")
        sent = page.sent
    results = {m["id"]: m["content"] for m in shown["messages"] if m["type"] == "tool"}
    assert results == {
        "call_0001": "The run was stopped before this call had a result.",
        "call_0002": "The folder is empty.",
    }
    assert roles(sent) == ["user", "assistant", "tool", "tool", "user"]


@async_agents_stream
async def test_a_run_that_nobody_watches_is_stopped(tmp_path):
    async with site([Reply(text=LONG)], tmp_path, pace=0.005, linger=0.05) as page:
        async with page.begun() as frames:
            await anext(frames)
        assert await page.hung_up()
        shown = await page.settled()
    assert [turn["status"] for turn in shown["turns"].values()] == ["stopped"]


@async_agents_stream
async def test_a_failed_run_is_told_of_and_the_conversation_goes_on(tmp_path):
    broken = Cut(Reply(text="I write.", tool_calls=[WRITE]), after=1500)
    answers = [broken, Fail(401, "1000", "no such key"), Reply(text="Now.")]
    async with site(answers, tmp_path) as page:
        first, second = await page.run("One."), await page.run("Two.")
        shown = await page.show()
        third = await page.run("Three.")
        sent = page.sent
    assert [first[-1]["error"]["type"], second[-1]["error"]["code"]] == [
        *("GLMStreamInterruptedError", "1000"),
    ]
    errors = [turn["error"]["type"] for turn in shown["turns"].values()]
    assert errors == ["GLMStreamInterruptedError", "GLMAuthenticationError"]
    assert third[-1]["type"] == "run_finished"
    assert roles(sent) == ["user", "assistant", "user", "user"]
    assert sent[1]["content"] == "I write."


async def test_what_is_no_error_of_glm_is_kept_from_the_page(tmp_path, monkeypatch, caplog):
    async with site([Reply(text="Hi.")], tmp_path) as page:

        def broken(*_, **__):
            raise RuntimeError("secret")

        monkeypatch.setattr(ChatGLM, "_astream", broken)
        monkeypatch.setattr(ChatGLM, "_agenerate", broken)
        monkeypatch.setattr(ChatGLM, "_astream_chat_model_events", broken)
        events = await page.run()
    assert events[-1]["error"]["message"] == "The run failed. The server's log says why."
    assert "secret" in caplog.text


@async_agents_stream
async def test_a_conversation_has_one_run_at_a_time_and_others_go_on(tmp_path):
    async with site(Reply(text=LONG), tmp_path, pace=0.005) as page:
        async with page.begun() as frames:
            await anext(frames)
            refused = await page.client.post(f"{TALK}/run", json={"message": "Me too."})
            async with page.begun(talk="/api/conversations/other") as others:
                await anext(others)
        assert refused.status_code == 409
        assert len(page.glm.requests) == 2
    assert all(request.hung_up.wait(5) for request in page.glm.requests)


# --- a person in between ---

ASKED = [Reply(tool_calls=[WRITE]), Reply(text="As you say.")]


@pytest.mark.parametrize(("word", "writes"), [("allow", True), ("refuse", False)])
async def test_a_person_is_asked_before_a_file_is_written(tmp_path, word, writes):
    async with site(ASKED, tmp_path) as page:
        events = await page.run(ask=True)
        shown = await page.show()
        (asked,) = shown["waiting"]
        assert not (tmp_path / "files" / "talk" / "a.py").exists()
        rest = await page.run("", answers={asked["id"]: word})
        after = await page.show()
    assert events[-1]["type"] == "run_interrupted"
    assert events[-1]["interrupts"][0]["value"] == asked["value"]
    assert asked["value"]["tool_call_id"] == events[0]["id"]
    assert kinds(rest)[:2] == ["tool_started", "tool_finished" if writes else "tool_failed"]
    assert (tmp_path / "files" / "talk" / "a.py").exists() == writes
    assert [turn["status"] for turn in after["turns"].values()] == ["run_finished"]
    assert after["waiting"] == []


async def test_a_new_message_instead_of_an_answer(tmp_path):
    async with site(ASKED, tmp_path) as page:
        await page.run(ask=True)
        events = await page.run("Something else.")
        assert roles(page.sent) == ["user", "assistant", "tool", "user"]
        shown = await page.show()
    assert events[-1]["type"] == "run_finished"
    assert shown["waiting"] == []
    assert not (tmp_path / "files" / "talk" / "a.py").exists()


# --- histories ---


async def test_conversations_are_kept_and_forgotten(tmp_path):
    async with site(Reply(text="Hi."), tmp_path) as page:
        await page.run("First  talk\nof two", talk="/api/conversations/one")
        await page.run("Second talk", talk="/api/conversations/two")
    async with site(Reply(text="Again."), tmp_path) as page:
        listed = (await page.client.get("/api/conversations")).json()
        await page.run("More.", talk="/api/conversations/one")
        sent = page.sent
        await page.client.delete("/api/conversations/two")
        left = (await page.client.get("/api/conversations")).json()
        gone = await page.show("/api/conversations/two")
    assert [one["title"] for one in listed] == ["Second talk", "First talk of two"]
    assert [message["content"] for message in sent] == ["First  talk\nof two", "Hi.", "More."]
    assert [one["id"] for one in left] == ["one"]
    assert (gone["messages"], gone["turns"]) == ([], {})


# --- the other wires ---


@async_agents_stream
async def test_a_websocket_has_the_same_events_and_its_end_stops_the_run(tmp_path):
    answers = [Reply(text="Hi."), Reply(text=LONG), Reply(text=LONG)]
    async with site(answers, tmp_path, pace=0.002) as page:
        url = f"ws{str(page.client.base_url).removeprefix('http')}{TALK}/run"
        async with connect(url) as socket:
            await socket.send('{"message": "Hello"}')
            events = [json.loads(text) async for text in socket]
        async with connect(url) as socket:
            await socket.send('{"message": "Talk"}')
            await socket.recv()
        assert await page.hung_up(1)
        await page.settled()
        async with connect(url) as socket:
            await socket.send('{"message": "Talk"}')
            await socket.recv()
            await socket.send('{"stop": true}')
            async for _ in socket:
                pass
        assert page.glm.requests[2].hung_up.is_set()
    assert kinds(events)[-2:] == ["message_finished", "run_finished"]


def ag_ui(message):
    said = {"id": "m", "role": "user", "content": message}
    empty = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": "talk", "runId": "r", "messages": [said], **empty}


def vercel(message):
    parts = [{"type": "text", "text": message}]
    return {"id": "talk", "messages": [{"id": "m", "role": "user", "parts": parts}]}


OTHERS = [
    pytest.param("/ag-ui", ag_ui, "RUN_FINISHED", id="ag-ui"),
    pytest.param("/vercel", vercel, "finish", id="vercel"),
]


@pytest.mark.parametrize(("path", "body", "last"), OTHERS)
async def test_others_protocols_speak_with_the_same_agent(tmp_path, path, body, last):
    async with site([Reply(text="Hi."), Reply(text="Again.")], tmp_path) as page:
        first = await page.client.post(path, json=body("One."))
        await page.client.post(path, json=body("Two."))
        sent = page.sent
    said = [json.loads(line[6:]) for line in first.text.splitlines() if line.startswith("data: {")]
    assert said[-1]["type"] == last
    assert [message["content"] for message in sent] == ["One.", "Hi.", "Two."]


@async_agents_stream
@pytest.mark.parametrize(("path", "body", "last"), OTHERS)
async def test_others_protocols_stop_with_their_request(tmp_path, path, body, last):
    async with site(Reply(text=LONG), tmp_path, pace=0.005) as page:
        async with page.client.stream("POST", path, json=body("One.")) as response:
            lines = response.aiter_lines()
            while "on and" not in await anext(lines):
                pass
        assert await page.hung_up()
        shown = await page.settled()
    assert LONG.startswith(shown["messages"][-1]["text"])


# --- who may come in ---


async def test_the_page_may_load_nothing_from_elsewhere(tmp_path):
    async with site([], tmp_path) as page:
        answers = [await page.client.get(path) for path in ("/", "/static/main.js", "/api/about")]
    for answer in answers:
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http" not in answers[0].text


def test_the_page_says_everything_in_both_languages():
    texts = (STATIC / "words.js").read_text(encoding="utf-8")
    english, chinese = (part.split("suggestions: [")[0] for part in texts.split("  zh: {")[:2])
    keys = re.findall(r"^    (\w+):", english, re.MULTILINE)
    assert keys == re.findall(r"^    (\w+):", chinese, re.MULTILINE)
    used = "".join(file.read_text(encoding="utf-8") for file in STATIC.glob("*.*"))
    assert [key for key in keys if len(re.findall(rf"\b{key}\b", used)) < 3] == []


async def test_other_sites_are_refused(tmp_path):
    async with site([], tmp_path) as page:
        foreign = {"Origin": "https://evil.example"}
        posted = await page.client.post(f"{TALK}/run", json={"message": "x"}, headers=foreign)
        rebound = await page.client.get("/api/conversations", headers={"Host": "evil.example"})
        odd = await page.client.get("/api/conversations/..%2F..")
        url = f"ws{str(page.client.base_url).removeprefix('http')}{TALK}/run"
        with pytest.raises(InvalidStatus):
            async with connect(url, origin="https://evil.example"):
                pass
    assert [posted.status_code, rebound.status_code] == [403, 400]
    assert odd.status_code in {404, 422}


# --- the command, its tools, its demonstration ---


@async_agents_stream
async def test_the_command_serves_until_it_is_interrupted(tmp_path):
    command = [sys.executable, str(STATIC.parent / "app.py"), "--port", "0", "--data", "kept"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, **pipes)
    try:
        url, _, about = (await process.stdout.readline()).decode().partition(" ")
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            body = {"message": "Add up my spending"}
            async with client.stream("POST", f"{TALK}/run", json=body) as response:
                frames = frames_of(response)
                first = await anext(frames)
                process.send_signal(signal.SIGINT)
                *_, last = [frame async for frame in frames]
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert "scripted model" in about
    assert (first["event"], last["event"]) == ("reasoning_delta", "done")
    assert (process.returncode, errors.decode()) == (0, "")
    assert (tmp_path / "kept" / ".gitignore").read_text() == "*\n"


REFUSED = [
    (Call("read_file", {"path": "../../conversations.sqlite"}), "is not a file in the folder"),
    (Call("write_file", {"path": "/etc/none", "content": ""}), "is not a file in the folder"),
    (Call("check_python", {"path": "."}), "is not a file in the folder"),
    (Call("read_file", {"path": "none"}), "cannot be read"),
    (Call("edit_file", {"path": "none", "old": "x", "new": "y"}), "cannot be read"),
    (Call("search_docs", {"query": "zzz"}), "Nothing was found"),
]


async def test_a_tool_refuses_and_the_model_goes_on(tmp_path):
    answers = [Reply(tool_calls=[call for call, _ in REFUSED]), Reply(text="I see.")]
    async with site(answers, tmp_path) as page:
        events = await page.run()
    failed = {event["id"]: event["error"] for event in events if event["type"] == "tool_failed"}
    assert len(failed) == len(REFUSED)
    for at, (_, says) in enumerate(REFUSED, 1):
        assert says in failed[f"call_{at:04}"]
    assert events[-1]["type"] == "run_finished"


STORIES = [
    pytest.param("Write a small program that adds up my spending", id="english"),
    pytest.param("写一个小程序,按月汇总我的支出", id="chinese"),
]


@pytest.mark.parametrize("message", STORIES)
async def test_the_demonstration_recovers_from_its_mistake(tmp_path, message):
    async with site(demonstration.answer, tmp_path) as page:
        events = await page.run(message)
    ends = [e["type"] for e in events if e["type"] in {"tool_finished", "tool_failed"}]
    assert ends == ["tool_finished"] * 4 + ["tool_failed"] + ["tool_finished"] * 2
    assert {e["id"] for e in events if e["type"] == "tool_progress"} == {
        *("call_0001", "call_0002", "call_0003"),
    }
    program = tmp_path / "files" / "talk" / "spending.py"
    ast.parse(program.read_text(encoding="utf-8"))


@async_agents_stream
async def test_the_demonstration_breaks_off_where_it_is_asked_to(tmp_path):
    async with site(demonstration.answer, tmp_path) as page:
        events = await page.run("Show me what happens when the connection breaks")
        other = await page.run("Something else")
    assert kinds(events)[-2:] == ["tool_call_invalid", "run_failed"]
    assert other[-1]["type"] == "run_finished"
