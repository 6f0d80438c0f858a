"""Measure the playground as people see it: from pressing a key to the painted picture that shows it, in real Chromium.

Starts its own server and a browser with two pages in one room. A page itself takes the time: from the time stamp of
the browser's keydown event to the first moment after the browser has painted the canvas on which its own subject did
what the key says. In that are the page, the wire, the wait for the tick, the model, the decoding and the painting.
Also measured: from the server being up (and from starting it) to the first painted picture of a page. Prints one JSON
object. Needs Playwright (extra `dev`) and an installed Chromium.

python -m benchmarks.play_screen                      # 100 keys of each of two people, 7 subjects
python -m benchmarks.play_screen --keys 20 --world coins
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.play_load import Server
from playwright.async_api import Browser, Page, TimeoutError, async_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
KEYS = {"KeyQ": "turn_left", "KeyE": "turn_right"}
PATIENCE_MS = 60_000
LOST_MS = 3_000
"""A key whose picture has not come by then counts as lost."""
WATCH = """
window.measured = { first: null, keys: [], waiting: null };
const painted = (then) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = then;  // a task after this frame was painted
  port2.postMessage(0);
});
addEventListener("keydown", (event) => {
  if (!event.repeat && actions[event.code]) measured.waiting = { action: actions[event.code], began: event.timeStamp };
}, true);
const shown = () => {
  if (measured.first === null) {
    measured.first = 0;
    painted(() => (measured.first = performance.timeOrigin + performance.now()));
  }
  const { waiting } = measured;
  if (!waiting || document.querySelector(".seat.mine")?.dataset.action !== waiting.action) return;
  measured.waiting = null;
  painted(() => measured.keys.push(performance.now() - waiting.began));
};
new MutationObserver(shown).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-step"] });
"""


async def open_page(browser: Browser, name: str) -> Page:
    """Return an empty page of its own person that measures what will be opened in it."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    person = f"localStorage.setItem('actionparty.name', '{name}');"
    await context.add_init_script(f"{person}const actions = {json.dumps(KEYS)};{WATCH}")
    return await context.new_page()


async def enter(page: Page, address: str, subject: int) -> None:
    """Open a room, wait for its first picture, take a seat."""
    await page.goto(address)
    await page.wait_for_function("() => measured.first > 0")
    await page.click(f".seat[data-subject='{subject}'] .seat-take")
    await page.wait_for_selector(f".seat.mine[data-subject='{subject}']")


async def press(page: Page, keys: int, seed: int) -> list[float]:
    """Turn left and right at random moments; return the milliseconds of each key that was seen."""
    rng = random.Random(seed)
    for i in range(keys):
        await asyncio.sleep(rng.uniform(0.25, 0.75))
        await page.wait_for_selector(".seat.mine:not(.gone)")  # who is out for now moves nothing
        await page.evaluate("measured.waiting = null")
        seen = await page.evaluate("measured.keys.length")
        await page.keyboard.press(list(KEYS)[i % len(KEYS)])
        with contextlib.suppress(TimeoutError):
            await page.wait_for_function("n => measured.keys.length > n", arg=seen, polling=50, timeout=LOST_MS)
    taken: list[float] = await page.evaluate("measured.keys")
    return taken


async def measure(browser: Browser, checkpoint: str, world: str, keys: int) -> dict[str, Any]:
    """Start a server, let two people play, and return what they saw."""
    ada, grace = [await open_page(browser, name) for name in ("Ada", "Grace")]
    started = time.time()
    server = Server(checkpoint)
    try:
        up = time.time()
        room = server.room(world).rsplit("/", 1)[1]
        address = f"http://127.0.0.1:{server.port}/?room={room}"
        await enter(ada, address, 0)
        first = await ada.evaluate("measured.first") / 1000
        await enter(grace, address, 1)
        await asyncio.sleep(2)
        steps, since = await _step(ada), time.perf_counter()
        taken = await asyncio.gather(*(press(page, keys, i) for i, page in enumerate((ada, grace))))
        hz = (await _step(ada) - steps) / (time.perf_counter() - since)
        subjects = await ada.locator(".seat").count()
    finally:
        server.process.terminate()
        server.process.wait()
    return {
        "world": world,
        "subjects": subjects,
        "people": 2,
        "server_up_s": round(up - started, 2),
        "first_picture_after_server_up_s": round(first - up, 2),
        "first_picture_after_start_s": round(first - started, 2),
        "keys": 2 * keys,
        **summary([each for of_one in taken for each in of_one]),
        "hz": round(hz, 2),
    }


async def _step(page: Page) -> int:
    return int(await page.locator("#world").get_attribute("data-step") or 0)


def summary(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Return how many keys were seen, and the median and 95th percentile of their times."""
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"seen": len(milliseconds), "key_to_screen_ms_p50": round(p50), "key_to_screen_ms_p95": round(p95)}


async def run(checkpoint: str, world: str, keys: int) -> dict[str, Any]:
    """Measure with the Chromium that is installed.

    Raises:
        SystemExit: there is none.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("needs Chromium: sudo apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            return {"browser": browser.version, **await measure(browser, checkpoint, world, keys)}
        finally:
            await browser.close()


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="starter")
    parser.add_argument("--world", default="commons_harvest__open")
    parser.add_argument("--keys", type=int, default=100, help="of each of the two people")
    options = parser.parse_args()
    before = round(os.getloadavg()[0], 1)
    measured = asyncio.run(run(options.checkpoint, options.world, options.keys))
    about = {"cores": os.cpu_count(), "load_average_before": before, "load_average_after": round(os.getloadavg()[0], 1)}
    print(json.dumps(about | measured))


if __name__ == "__main__":
    main()
