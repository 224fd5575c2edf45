"""The page of examples/web in a real Chromium, at work against GLMServer.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-browser` runs it. The browser
is the system's own: `chromium`, or what the variable CHROMIUM names. With UPDATE_SCREENSHOTS=1 it
makes the pictures in docs/images again.
"""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect
from pythons import async_agents_stream
from web_sites import demonstration, site

from langchain_glm.testing import Call, Fail, Reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST_IMAGE = 200_000

PROGRAM = "".join(f"line_{n} = 'value {n}'\n" for n in range(60))
WRITE = Call("write_file", {"path": "notes/a.py", "content": PROGRAM})
LONG = "It goes on and on. " * 2000
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 860}


@asynccontextmanager
async def opened(browser, site, path="/", *, complaints=(), **context):
    """A page of the site that may write to its console only what is expected."""
    written = []
    context = await browser.new_context(**{"viewport": DESK, "locale": "en-GB", **context})
    page = await context.new_page()
    page.on("pageerror", lambda error: written.append(str(error)))
    page.on("console", lambda said: written.append(said.text) if said.type == "error" else None)
    await page.goto(f"{site.url}{path}")
    await expect(page.locator("#suggestions button")).to_have_count(3)
    try:
        yield page
    finally:
        await context.close()
    assert [text for text in written if not any(known in text for known in complaints)] == []


async def send(page, text):
    await page.locator("#message").fill(text)
    await page.keyboard.press("Enter")


async def ended(page, status="finished"):
    await expect(page.locator(".turn").last).to_have_attribute("data-status", status, timeout=30000)


async def overflow(page):
    """How much wider than the window the page is, and what it scrolls."""
    return await page.evaluate(
        """() => [document.documentElement, document.querySelector("#log"), document.body]
            .map((element) => element.scrollWidth - element.clientWidth)"""
    )


# --- arguments as they are typed ---


@async_agents_stream
async def test_a_card_appears_before_its_arguments_end_and_its_text_grows(browser, tmp_path):
    answers = [Reply(tool_calls=[WRITE]), Reply(text="Done.")]
    async with site(answers, tmp_path, pace=0.006) as server, opened(browser, server) as page:
        await send(page, "Write.")
        card, code = page.locator(".card"), page.locator(".card .code code")
        await expect(card).to_have_attribute("data-state", "typing")
        await expect(card.locator(".what")).to_have_text("notes/a.py")
        seen = []
        while not server.glm.requests[0].answered.is_set():
            seen.append(await code.inner_text() if await code.count() else "")
            await page.wait_for_timeout(50)
        await ended(page)
        assert (await code.inner_text()).rstrip("\n") == PROGRAM.rstrip("\n")
        await expect(card).to_have_attribute("data-state", "done")
    lengths = [len(text) for text in seen]
    assert len(set(lengths)) > 8
    assert lengths == sorted(lengths)
    assert all(PROGRAM.startswith(text.strip("\n")) for text in seen)


async def test_the_demonstration(browser, tmp_path):
    demo = site(demonstration.answer, tmp_path, pace=0.003, tool_pace=0.02, is_demonstration=True)
    async with demo as server, opened(browser, server) as page:
        await expect(page.locator("#scripted")).to_be_visible()
        await page.locator("#suggestions button").first.click()
        running = page.locator('.card[data-state="running"]')
        await expect(running).to_have_count(3)
        await expect(page.locator(".card progress")).to_have_count(3)
        await expect(page.locator("#conversations a")).to_have_count(1)
        await expect(page.locator('.card[data-state="failed"] .error')).to_contain_text(
            "'(' was never closed"
        )
        await ended(page)
        states = await page.locator(".card").evaluate_all("all => all.map(c => c.dataset.state)")
        assert states == ["done"] * 4 + ["failed"] + ["done"] * 2
        thoughts = page.locator(".thought")
        assert await thoughts.count() == 4
        await expect(thoughts.first.locator(".text")).to_be_hidden()
        await thoughts.first.locator("summary").click()
        await expect(thoughts.first.locator(".text")).to_contain_text("I ask them at once")
        end = page.locator(".end")
        for words in ("Done", " s", "6 model calls", "tokens in"):
            await expect(end).to_contain_text(words)
        await expect(page.locator("#status")).to_have_text("Done")
        await expect(page.locator(".prose strong")).to_have_text("without rounding errors")


# --- stop ---

