"""`actionparty play` as a process, for agents that come over real connections."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "0"}
COMMAND = (sys.executable, "-m", "actionparty.interfaces.cli")


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Playground:
    """A running server and its address."""

    def __init__(self, *more: str, key: str = "") -> None:
        self.port, self.key = free_port(), key
        self.link = f"http://127.0.0.1:{self.port}/" + (f"?key={key}" if key else "")
        opened = ["--key", key] if key else []
        self._line = [*COMMAND, "play", "--no-browser", "--port", str(self.port), *opened, *more]

    @contextmanager
    def running(self) -> Iterator[Playground]:
        process = subprocess.Popen(
            self._line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        try:
            assert process.stdout is not None
            assert "http://" in process.stdout.readline()
            yield self
        finally:
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        assert "Traceback" not in told, told

    @property
    def mcp(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp" + (f"?key={self.key}" if self.key else "")

    def get(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(address, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def room(self, world: str = "coins", scene: int = 2) -> str:
        return str(self.get("/api/rooms", {"world": world, "scene": scene, "seed": 1})["room"])

    @contextmanager
    def watching(self, room: str) -> Iterator[ClientConnection]:
        """A person who looks on."""
        with connect(f"ws://127.0.0.1:{self.port}/ws/{room}", max_size=None) as made:
            made.send(json.dumps({"type": "hello", "name": "Ann", "token": None}))
            yield made
