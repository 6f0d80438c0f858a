"""Frames as bytes: whole pictures, the cells that changed, and what waits for one client. Knows no socket.

A client that can't keep up loses frames, never its place in line: at most ``MOST_WAITING`` of them wait, and after a
loss the next one is whole. Nobody else notices.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.messages import Said
from actionparty.rollout.table import to_cells
from actionparty.types import Floats, Frame, Ints, SubjectStates

KEY, DELTA, SIMULATOR_KEY, SIMULATOR_DELTA = 1, 2, 3, 4
NO_ACTION_BYTE = 255
MOST_WAITING = 2
MOST_TEXTS = 256
_HEAD = struct.Struct("<BIHB")
_SUBJECT = struct.Struct("<BBBBf")


@dataclass(frozen=True, eq=False)
class Picture:
    """One shown moment of a stream, encoded at most once however many watch."""

    step: int
    branch: int
    frame: Frame
    states: SubjectStates
    actions: Ints
    rewards: Floats
    simulator: bool = False
    serial: int = field(default_factory=count().__next__)

    @cached_property
    def cells(self) -> NDArray[np.uint8]:
        """(M, 192)"""
        return to_cells(self.frame)

    @cached_property
    def png(self) -> bytes:
        """The frame as a PNG."""
        sink = io.BytesIO()
        Image.fromarray(self.frame).save(sink, "PNG", compress_level=6)
        return sink.getvalue()

    @cached_property
    def key(self) -> bytes:
        """The whole frame as a message."""
        return self._head(SIMULATOR_KEY if self.simulator else KEY) + self.png

    @cached_property
    def _deltas(self) -> dict[int, bytes]:
        return {}

    def delta(self, before: Picture) -> bytes:
        """Return what changed since ``before`` as a message, or the whole frame where that is no larger."""
        if before.frame.shape != self.frame.shape:
            return self.key
        if before.serial not in self._deltas:
            self._deltas[before.serial] = self._delta(before)
        return self._deltas[before.serial]

    def _delta(self, before: Picture) -> bytes:
        changed = np.flatnonzero((self.cells != before.cells).any(1))
        if len(changed) > len(self.cells) // 2:
            return self.key
        body = struct.pack("<H", len(changed)) + changed.astype("<u2").tobytes() + self.cells[changed].tobytes()
        return self._head(SIMULATOR_DELTA if self.simulator else DELTA) + zlib.compress(body, 6)

    def _head(self, kind: int) -> bytes:
        n = len(self.actions)
        parts = [_HEAD.pack(kind, self.step, self.branch, n)]
        cells = np.clip(self.states.cells, 0, 255)
        for i in range(n):
            x, y = cells[i].tolist()
            bits = int(self.states.facing[i]) | int(self.states.alive[i]) << 2
            action = int(self.actions[i])
            parts.append(_SUBJECT.pack(x, y, bits, action if action >= 0 else NO_ACTION_BYTE, float(self.rewards[i])))
        return b"".join(parts)


class Outbox:
    """What waits for one client: texts in order, and the newest frames."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._frames: dict[bool, deque[Picture]] = {False: deque(), True: deque()}
        self._sent: dict[bool, Picture | None] = {False: None, True: None}
        self.dropped = 0
        """Frames that this client was too slow for."""
        self.overflow = False
        """Whether more texts wait than any client that listens would leave unread."""

    def say(self, said: Said) -> None:
        """Queue a text."""
        if len(self._texts) >= MOST_TEXTS:
            self.overflow = True
            return
        self._texts.append(json.dumps({"type": said.type, **said.fields}, separators=(",", ":"), allow_nan=False))

    def show(self, picture: Picture) -> None:
        """Queue a frame; where too many wait, the old ones go, and this one is sent whole."""
        waiting = self._frames[picture.simulator]
        if len(waiting) >= MOST_WAITING:
            self.dropped += len(waiting)
            waiting.clear()
            self._sent[picture.simulator] = None
        waiting.append(picture)

    def restart(self) -> None:
        """Forget what was sent and what waits: the next frames are whole, and of another world."""
        for kind, waiting in self._frames.items():
            waiting.clear()
            self._sent[kind] = None

    def __len__(self) -> int:
        return len(self._texts) + sum(map(len, self._frames.values()))

    def pop(self) -> str | bytes:
        """Return what to send next: texts first, because a frame may need what they say."""
        if self._texts:
            return self._texts.popleft()
        for kind, waiting in self._frames.items():
            if waiting:
                picture, before = waiting.popleft(), self._sent[kind]
                self._sent[kind] = picture
                return picture.key if before is None else picture.delta(before)
        raise IndexError("nothing waits")


@dataclass(frozen=True)
class Decoded:
    """A frame message as a client reads it."""

    kind: int
    step: int
    branch: int
    subjects: list[tuple[int, int, int, bool, int, float]]
    """x, y, facing, alive, action (-1: none), reward"""
    frame: Frame


def decode(message: bytes, before: Frame | None) -> Decoded:
    """Read a frame message; ``before`` is the frame that the one before it gave.

    Raises:
        InvalidInputError: cut off, of an unknown kind, or a delta without a frame before.
    """
    try:
        kind, step, branch, n = _HEAD.unpack_from(message)
        rows = [_SUBJECT.unpack_from(message, _HEAD.size + i * _SUBJECT.size) for i in range(n)]
        body = message[_HEAD.size + n * _SUBJECT.size :]
        if kind in (KEY, SIMULATOR_KEY):
            frame = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
        elif kind in (DELTA, SIMULATOR_DELTA) and before is not None:
            frame = _changed(before, zlib.decompress(body))
        else:
            raise InvalidInputError(f"a frame of kind {kind} without one before it.")
    except (struct.error, zlib.error, OSError, ValueError, IndexError) as error:
        raise InvalidInputError(f"not a frame message ({error}).") from error
    subjects = [(x, y, bits & 3, bool(bits & 4), -1 if a == NO_ACTION_BYTE else a, r) for x, y, bits, a, r in rows]
    return Decoded(kind, step, branch, subjects, frame)


def _changed(before: Frame, body: bytes) -> Frame:
    (many,) = struct.unpack_from("<H", body)
    index = np.frombuffer(body, "<u2", many, 2)
    tiles = np.frombuffer(body, np.uint8, many * 192, 2 + 2 * many).reshape(many, 8, 8, 3)
    frame, columns = before.copy(), before.shape[1] // 8
    for cell, tile in zip(index.tolist(), tiles, strict=True):
        y, x = divmod(cell, columns)
        frame[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = tile
    return frame