STOPS = [
    pytest.param("/", "button", id="button"),
    pytest.param("/", "Escape", id="escape"),
    pytest.param("/?wire=websocket", "button", id="websocket"),
]


@async_agents_stream
@pytest.mark.parametrize(("path", "way"), STOPS)
async def test_a_stop_closes_the_connection_to_glm(browser, tmp_path, path, way):
    answers = [Reply(text=LONG), Reply(text="Yes?")]
    async with site(answers, tmp_path, pace=0.005) as server, opened(browser, server, path) as page:
        await send(page, "Talk.")
        await expect(page.locator(".prose")).to_contain_text("on and on")
        if way == "button":
            await page.locator("#stop").click()
        else:
            await page.keyboard.press(way)
        await ended(page, "stopped")
        assert await server.hung_up()
        said = (await page.locator(".prose").inner_text()).strip()
        await expect(page.locator("#send")).to_be_visible()
        await page.reload()
        await ended(page, "stopped")
        await expect(page.locator(".prose")).to_contain_text(said)  # drawn a frame later
        kept = (await page.locator(".prose").inner_text()).strip()
        await send(page, "Go on.")
        await ended(page)
    assert LONG.startswith(kept)
    assert kept.startswith(said)


# --- history ---


async def test_a_reload_shows_the_history(browser, tmp_path):
    story = site(demonstration.answer, tmp_path)
    async with story as server, opened(browser, server) as page:
        await page.locator("#suggestions button").first.click()
        await ended(page)
        shown = """() => [...document.querySelectorAll(
            ".user, .prose, .tool, .what, .code code, .error, .result pre, .counts")]
            .map((element) => element.textContent.trimEnd())"""
        live = await page.evaluate(shown)
        await page.reload()
        await ended(page)
        await expect(page.locator(".card")).to_have_count(7)
        await page.wait_for_timeout(100)  # text is shown with the next frame
        assert await page.evaluate(shown) == live


@async_agents_stream
async def test_a_reload_in_the_middle_comes_back_to_the_run(browser, tmp_path):
    answers = [Reply(reasoning="Hm.", tool_calls=[WRITE]), Reply(text="Done.")]
    async with site(answers, tmp_path, pace=0.006) as server, opened(browser, server) as page:
        await send(page, "Write.")
        await expect(page.locator(".code")).to_be_visible()
        await page.reload()
        await expect(page.locator('.card[data-state="typing"]')).to_be_visible()
        await ended(page)
        assert await page.locator(".card").count() == 1
        assert (await page.locator(".code code").inner_text()).strip() == PROGRAM.strip()
        assert len(server.glm.requests) == 2


async def test_a_broken_connection_to_the_page_is_mended(browser, tmp_path):
    text = "".join(f"word{n} " for n in range(200))
    lost = ("ERR_", "net::")
    async with (
        site([Reply(text=text)], tmp_path, pace=0.006) as server,
        opened(browser, server, complaints=lost) as page,
    ):
        await send(page, "Talk.")
        await expect(page.locator(".prose")).to_contain_text("word9 ")
        server.break_connections()
        await ended(page)
        assert (await page.locator(".prose").inner_text()).strip() == text.strip()


async def test_conversations_are_listed_opened_and_deleted(browser, tmp_path):
    answers = [Reply(text="One."), Reply(text="Two.")]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        await send(page, "First talk")
        await ended(page)
        await page.locator("#new").click()
        await expect(page.locator("#welcome")).to_be_visible()
        await send(page, "Second talk")
        await ended(page)
        links = page.locator("#conversations a")
        await expect(links).to_have_text(["Second talk", "First talk"])
        await links.nth(1).click()
        await expect(page.locator(".prose")).to_have_text("One.")
        await expect(page.locator("#conversations [aria-current]")).to_have_text("First talk")
        await page.get_by_role("button", name="Delete “First talk”").click(force=True)
        await expect(links).to_have_text(["Second talk"])
        await expect(page.locator("#welcome")).to_be_visible()


# --- errors, and a person in between ---


async def test_an_error_is_shown_and_tried_again(browser, tmp_path):
    answers = [Fail(429, "1302", "Too many requests"), Reply(text="Now.")]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        await send(page, "Go.")
        await ended(page, "broken")
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("Too many requests")
        await expect(alert).to_contain_text("1302")
        await page.reload()
        await expect(alert).to_contain_text("Too many requests")
        await alert.get_by_role("button", name="Try again").click()
        await ended(page)
        await expect(page.locator(".prose")).to_have_text("Now.")


