from __future__ import annotations

import numpy as np
import pytest
from tests.environment.stage import GRID, SCENES, SUBJECTS

from actionparty.environment.crops import crop
from actionparty.environment.observing import KINDS, Observer, own_states
from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.types import SubjectStates
from actionparty.worlds.views import View

SCENE = SCENES[0]


def test_every_kind_has_its_shape_and_every_subject_its_own() -> None:
    observer = Observer(SCENE.world, KINDS)
    frames, states = SCENE.frames[-1:], SCENE.states[-1:]
    told = observer(frames, states)
    assert {kind: values.shape[2:] for kind, values in told.items()} == {kind: observer.shape(kind) for kind in KINDS}
    assert all(values.shape[:2] == (1, SUBJECTS) for values in told.values())
    np.testing.assert_array_equal(told["view"], crop(frames, states, View()))
    assert all((told["frame"][0, i] == frames[0]).all() for i in range(SUBJECTS))


def test_another_view_may_be_asked_for() -> None:
    assert Observer(SCENE.world, "view", View(1, 1, 2, 0)).shape("view") == (24, 24, 3)


def test_the_own_state_is_place_facing_and_life() -> None:
    states = SubjectStates(np.array([[3, 3], [-1, 9]], np.float32), np.array([2, 0]), np.array([True, False]))
    numbers = own_states(states, GRID)
    expected = np.array([[3 / 7, 3 / 6, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(numbers, expected, atol=1e-6)
    assert numbers.dtype == np.float32


@pytest.mark.parametrize("kinds", [(), ("view", "view")])
def test_nothing_or_twice_the_same_is_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="each once"):
        Observer(SCENE.world, kinds)


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean frame"):
        Observer(SCENE.world, ("frames",))
