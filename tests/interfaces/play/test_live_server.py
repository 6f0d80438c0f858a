"""`actionparty play` as a process, with real connections."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interfaces.play.stage import SPEC, WORLD
from tests.ports import free_port
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from actionparty.interfaces.play.wire import Decoded, decode
from actionparty.types import Frame

ROOT = Path(__file__).resolve().parents[3]
SHOWN: dict[ClientConnection, Frame] = {}
"""What each page saw last: the next frame may be a change of it."""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="stops the server with a signal")


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "actionparty.interfaces.cli", "play", "--checkpoint", str(folder), "--no-browser"]
    return subprocess.Popen(
        [*line, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"},
    )


class Server:
    """A running server and its address."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.process = start(folder, "--port", str(self.port))
        assert self.process.stdout is not None
        assert f"http://127.0.0.1:{self.port}/" in self.process.stdout.readline()
        self.get("/api/worlds")

    def get(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def room(self) -> str:
        return str(self.get("/api/rooms", {"world": WORLD, "scene": 0, "seed": 1})["room"])

    @contextmanager
    def join(self, room: str, name: str) -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.port}/ws/{room}", max_size=None) as made:
            made.send(json.dumps({"type": "hello", "name": name, "token": None}))
            yield made

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate(timeout=30)
        return self.process.returncode, told


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder)
    yield made
    _, told = made.stop()
    assert "Traceback" not in told


def watch(connection: ClientConnection, steps: int) -> dict[int, Decoded]:
    """What a page sees until step ``steps``."""
    seen: dict[int, Decoded] = {}
    frame = SHOWN.get(connection)
    while not seen or max(seen) < steps:
        message = connection.recv(timeout=30)
        if isinstance(message, bytes):
            told = decode(message, frame)
            frame, seen[told.step] = told.frame, told
            SHOWN[connection] = frame
    return seen


def test_two_pages_see_the_same_and_each_key_moves_its_own_subject(server: Server) -> None:
    room = server.room()
    with server.join(room, "Ann") as ann, server.join(room, "Bob") as bob:
        ann.send('{"type":"take","subject":0}')
        bob.send('{"type":"take","subject":1}')
        ann.send('{"type":"act","action":"turn_left","hold":true}')
        turn, noop = SPEC.actions.index("turn_left"), SPEC.actions.index("noop")
        left = watch(ann, 8)
        while [subject[4] for subject in left[max(left)].subjects[:2]] != [turn, noop]:
            assert max(left) < 200, "what was sent never arrived"  # on a busy machine the room is ahead of it
            left |= watch(ann, max(left) + 1)
        right = watch(bob, max(left))
        common = sorted(set(left) & set(right))
        assert len(common) >= 5
        for step in common:
            assert np.array_equal(left[step].frame, right[step].frame)
            assert left[step].subjects == right[step].subjects
        last = left[max(common)].subjects
        assert (last[0][4], last[1][4]) == (turn, noop)


def test_a_client_that_does_not_read_slows_nobody(server: Server) -> None:
    """One connection asks for much and reads nothing; the other still gets every step."""
    room = server.room()
    deaf = socket.create_connection(("127.0.0.1", server.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connect(f"ws://127.0.0.1:{server.port}/ws/{room}", sock=deaf, max_queue=1, close_timeout=0.2) as stuck:
        stuck.send('{"type":"hello","name":"Deaf","token":null}')
        with server.join(room, "Ann") as ann:
            ann.send('{"type":"speed","hz":30}')
            for _ in range(100):
                with suppress(Exception):
                    stuck.send('{"type":"palette"}')
            first = watch(ann, 5)
            began = time.monotonic()
            seen = watch(ann, max(first) + 40)
            assert len(seen) >= 38
            assert time.monotonic() - began < 30


def test_a_huge_message_ends_its_sender_only(server: Server) -> None:
    room = server.room()
    with server.join(room, "Ann") as ann, server.join(room, "Mallory") as mallory:
        watch(ann, 1)
        mallory.send("x" * 2_000_000)
        with pytest.raises(ConnectionClosed):
            watch(mallory, 10**6)
        assert watch(ann, 3)


def test_a_port_in_use_is_named_and_the_next_free_one_offered(server: Server, folder: Path) -> None:
    second = start(folder, "--port", str(server.port))
    _, told = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"port {server.port} is in use" in told
    offered = re.search(r"--port (\d+)", told)
    assert offered
    assert int(offered[1]) > server.port


def test_an_open_server_prints_an_invite_with_a_key_and_ends_in_peace(folder: Path) -> None:
    process = start(folder, "--host", "0.0.0.0", "--port", str(free_port()))
    assert process.stdout is not None
    play, invite = process.stdout.readline(), process.stdout.readline()
    assert re.search(r"http://localhost:\d+/\?key=[\w-]{16,}", play)
    assert re.search(r"Invite:\s+http://\S+\?key=[\w-]{16,}", invite)
    process.stdout.readline()
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert "Traceback" not in told
    assert process.returncode in (0, 130)