async def test_a_call_that_was_cut_is_shown_as_not_run(browser, tmp_path):
    cut = Call("write_file", '{"path": "a.py", "content": "half')
    answers = [Reply(tool_calls=[cut], finish_reason="length"), Reply(text="Smaller.")]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        await send(page, "Write.")
        await ended(page)
        await expect(page.locator(".card").first).to_have_attribute("data-state", "failed")
        await expect(page.locator(".code code")).to_have_text("half")


@pytest.mark.parametrize(("keys", "state"), [("Enter", "done"), ("Tab Enter", "failed")])
async def test_a_person_is_asked(browser, tmp_path, keys, state):
    answers = [Reply(tool_calls=[WRITE]), Reply(text="As you say.")]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        await page.get_by_label("Ask me before writing a file").check()
        await send(page, "Write.")
        await ended(page, "interrupted")
        await expect(page.get_by_role("button", name="Allow")).to_be_focused()
        await page.reload()
        await expect(page.get_by_role("button", name="Allow")).to_be_focused()
        assert len(server.glm.requests) == 1
        for key in keys.split():
            await page.keyboard.press(key)
        await ended(page)
        await expect(page.locator(".card")).to_have_attribute("data-state", state)


# --- what a model may not do ---

SCRIPT = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


async def test_what_a_model_writes_is_text_and_nothing_else(browser, tmp_path):
    calls = [
        Call("write_file", {"path": f"{SCRIPT}.py", "content": SCRIPT}),
        Call("read_file", {"path": f"../{SCRIPT}"}),
        Call(SCRIPT, {SCRIPT: SCRIPT}),
    ]
    text = f"{SCRIPT}\n\n- {SCRIPT}\n\n**{SCRIPT}** [x](javascript:alert(1)) `{SCRIPT}`"
    answers = [Reply(reasoning=SCRIPT, text=text, tool_calls=calls), Fail(400, "1210", SCRIPT)]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        for _ in ("live", "from the history"):
            if await page.locator(".turn").count():
                await page.reload()
            else:
                await send(page, SCRIPT)
            await ended(page, "broken")
            await expect(page.locator(".trouble")).to_contain_text(SCRIPT)
            await expect(page.locator(".prose strong")).to_have_text(SCRIPT)
            assert await page.locator("#log :is(img, script, a)").count() == 0
            assert await page.locator("#conversations img").count() == 0
            assert await page.title() == "GLM at work"


# --- how it looks, keys, languages ---

LOOKS = [
    pytest.param(scheme, size, id=f"{scheme}-{name}")
    for scheme in ("light", "dark")
    for name, size in (("phone", PHONE), ("desk", DESK))
]

