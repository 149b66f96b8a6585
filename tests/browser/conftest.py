"""A real headless Chromium, and pages that remember what went wrong in them."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from install_browser import find_browser

# The makers of fake run folders.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tracking"))

ARGUMENTS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Opens a page; everything that must not happen in it fails the test at its end.
Opener = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if is_root else [])]
    with api.sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=find_browser(), args=arguments)
        except api.Error as error:
            pytest.skip(f"no browser can be started: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()


def foreign(url: str) -> list[str]:
    """The address, unless it is a file of this machine or data in the page."""
    return [] if url.startswith(("file://", "data:")) else [f"request: {url}"]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opener]:
    contexts, complaints = [], []

    def open_(path: Path, *, width: int = 1440, height: int = 900, scheme: str = "light") -> Any:
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.extend(foreign(request.url)))
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints
