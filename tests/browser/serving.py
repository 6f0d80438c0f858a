"""What browser tests share: the real server in its own process, a cable that can be cut, pages that are watched."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.ports import free_port

from actionparty.interfaces.play.wire import DELTA, KEY, Decoded, decode
from actionparty.types import Frame

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocket

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy with other things."""
CANVAS = """c => {
    const pixels = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let text = "";
    for (let i = 0; i < pixels.length; i += 8192) text += String.fromCharCode(...pixels.subarray(i, i + 8192));
    return {width: c.width, height: c.height, pixels: btoa(text)};
}"""
"""What a canvas holds, for ``rgba`` (Playwright passes a list number by number: ten seconds for a large canvas)."""


@contextlib.contextmanager
def serving(log: Path) -> Iterator[str]:
    """Run ``actionparty play`` with the shipped weights in a second process; give its address."""
    port = free_port()
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
    command = [sys.executable, "-m", "actionparty.interfaces.cli", "play", "--no-browser", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: process.poll() is not None or _answers(f"http://{HOST}:{port}/api/rooms"))
            assert process.poll() is None, log.read_text()
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    """Return once something holds; fail where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.05)


def open_room(base: str, world: str, scene: int = 0, seed: int = 1) -> str:
    """Open a room and return its id."""
    body = json.dumps({"world": world, "scene": scene, "seed": seed}).encode()
    request = urllib.request.Request(f"{base}/api/rooms", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(json.load(answer)["room"])


class Cable:
    """A TCP connection between browser and server that can be cut and mended."""

    def __init__(self, base: str) -> None:
        self._to = int(base.rsplit(":", 1)[1])
        self._listening = socket.create_server((HOST, 0))
        self.base = f"http://{HOST}:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._whole = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End what is open, and refuse what is new."""
        self._whole = False
        for end in self._open:
            _shut(end)
        self._open.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    def close(self) -> None:
        """Free the port."""
        self.cut()
        _shut(self._listening)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self._whole:
                _shut(near)
                continue
            far = socket.create_connection((HOST, self._to))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def rgba(got: dict[str, Any]) -> Frame:
    """Return what ``CANVAS`` gave as (H, W, RGBA)."""
    return np.frombuffer(base64.b64decode(got["pixels"]), np.uint8).reshape(got["height"], got["width"], 4)


class Watched:
    """A page, with every generated frame that reached it as the server's own code reads it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: dict[tuple[int, int], Decoded] = {}
        """By branch and step."""
        self.last: Decoded | None = None
        self.complaints: list[str] = []
        page.on("websocket", self._on_socket)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def _on_socket(self, opened: WebSocket) -> None:
        self.last = None
        opened.on("framereceived", self._on_message)

    def _on_message(self, message: str | bytes) -> None:
        if isinstance(message, str) or message[0] not in (KEY, DELTA):
            return
        self.last = decode(message, None if self.last is None else self.last.frame)
        self.frames[self.last.branch, self.last.step] = self.last

    def shown(self) -> tuple[int, int]:
        """Return branch and step of the picture on the screen."""
        data: dict[str, str] = self.page.locator("#world").evaluate("canvas => ({...canvas.dataset})")
        return int(data["branch"]), int(data["step"])

    def picture(self, canvas: str = "#world") -> Frame:
        """Return the pixels on the screen, (H, W, 3)."""
        return rgba(self.page.locator(canvas).evaluate(CANVAS))[..., :3]

    def state(self) -> Decoded:
        """Return the message behind the picture on the screen."""
        return self.frames[self.shown()]

    def wait_for(self, expression: str, argument: object = None) -> None:
        """Wait until JavaScript holds in the page."""
        self.page.wait_for_function(expression, arg=argument, timeout=1000 * PATIENCE)

    def wait_for_step(self, step: int) -> None:
        """Wait until a step or a later one is on the screen."""
        self.wait_for("step => Number(document.querySelector('#world')?.dataset.step ?? -1) >= step", step)

    def enter(self, base: str, room: str) -> None:
        """Open a room by its link and wait for its picture."""
        self.page.goto(f"{base}/?room={room}")
        self.wait_for_step(0)

    def take(self, subject: int) -> None:
        """Take a seat by its row in the list."""
        self.page.click(f".seat[data-subject='{subject}'] .seat-take")
        self.wait_for("n => document.querySelector(`.seat.mine[data-subject='${n}']`) !== null", subject)

    def pause(self) -> None:
        """Pause the room with its button, and wait until nothing comes any more."""
        self.page.get_by_role("button", name="Pause (P)").click()
        self.page.get_by_role("button", name="Play (P)").wait_for()
        self.page.wait_for_timeout(300)

    def step(self) -> Decoded:
        """Do one step of a paused room and return what it led to."""
        before = self.shown()[1]
        self.page.get_by_role("button", name="One step (.)").click()
        self.wait_for_step(before + 1)
        return self.state()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the window in the middle of a cell."""
        box = self.page.locator("#world").bounding_box()
        assert box is not None
        cell = box["width"] / (self.state().frame.shape[1] / 8)
        return box["x"] + (x + 0.5) * cell, box["y"] + (y + 0.5) * cell


OpenPage = Callable[..., Watched]
"""Opens a page of its own person: ``name``, a ``script`` to run first, settings of the browser's context."""
