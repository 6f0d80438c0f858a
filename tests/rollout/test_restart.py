from __future__ import annotations

import numpy as np
import pytest
from tests.rollout.samples import actions, identical, play_on, rollout, scene, started

from actionparty.errors import InvalidInputError
from actionparty.rollout.restart import restart


def test_the_others_go_on_as_if_nothing_had_happened() -> None:
    chosen = actions(8, 3)
    alone, cut = started([4, 5, 6]), started([4, 5, 6])
    play_on(alone, chosen[:4])
    play_on(cut, chosen[:4])
    restart(cut, [1], [scene(9)], [77])
    assert np.array_equal(cut.last().frames[1], scene(9).frames[-1])
    fresh = rollout()
    fresh.reset([scene(9)] * 3, [76, 77, 78])
    for row in chosen[4:]:
        a, b, c = alone.step(row), cut.step(row), fresh.step(row)
        for i in (0, 2):
            np.testing.assert_array_equal(a.states.position[i], b.states.position[i])
            np.testing.assert_allclose(
                a.frames[i].astype(int), b.frames[i].astype(int), atol=1
            )  # batches differ in the last bits
        np.testing.assert_allclose(c.frames[1].astype(int), b.frames[1].astype(int), atol=1)
        assert not identical(a, b)


@pytest.mark.parametrize(("rows", "scenes"), [([3], 1), ([-1], 1), ([0, 1], 1)])
def test_a_row_that_is_none_is_refused(rows: list[int], scenes: int) -> None:
    with pytest.raises(InvalidInputError, match="of 3 rollouts"):
        restart(started([4, 5, 6]), rows, [scene()] * scenes, [0] * scenes)


def test_only_what_runs_is_restarted() -> None:
    with pytest.raises(InvalidInputError, match="call reset"):
        restart(rollout(), [0], [scene()], [0])
