"""A browser, and pages of the explorer in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from early_exit.explorer.page import Content, write_page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Chromium, driven by Playwright; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed (tests/browser/install.sh)")
    with playwright.sync_playwright() as own:
        # As root, Chromium needs this.
        browser = own.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path) -> Iterator[Callable]:
    """Opens the page of a content; at the end nothing may have been logged, asked or harmed."""
    contexts, noise = [], []

    def open_page(content: Content, address: str = "", **options):
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: noise.append(dialog.message))
        page.on("request", lambda request: _check(request.url, noise))
        path: Path = tmp_path / "explorer.html"
        write_page(path, content)
        page.goto(f"file://{path}{address}")
        page.wait_for_selector("body[data-settled]")
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("globalThis.harmed") is None
        context.close()
    assert noise == []


def _check(url: str, noise: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        noise.append(f"loaded {url}")
