from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.wire import DELTA, KEY, MOST_TEXTS, SIMULATOR_KEY, Outbox, Picture, decode
from actionparty.types import Frame, SubjectStates

H, W = 3, 4


def picture(step: int, frame: Frame, n: int = 2, simulator: bool = False) -> Picture:
    states = SubjectStates(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n) % 4, np.arange(n) % 2 == 0)
    return Picture(step, 5, frame, states, np.arange(n) - 1, np.linspace(-1, 1, n, dtype=np.float32), simulator)


def noise(seed: int) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (8 * H, 8 * W, 3), np.uint8)


def changed(frame: Frame, cells: list[int]) -> Frame:
    out = frame.copy()
    for cell in cells:
        y, x = divmod(cell, W)
        out[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] ^= 77
    return out


def test_a_whole_frame_says_all_byte_by_byte() -> None:
    shown = picture(70_000, noise(0))
    assert shown.key[:8] == struct.pack("<BIHB", 1, 70_000, 5, 2)
    assert shown.key[8:24] == struct.pack("<BBBBf", 0, 1, 0 | 4, 255, -1.0) + struct.pack("<BBBBf", 2, 3, 1, 0, 1.0)
    assert shown.key[24:32] == b"\x89PNG\r\n\x1a\n"
    assert picture(1, noise(0), simulator=True).key[0] == SIMULATOR_KEY


def test_a_delta_is_what_the_contract_says() -> None:
    before = picture(1, noise(0))
    after = picture(2, changed(before.frame, [3, 7]))
    message = after.delta(before)
    assert message[0] == DELTA
    body = zlib.decompress(message[24:])
    assert body[:6] == struct.pack("<HHH", 2, 3, 7)
    assert body[6:] == after.frame[0:8, 24:32].tobytes() + after.frame[8:16, 24:32].tobytes()


@given(st.lists(st.lists(st.integers(0, H * W - 1), max_size=5), min_size=1, max_size=12))
@settings(max_examples=40)
def test_a_client_sees_what_was_shown(steps: list[list[int]]) -> None:
    outbox, frame, seen = Outbox(), noise(1), None
    for step, cells in enumerate(steps):
        frame = changed(frame, cells)
        outbox.show(picture(step, frame))
        message = outbox.pop()
        assert isinstance(message, bytes)
        told = decode(message, seen)
        seen = told.frame
        assert (told.kind == KEY) == (step == 0)
        assert np.array_equal(seen, frame)
        assert told.step == step
        assert told.subjects[0] == (0, 1, 0, True, -1, -1.0)


def test_a_client_that_lags_gets_a_whole_frame_and_few_wait() -> None:
    outbox, frame = Outbox(), noise(1)
    outbox.show(picture(0, frame))
    outbox.pop()
    for step in range(1, 51):
        frame = changed(frame, [step % 12])
        outbox.show(picture(step, frame))
        assert len(outbox) <= 2
    first = outbox.pop()
    assert isinstance(first, bytes)
    told = decode(first, None)
    assert told.kind == KEY
    assert told.step >= 49
    assert outbox.dropped == 50 - len(outbox) - 1
    seen = told.frame
    while len(outbox):
        message = outbox.pop()
        assert isinstance(message, bytes)
        seen = decode(message, seen).frame
    assert np.array_equal(seen, frame)


def test_the_two_streams_do_not_mix() -> None:
    outbox, frame = Outbox(), noise(1)
    for step in range(3):
        outbox.show(picture(step, frame))
        outbox.show(picture(step, noise(2), simulator=True))
        kinds = [outbox.pop()[0], outbox.pop()[0]]
        assert kinds == ([1, 3] if step == 0 else [2, 4])


def test_another_size_is_sent_whole() -> None:
    outbox = Outbox()
    outbox.show(picture(0, noise(1)))
    outbox.pop()
    outbox.show(picture(1, np.zeros((16, 16, 3), np.uint8)))
    assert outbox.pop()[0] == KEY


def test_texts_come_first_and_are_not_kept_for_ever() -> None:
    outbox = Outbox()
    outbox.show(picture(0, noise(1)))
    outbox.say(Said("notice", {"message": "hi"}))
    assert outbox.pop() == '{"type":"notice","message":"hi"}'
    assert isinstance(outbox.pop(), bytes)
    for _ in range(MOST_TEXTS + 1):
        outbox.say(Said("pong"))
    assert outbox.overflow
    assert len(outbox) == MOST_TEXTS


def test_damaged_frames_are_refused() -> None:
    key = picture(0, noise(1)).key
    for damaged in (b"", key[:5], key[:20], key[:60], b"\x09" + key[1:], b"\x02" + key[1:]):
        with pytest.raises(InvalidInputError):
            decode(damaged, None)
