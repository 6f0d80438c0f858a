from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.fakes import FakeWorld, episode, make_policy, make_world

from actionparty.data.inspection import collisions, filmstrip, inspect, spread_steps
from actionparty.data.recording import record
from actionparty.errors import DatasetError, InvalidInputError
from actionparty.types import NO_ACTION, Episode, SubjectStates, WorldSpec

N, E, S, W = range(4)
NOOP, FORWARD, BACKWARD, LEFT, RIGHT = range(5)
ACTIONS = ("noop", "forward", "backward", "step_left", "step_right")


def walk(places: list[list[tuple[int, int]]], facings: list[int], actions: list[int]) -> Episode:
    """Two rows of some subjects: where they are before and after, and what they did in between."""
    n = len(facings)
    position = np.array(places, np.float32).reshape(2, n, 2)
    states = SubjectStates(position, np.tile(facings, (2, 1)), np.ones((2, n), np.bool_))
    return Episode(
        world=WorldSpec("walk", n, (9, 9), ACTIONS),
        seed=0,
        tiles=np.zeros((1, 8, 8, 3), np.uint8),
        grid=np.zeros((2, 9, 9), np.uint16),
        states=states,
        actions=np.array([[NO_ACTION] * n, actions]),
        rewards=np.zeros((2, n), np.float32),
        ended=False,
    )


@pytest.mark.parametrize(
    ("facing", "action", "other"),
    [
        *[(N, FORWARD, (4, 3)), (E, FORWARD, (5, 4)), (S, FORWARD, (4, 5)), (W, FORWARD, (3, 4))],
        *[(N, BACKWARD, (4, 5)), (N, LEFT, (3, 4)), (N, RIGHT, (5, 4)), (W, RIGHT, (4, 3)), (S, LEFT, (5, 4))],
    ],
)
def test_a_subject_in_the_way_is_a_collision(facing: int, action: int, other: tuple[int, int]) -> None:
    still = walk([[(4, 4), other], [(4, 4), other]], [facing, N], [action, NOOP])
    assert collisions(still).tolist() == [[False, False], [True, False]]


def test_who_wins_the_contested_cell_has_not_collided() -> None:
    contest = walk([[(3, 4), (5, 4)], [(3, 4), (4, 4)]], [E, W], [FORWARD, FORWARD])
    assert collisions(contest)[1].tolist() == [True, False]


def test_walls_idlers_and_the_dead_are_no_collisions() -> None:
    assert not collisions(walk([[(0, 4), (5, 4)], [(0, 4), (5, 4)]], [W, N], [FORWARD, NOOP])).any()
    assert not collisions(walk([[(4, 4), (4, 3)], [(4, 4), (4, 3)]], [N, N], [NOOP, NOOP])).any()
    dead = walk([[(4, 4), (4, 3)], [(4, 4), (4, 3)]], [N, N], [FORWARD, NOOP])
    dead.states.alive[:, 1] = False
    assert not collisions(dead).any()


def test_counts_of_a_recording(tmp_path: Path) -> None:
    record(["a", "b"], 70, 4, 2, tmp_path, subjects=3, shard_steps=30, make_world=make_world, make_policy=make_policy)
    summary = inspect(tmp_path)
    assert (summary.episodes, summary.steps, summary.damaged) == (6, 140, ())
    a = next(world for world in summary.worlds if world.world.name == "a")
    assert (a.episodes, a.steps, a.seeds, a.policies) == (3, 70, (4, 6), ("mixed",))
    assert a.world.subjects == 3
    assert set(a.actions) == {"noop", "forward", "turn_right"}
    assert sum(a.actions.values()) == (70 - 3) * 3
    assert 0.75 < a.alive < 1
    assert a.returns > 0
    assert a.rewarded == pytest.approx(67 / 70)
    assert 0.3 < a.reward < 0.7
    assert 0 < a.bytes_per_frame * 70 < a.bytes == sum(path.stat().st_size for path in tmp_path.glob("a@3/*"))


def test_damaged_shards_are_left_out_and_named(tmp_path: Path) -> None:
    record(["a"], 70, 0, 1, tmp_path, shard_steps=30, make_world=make_world, make_policy=make_policy)
    path = tmp_path / "a" / "mixed-0000001.steps.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    summary = inspect(tmp_path)
    assert summary.steps == 40
    assert [path.name in reason for reason in summary.damaged] == [True]


def test_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a dataset"):
        inspect(tmp_path)


def test_a_filmstrip_shows_the_frames(tmp_path: Path) -> None:
    made = episode(FakeWorld("a", grid=(3, 4)), 30)
    filmstrip(made, tmp_path / "strip.png", [0, 7, 29])
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    width = strip.shape[1] // 3
    scale = (width - 2) // 32
    for i, step in enumerate((0, 7, 29)):
        enlarged = made.frames(step, step + 1)[0].repeat(scale, 0).repeat(scale, 1)
        shown = strip[-1 - len(enlarged) : -1, i * width + 1 : i * width + 1 + enlarged.shape[1]]
        assert np.array_equal(shown, enlarged)


@pytest.mark.parametrize("steps", [[], [30], [-1], [0, 99]])
def test_a_filmstrip_of_steps_that_do_not_exist(tmp_path: Path, steps: list[int]) -> None:
    with pytest.raises(InvalidInputError, match="0 to 29"):
        filmstrip(episode(FakeWorld("a"), 30), tmp_path / "strip.png", steps)
    assert list(tmp_path.iterdir()) == []


def test_steps_spread_over_an_episode() -> None:
    assert spread_steps(11, 3) == [0, 5, 10]
    assert spread_steps(2, 8) == [0, 1]
    assert spread_steps(1, 8) == [0]


def test_inspection_does_not_depend_on_where_episodes_are_split() -> None:
    made = episode(FakeWorld("a", 4), 40)
    halves = [
        replace(made, actions=made.actions[part], states=made.states[part]) for part in (slice(0, 21), slice(20, 40))
    ]
    together = collisions(made)[1:].sum()
    assert sum(collisions(half)[1:].sum() for half in halves) == together
