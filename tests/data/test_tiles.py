from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actionparty.data.tiles import FrameEncoder, TileTable, decode, encode
from actionparty.errors import InvalidInputError
from actionparty.types import CELL


def tile_frames(seed: int, steps: int, h: int, w: int, kinds: int) -> NDArray[np.uint8]:
    """Frames of which a random share of cells changes in each step."""
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, (kinds, CELL, CELL, 3), dtype=np.uint8)
    grid = np.empty((steps, h, w), np.uint16)
    grid[0] = rng.integers(0, kinds, (h, w))
    for t in range(1, steps):
        change = rng.random((h, w)) < rng.random()
        grid[t] = np.where(change, rng.integers(0, kinds, (h, w)), grid[t - 1])
    return decode(tiles, grid)


sizes = {"steps": st.integers(1, 6), "h": st.integers(1, 5), "w": st.integers(1, 7), "kinds": st.integers(1, 12)}


@given(seed=st.integers(0, 2**32), **sizes)
def test_round_trip_is_lossless(seed: int, steps: int, h: int, w: int, kinds: int) -> None:
    frames = tile_frames(seed, steps, h, w, kinds)
    coded = encode(frames)
    assert coded.raw is None
    assert coded.grid.shape == (steps, h, w)
    assert coded.grid.dtype == np.uint16
    assert np.array_equal(decode(coded.tiles, coded.grid), frames)


@given(seed=st.integers(0, 2**32), **sizes)
def test_the_table_holds_each_distinct_tile_once(seed: int, steps: int, h: int, w: int, kinds: int) -> None:
    frames = tile_frames(seed, steps, h, w, kinds)
    cells = frames.reshape(steps, h, CELL, w, CELL, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, CELL * CELL * 3)
    coded = encode(frames)
    rows = coded.tiles.reshape(len(coded.tiles), -1)
    assert np.array_equal(np.unique(rows, axis=0), np.unique(cells, axis=0))
    assert len(rows) == len(np.unique(rows, axis=0))
    first = coded.grid.reshape(-1)
    assert [int(i) for i in dict.fromkeys(first.tolist())] == list(range(len(rows)))


def test_tiles_that_differ_in_one_bit_are_told_apart() -> None:
    cells = np.zeros((193, CELL * CELL * 3), np.uint8)
    cells[np.arange(1, 193), np.arange(192)] = 1
    assert TileTable().lookup(cells.tobytes()) == list(range(193))


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_too_many_tiles_fall_back_to_raw_frames(limit: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 16, 24, 3), dtype=np.uint8)
    coded = encode(frames, max_tiles=limit)
    assert coded.raw is not None
    assert np.array_equal(coded.raw, frames)
    assert coded.tiles.shape == (0, CELL, CELL, 3)
    assert coded.grid.size == 0
    assert len(coded.grid) == 9


def test_as_many_tiles_as_allowed_stay_tiles() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    assert encode(frames, max_tiles=24).raw is None
    assert encode(frames, max_tiles=23).raw is not None


def test_a_frame_of_broken_cells_is_kept_raw() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 17, 3), dtype=np.uint8)
    coded = encode(frames)
    assert coded.raw is not None
    assert np.array_equal(coded.raw, frames)


@pytest.mark.parametrize("noise", [False, True])
def test_a_buffer_that_the_world_reuses_does_no_harm(noise: bool) -> None:
    frames = tile_frames(3, 6, 2, 3, 4)
    encoder = FrameEncoder(max_tiles=0 if noise else 100)
    buffer = np.empty_like(frames[0])
    for frame in frames:
        buffer[:] = frame
        encoder.add(buffer)
    coded = encoder.finish()
    assert np.array_equal(coded.raw if coded.raw is not None else decode(coded.tiles, coded.grid), frames)


def test_frames_need_not_be_contiguous() -> None:
    frames = tile_frames(5, 4, 3, 3, 5)
    flipped = frames[:, ::-1, :, ::-1]
    coded = encode(flipped)
    assert np.array_equal(decode(coded.tiles, coded.grid), flipped)


@pytest.mark.parametrize(
    "bad", [np.zeros((16, 16, 3), np.float32), np.zeros((16, 16, 4), np.uint8), np.zeros((16, 16), np.uint8)]
)
def test_what_is_no_frame_is_refused(bad: NDArray[np.generic]) -> None:
    with pytest.raises(InvalidInputError, match="frame"):
        FrameEncoder().add(bad)  # type: ignore[arg-type]


def test_a_frame_of_another_size_is_refused() -> None:
    encoder = FrameEncoder()
    encoder.add(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(InvalidInputError, match="expected"):
        encoder.add(np.zeros((16, 24, 3), np.uint8))
