"""The browser of all checks here: the system's own Chromium, driven by Playwright."""

import os
import shutil

import pytest
import pytest_asyncio

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser():
    from playwright.async_api import async_playwright  # plain `make test` goes by without it

    if CHROMIUM is None:
        pytest.exit("No Chromium: `apt-get install chromium`, or set CHROMIUM.", returncode=1)
    # Chromium refuses its sandbox to root, as tests in a container run.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        await browser.close()
