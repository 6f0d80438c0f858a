from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actionparty.environment.crops import crop
from actionparty.types import CELL, FACING_STEPS, SubjectStates
from actionparty.worlds import meltingpot
from actionparty.worlds.meltingpot import MeltingPotWorld
from actionparty.worlds.views import View, view_of


def random_batch(b: int, n: int, h: int, w: int, seed: int) -> tuple[NDArray[np.uint8], SubjectStates]:
    rng = np.random.default_rng(seed)
    frames = rng.integers(1, 256, (b, h * CELL, w * CELL, 3), dtype=np.uint8)
    position = np.stack([rng.integers(0, w, (b, n)), rng.integers(0, h, (b, n))], -1).astype(np.float32)
    return frames, SubjectStates(position, rng.integers(0, 4, (b, n)), rng.random((b, n)) < 0.8)


def slow_crop(frame: NDArray[np.uint8], states: SubjectStates, i: int, view: View) -> NDArray[np.uint8]:
    """One subject's view, cell by cell: from its own cell so many steps ahead and so many to its right."""
    rows, columns = view.size
    out = np.zeros((rows * CELL, columns * CELL, 3), np.uint8)
    h, w = frame.shape[0] // CELL, frame.shape[1] // CELL
    facing = int(states.facing[i])
    ahead, right = FACING_STEPS[facing], FACING_STEPS[(facing + 1) % 4]
    for row in range(rows):
        for column in range(columns):
            x, y = states.cells[i] + (view.ahead - row) * ahead + (column - view.left) * right
            if view.wraps:
                x, y = x % w, y % h
            if states.alive[i] and 0 <= x < w and 0 <= y < h:
                tile = frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]
                turned = np.rot90(tile, facing)
                out[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = turned
    return out


@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.builds(View, *[st.integers(0, 5)] * 4, wraps=st.booleans()),
    st.integers(0, 99),
)
def test_all_at_once_is_what_one_by_one_gives(b: int, n: int, grid: tuple[int, int], view: View, seed: int) -> None:
    frames, states = random_batch(b, n, *grid, seed)
    seen = crop(frames, states, view)
    assert seen.shape == (b, n, view.size[0] * CELL, view.size[1] * CELL, 3)
    assert seen.flags.c_contiguous
    for row in range(b):
        for i in range(n):
            np.testing.assert_array_equal(seen[row, i], slow_crop(frames[row], states[row], i, view))


def test_a_subject_at_an_edge_sees_black_beyond_and_a_gone_one_nothing() -> None:
    frames = np.full((1, 4 * CELL, 4 * CELL, 3), 255, np.uint8)
    states = SubjectStates(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2), np.int64), np.array([[True, False]]))
    seen = crop(frames, states, View(1, 1, 1, 1))
    bright: NDArray[np.bool_] = np.all(seen.reshape(1, 2, 3, CELL, 3, CELL, 3), axis=(3, 5, 6))
    np.testing.assert_array_equal(bright[0, 0], [[0, 0, 0], [0, 1, 1], [0, 1, 1]])
    assert not bright[0, 1].any()


def test_predicted_places_a_little_off_the_map_are_taken_for_its_edge() -> None:
    frames, states = random_batch(1, 1, 3, 3, 0)
    there, north = np.ones_like(states.alive), np.zeros_like(states.facing)
    off, edge = (SubjectStates(np.array([[place]], np.float32), north, there) for place in ((-0.7, 2.9), (0, 2)))
    np.testing.assert_array_equal(crop(frames, off, View()), crop(frames, edge, View()))


@pytest.mark.meltingpot
@pytest.mark.parametrize(
    ("name", "upright"),
    [
        ("prisoners_dilemma_in_the_matrix__repeated", False),
        ("clean_up", False),
        pytest.param("territory__rooms", True, marks=pytest.mark.slow),
    ],
)
def test_melting_pot_shows_the_same_cells(name: str, upright: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tiles stay upright in some worlds (there only subjects that face north are compared), the own tile always."""
    inner = meltingpot._set_view
    monkeypatch.setattr(meltingpot, "_set_view", lambda avatar, keep: inner(avatar, True))
    world, view = MeltingPotWorld(name), view_of(name)
    world.reset(seed=3)
    rng = np.random.default_rng(0)
    right = []
    for _ in range(12):
        seen = world.step(rng.integers(0, 7, world.spec.subjects))
        ours = crop(seen.frame[None], seen.states[None], view)[0]
        chosen = seen.states.alive & ((seen.states.facing == 0) | (not upright))
        for i in np.flatnonzero(chosen):
            equal = np.equal(ours[i], world._lab.observation(f"{i + 1}.RGB"))
            cells = equal.reshape(view.size[0], CELL, view.size[1], CELL, 3).all((1, 3, 4))
            cells[view.ahead, view.left] = True
            right.append(cells.mean())
    world.close()
    assert len(right) >= 5
    assert np.mean(right) > 0.98
