"""The pages of the examples that serve, in a real Chromium: useChat's, Flask's, the WebSocket's.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-browser` runs it. npm builds
the page of `use_chat` at the first start. The browser is the system's own, see `check_web.py`.
"""

import shutil
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect
from pythons import async_agents_stream
from served_examples import DONE, EXAMPLES, WRITE, glm_server, served

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONTENT = WRITE.arguments["content"]
LONG = 30_000  # milliseconds: a busy machine is slow

if shutil.which("npm") is None and not (EXAMPLES / "use_chat" / "dist" / "page.js").exists():
    pytest.exit("No npm, which builds the page of examples/use_chat.", returncode=1)


@pytest.fixture(scope="module")
def glm():
    with glm_server() as server:
        yield server


@pytest.fixture(scope="module")
def use_chat(glm):
    with served("use_chat/app.py", glm=glm) as process:
        yield process.url


@asynccontextmanager
async def opened(browser, url):
    """A page that may write no error to its console."""
    written = []
    page = await browser.new_page()
    page.set_default_timeout(LONG)
    page.on("pageerror", lambda error: written.append(str(error)))
    page.on("console", lambda said: written.append(said.text) if said.type == "error" else None)
    await page.goto(url)
    try:
        yield page
    finally:
        await page.close()
    assert written == []


async def ask(page, question):
    await page.locator("input").fill(question)
    await page.keyboard.press("Enter")


async def grows(locator):
    """The text of an element, twice: as soon as there is some, and when there is more."""
    await expect(locator).not_to_be_empty(timeout=LONG)
    first = await locator.inner_text()
    await expect(locator).not_to_have_text(first, timeout=LONG)
    return first, await locator.inner_text()


def asked(glm, question):
    return [r for r in glm.requests if r.body["messages"][-1].get("content") == question]


# --- useChat ---


async def test_use_chat_shows_a_run_and_the_next_question_goes_with_its_history(
    browser, use_chat, glm
):
    async with opened(browser, use_chat) as page:
        await ask(page, "write in the browser")
        call = page.locator("article")
        await expect(call).to_have_attribute("data-state", "output-available", timeout=LONG)
        await expect(call.locator("header")).to_contain_text("write_file a.py")
        await expect(call.locator("pre")).to_have_text(CONTENT)
        await expect(call.locator("footer")).to_have_text(DONE)
        await expect(page.locator(".assistant > p")).to_have_text(["Hm.", "I write.", "Done."])
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        await ask(page, "talk in the browser")
        await expect(page.locator(".assistant").last).to_have_text("Hi.")
    (request,) = asked(glm, "talk in the browser")
    roles = [message["role"] for message in request.body["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    (thought,) = [m["reasoning_content"] for m in request.body["messages"] if "tool_calls" in m]
    assert thought == "Hm."


@async_agents_stream
async def test_use_chat_arguments_grow_until_stop_hangs_up_on_the_model(browser, use_chat, glm):
    async with opened(browser, use_chat) as page:
        await ask(page, "long in the browser")
        call = page.locator("article")
        first, more = await grows(call.locator("pre"))
        await expect(call).to_have_attribute("data-state", "input-streaming")
        await expect(call.locator("header")).to_contain_text("a.py")
        (request,) = asked(glm, "long in the browser")
        assert not request.answered.is_set()
        await page.get_by_role("button", name="Stop").click()
        assert request.hung_up.wait(10)
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        await ask(page, "talk after a stop")
        await expect(page.locator(".assistant").last).to_have_text("Hi.")
    assert more.startswith(first)
    (request,) = asked(glm, "talk after a stop")
    assert [message["role"] for message in request.body["messages"]] == ["user", "user"]


async def test_use_chat_shows_an_error_and_tries_again(browser, use_chat, glm):
    async with opened(browser, use_chat) as page:
        await ask(page, "retry in the browser")
        await expect(page.get_by_role("alert")).to_contain_text("no such luck", timeout=LONG)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator(".assistant")).to_have_text("Now.", timeout=LONG)
        await expect(page.get_by_role("alert")).to_have_count(0)
    first, second = asked(glm, "retry in the browser")
    assert first.body["messages"] == second.body["messages"]


# --- the pages inside of the other examples ---

PAGES = [
    pytest.param("flask_sse.py", id="flask"),
    pytest.param("fastapi_websocket.py", id="websocket", marks=async_agents_stream),
]


@pytest.mark.parametrize("file", PAGES)
async def test_a_page_shows_arguments_as_they_are_typed_stops_and_shows_errors(browser, file, glm):
    with served(file, glm=glm) as process:
        async with opened(browser, process.url) as page:
            log = page.locator("#log")
            await ask(page, f"write with {file}")
            for text in ("I write.", "write_file\npath: a.py\ncontent: ", CONTENT, DONE, "Done."):
                await expect(log).to_contain_text(text, timeout=LONG)
            question = f"long with {file}"
            await ask(page, question)
            await expect(log).to_contain_text("on and on", timeout=LONG)
            (request,) = asked(glm, question)
            assert not request.answered.is_set()
            await page.get_by_role("button", name="Stop").click()
            assert request.hung_up.wait(10)
            await ask(page, f"fail with {file}")
            await expect(log.locator(".failed")).to_contain_text("no such luck", timeout=LONG)
