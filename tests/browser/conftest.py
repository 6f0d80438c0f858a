"""The server and the browser of the browser tests; without Chromium or Playwright they are skipped."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.browser.serving import OpenPage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, beside which no other test could start one
def browser() -> Iterator[Browser]:
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs Playwright to drive a browser: pip install 'actionparty[dev]'")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: sudo apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    pytest.importorskip("starlette", reason="needs the server: pip install 'actionparty[serve]'")
    pytest.importorskip("uvicorn", reason="needs the server: pip install 'actionparty[serve]'")
    from tests.browser.serving import serving

    with serving(tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return what opens a page of its own person; at the end no page may have complained."""
    from tests.browser.serving import PATIENCE, Watched

    pages: list[Watched] = []
    contexts = []

    def opened(name: str = "Ada", script: str = "", **settings: Any) -> Watched:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **settings}
        )
        context.set_default_timeout(1000 * PATIENCE)
        context.add_init_script(f"localStorage.setItem('actionparty.name', '{name}');{script}")
        contexts.append(context)
        pages.append(Watched(context.new_page()))
        return pages[-1]

    yield opened
    for context in contexts:
        context.close()
    complaints = [complaint for page in pages for complaint in page.complaints]
    cut = ("net::ERR_", "WebSocket connection to")  # a cut cable is no fault of the page
    assert [text for text in complaints if not any(part in text for part in cut)] == []