# The contrast of each text with what is behind it, as WCAG counts it.
CONTRASTS = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const rgba = (colour) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => rgba(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (rgba(colour)[3] === 255) return colour;
        }
        return "white";
    };
    const texts = ".user, .prose p, .tool, .what, .chip, .error, .thought summary, .end, .badge, " +
        "h1, #keys, .under label, .result summary, #conversations a, .language button, .trouble p";
    return [...document.querySelectorAll(texts)].map((element) => {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return [contrast, element.className || element.id || element.tagName];
    });
}"""


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
async def test_it_fits_and_can_be_read(browser, tmp_path, scheme, size):
    look = {"color_scheme": scheme, "viewport": size}
    wide = "a_very_long_word_" * 30
    said = iter([Reply(reasoning=wide, text=f"{wide}\n\n```\n{wide}\n```"), Fail(500, "500", wide)])

    def answer(received):
        return demonstration.answer(received) if len(server.glm.requests) < 7 else next(said)

    async with site(answer, tmp_path) as server, opened(browser, server, **look) as page:
        assert await overflow(page) == [0, 0, 0]
        await page.locator("#suggestions button").first.click()
        await ended(page)
        await send(page, wide)
        await ended(page)
        await send(page, "More.")
        await ended(page, "broken")
        assert await overflow(page) == [0, 0, 0]
        low = [found for found in await page.evaluate(CONTRASTS) if found[0] < 4.5]
        back = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert low == []
    assert (back == "rgb(15, 17, 21)") == (scheme == "dark")


async def test_the_side_opens_and_closes_on_a_phone(browser, tmp_path):
    phone = {"viewport": PHONE}
    async with (
        site([Reply(text="Hi.")], tmp_path) as server,
        opened(browser, server, **phone) as page,
    ):
        await expect(page.locator("#sidebar")).to_be_hidden()
        await page.locator("#menu").click()
        await expect(page.locator("#new")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#sidebar")).to_be_hidden()
        await expect(page.locator("#menu")).to_be_focused()


async def test_keys_alone_are_enough(browser, tmp_path):
    answers = [Reply(reasoning="Hm.", text="Hi."), Reply(text="Again.")]
    async with site(answers, tmp_path) as server, opened(browser, server) as page:
        await expect(page.locator("#message")).to_be_focused()
        await page.keyboard.type("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Enter")
        await ended(page)
        await expect(page.locator("#message")).to_be_focused()
        assert server.sent[0]["content"] == "one\ntwo"
        stops = await tab_stops(page)
        assert all(outline for _, outline in stops.values()), stops
        wanted = {"new", "log", "message", "ask", "send", "summary", "skip", "en", "zh"}
        assert wanted <= stops.keys()
        await page.locator(".thought summary").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".thought .text")).to_be_visible()


async def tab_stops(page):
    """What tab reaches, each once: its name, and whether one sees that it has the focus."""
    stops = {}
    for _ in range(30):
        await page.keyboard.press("Tab")
        name, *shows = await page.evaluate(
            """() => {
                const at = document.activeElement;
                const name = at.id || at.dataset.language || at.className || at.localName || "";
                const box = at.closest(".box") ?? at;
                const [own, around] = [getComputedStyle(at), getComputedStyle(box)];
                return [name, at.localName, own.outlineStyle !== "none" ||
                    around.boxShadow.includes("0px 0px 0px 1px")];
            }"""
        )
        stops.setdefault(name, shows)
    del stops["body"]  # where the browser's own controls come in
    return stops


async def test_an_input_method_chooses_words_with_enter(browser, tmp_path):
    async with site([Reply(text="Hi.")], tmp_path) as server, opened(browser, server) as page:
        await page.locator("#message").fill("ni hao")
        composing = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true})"
        await page.locator("#message").evaluate(f"box => box.dispatchEvent({composing})")
        await page.wait_for_timeout(100)
        assert await page.locator(".turn").count() == 0
        assert server.glm.requests == []


async def test_it_speaks_chinese(browser, tmp_path):
    story = site(demonstration.answer, tmp_path, is_demonstration=True)
    async with story as server, opened(browser, server, locale="zh-CN") as page:
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator("#new")).to_contain_text("新对话")
        await page.locator("#suggestions button").first.click()
        await ended(page)
        await expect(page.locator(".end")).to_contain_text("完成")
        await expect(page.locator(".code").first).to_contain_text("按月汇总支出")
        await page.get_by_role("button", name="English").click()
        await expect(page.locator(".end")).to_contain_text("Done")
        await page.reload()
        await expect(page.locator("#new")).to_contain_text("New conversation")
        await expect(page.locator(".tool").first).to_have_text("Search")


# --- the pictures of the README ---

PICTURES = [
    pytest.param("web.png", {"viewport": {"width": 1160, "height": 1080}}, id="light"),
    pytest.param(
        "web-dark.png",
        {"viewport": {"width": 1160, "height": 1080}, "color_scheme": "dark"},
        id="dark",
    ),
    pytest.param(
        "web-phone.png",
        {
            "viewport": {"width": 390, "height": 780},
            "color_scheme": "dark",
            "locale": "zh-CN",
            "device_scale_factor": 1.5,
        },
        id="phone",
    ),
]


@pytest.mark.parametrize(("name", "look"), PICTURES)
async def test_the_picture_of_the_readme(browser, tmp_path, name, look):
    file = IMAGES / name
    if os.environ.get("UPDATE_SCREENSHOTS"):
        await take(browser, tmp_path, file, look)
    assert file.exists(), "Make it with UPDATE_SCREENSHOTS=1."
    assert file.stat().st_size < LARGEST_IMAGE


async def take(browser, tmp_path, file, look):
    """Take a picture while the demonstration types its program."""
    demo = site(demonstration.answer, tmp_path, pace=0.018, tool_pace=0.01, is_demonstration=True)
    async with demo as server, opened(browser, server, **look) as page:
        await page.locator("#suggestions button").first.click()
        await expect(page.locator(".code code")).to_contain_text("def bar", timeout=30000)
        await expect(page.locator(".code code")).to_contain_text("return", timeout=30000)
        await page.mouse.move(0, 0)
        IMAGES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=file, animations="allow")
