"""Clips compared with the episodes they are drawn from, row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.samples import CPU, play

from actionparty.data.clips import WorldClips, row_rarity, to_pixels, to_unit
from actionparty.data.tables import WorldTable, alive_age
from actionparty.errors import DatasetError
from actionparty.rollout.table import to_cells
from actionparty.types import NO_ACTION, Episode, SubjectStates
from actionparty.vocabulary import action_ids

ROWS, CONTEXT, MEMORY = 15, 2, 4


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [play(ROWS, seed, subjects=3, size=(7, 8)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def world(episodes: list[Episode]) -> WorldClips:
    return WorldClips(episodes)


def test_all_levels_survive_the_unit_interval_and_rounding_errors() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(levels)), levels)
    assert torch.equal(to_pixels(to_unit(levels) + 1e-3), levels)
    assert to_unit(levels).min() == -1
    assert to_unit(levels).max() == 1
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_every_row_but_the_first_of_an_episode_is_a_target(world: WorldClips) -> None:
    assert world.targets.tolist() == [*range(1, ROWS), *range(ROWS + 1, 2 * ROWS)]
    assert len(world) == 2 * (ROWS - 1)


@pytest.mark.parametrize("t", [1, 2, 3, 7, ROWS - 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_clip_is_the_rows_before_its_target(episodes: list[Episode], world: WorldClips, which: int, t: int) -> None:
    episode = episodes[which]
    clips = world.at(torch.tensor([which * ROWS + t]), CONTEXT, MEMORY)
    ids = np.array(action_ids(episode.world.actions))
    past = np.maximum(np.arange(t - MEMORY, t), 0)
    frames = to_unit(torch.from_numpy(np.stack([to_cells(f) for f in episode.frames()])))
    assert torch.equal(world.tiles[clips.context[0]], frames[past[-CONTEXT:]])
    assert torch.equal(world.tiles[clips.target[0]], frames[t])
    np.testing.assert_array_equal(clips.position[0], episode.states.position[past])
    np.testing.assert_array_equal(clips.facing[0], episode.states.facing[past])
    np.testing.assert_array_equal(clips.alive[0], episode.states.alive[past])
    np.testing.assert_array_equal(clips.next_position[0], episode.states.position[t])
    np.testing.assert_array_equal(clips.next_facing[0], episode.states.facing[t])
    np.testing.assert_array_equal(clips.next_alive[0], episode.states.alive[t])
    np.testing.assert_array_equal(clips.action[0], ids[episode.actions[t]])
    np.testing.assert_array_equal(clips.reward[0], episode.rewards[t])
    known = np.arange(t - MEMORY, t) > 0
    np.testing.assert_array_equal(clips.past_action[0], np.where(known[:, None], ids[episode.actions[past]], -1))
    np.testing.assert_array_equal(clips.age[0], alive_age(episode.states.alive)[t - 1])
    identities = to_unit(torch.from_numpy(episode.identities().reshape(3, -1).copy()))
    assert torch.equal(world.tiles[clips.identity[0]], identities)


def test_a_start_repeats_the_first_row_without_actions(world: WorldClips) -> None:
    clips = world.at(torch.tensor([ROWS + 1]), CONTEXT, MEMORY)
    assert (clips.past_action == -1).all()
    assert (clips.context[0] == clips.context[0, 0]).all()
    assert (clips.position[0] == world.position[ROWS]).all()


def test_one_step_back_stays_within_the_episode(world: WorldClips) -> None:
    rows = torch.tensor([1, 2, ROWS + 1, ROWS + 6])
    assert world.at(rows, CONTEXT, MEMORY, back=1).rows.tolist() == [1, 1, ROWS + 1, ROWS + 5]


def test_only_the_last_row_of_an_ended_episode_ends(episodes: list[Episode]) -> None:
    world = WorldClips([replace(episodes[0], ended=True), episodes[1]])
    assert world.ended.nonzero()[:, 0].tolist() == [ROWS - 1]


def test_drawing_follows_from_the_generator_alone(world: WorldClips) -> None:
    a, b, c = (world.draw(6, CONTEXT, MEMORY, torch.Generator(CPU).manual_seed(s)).rows for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_age_counts_steps_since_life_or_death() -> None:
    alive = np.array([[1, 1], [1, 0], [1, 0], [0, 0], [0, 1], [0, 1]], bool)
    assert alive_age(alive).T.tolist() == [[0, 1, 2, 0, 1, 2], [0, 0, 1, 2, 0, 1]]


def test_common_tiles_and_visited_cells_are_what_was_seen(episodes: list[Episode], world: WorldClips) -> None:
    states = [e.states for e in episodes]
    cells = np.concatenate([s.cells[s.alive] for s in states])
    assert world.visited.tolist() == sorted({int(y * 8 + x) for x, y in cells})
    assert world.common[0] == world.grid[0, 0], "a corner is always wall"
    column = world.grid[:, 3 * 8 + 3]
    assert (column == world.common[27]).sum() == column.bincount().max()


def test_raw_frames_give_the_same_clips_as_tiles(episodes: list[Episode], world: WorldClips) -> None:
    raw = [
        replace(e, frames_raw=e.frames(), tiles=e.tiles[:0], grid=np.zeros((len(e), 7, 0), np.uint16)) for e in episodes
    ]
    other = WorldClips(raw)
    assert torch.equal(other.tiles[other.grid.long()], world.tiles[world.grid.long()])


def test_nothing_to_learn_from_is_said_clearly(episodes: list[Episode]) -> None:
    with pytest.raises(DatasetError, match=r"actionparty record"):
        WorldClips([])
    one = episodes[0]
    short = replace(
        one,
        grid=one.grid[:1],
        actions=np.full((1, 3), NO_ACTION),
        rewards=one.rewards[:1],
        states=SubjectStates(one.states.position[:1], one.states.facing[:1], one.states.alive[:1]),
    )
    with pytest.raises(DatasetError, match=r"no steps"):
        WorldClips([short])
    with pytest.raises(DatasetError, match=r"different folders"):
        WorldClips([one, play(5, 0, subjects=2, size=(7, 8))])


def test_a_row_is_as_rare_as_the_rarest_thing_that_happens_in_it(episodes: list[Episode]) -> None:
    table = WorldTable.of(episodes[:1])
    grid = np.zeros((ROWS, table.grid.shape[1]), np.int32)
    grid[1::2, 5] = 1  # seven changes 0 -> 1 and seven 1 -> 0
    grid[9:, 8] = 2  # one change that is never seen again
    still = np.zeros_like(table.reward)
    still[4, 0] = still[12, 1] = 3.0
    alive = np.ones_like(table.alive)
    alive[7:, 0] = False
    table = replace(table, grid=grid, reward=still, alive=alive)
    odds = row_rarity(table)
    assert odds[0] == pytest.approx(1e-6), "nothing happens in the first row"
    assert odds[[1, 2, 3]].tolist() == pytest.approx([7**-0.5] * 3)
    assert odds[[4, 12]].tolist() == pytest.approx([2**-0.5] * 2)
    assert odds[[7, 9]].tolist() == [1.0, 1.0]


def test_a_tile_that_changed_often_says_what_it_became(episodes: list[Episode]) -> None:
    table = WorldTable.of(episodes)
    grid = np.zeros_like(table.grid)
    grid[1:6, 0] = 1, 0, 2, 0, 1  # tile 0 changes three times here, once in cell 3, and once where an episode ends
    grid[4:, 3] = 3
    grid[ROWS:, 5] = 4
    changes = replace(table, grid=grid).changes()
    assert changes.tolist() == [], "tile 0 changed four times within an episode: too little was seen"
    grid[9:12, 6] = 2, 0, 5
    grid[12:, 6] = 5
    changes = replace(table, grid=grid).changes()
    assert changes.tolist() == [[0, 1], [0, 2], [0, 3], [0, 5]]


def test_tiles_say_whom_they_show() -> None:
    table = WorldTable.of([play(60, seed, subjects=3, size=(7, 8)) for seed in range(3)])
    looks = table.looks()
    x, y = (table.position[..., k].astype(int) for k in (0, 1))
    shown = looks[np.take_along_axis(table.grid, y * table.spec.grid[1] + x, 1)]
    assert not table.alive.all()
    assert (shown == np.arange(1, 4))[table.alive].all()
    assert (looks[table.grid] >= 0).sum() == table.alive.sum(), "nobody shows anywhere else"


def _then_swapped(table: WorldTable, first: int) -> WorldTable:
    """Return what ``looks`` needs of one episode, then the same again with both subjects exchanged, from ``first``."""
    return replace(
        table,
        grid=np.concatenate([table.grid, table.grid]),
        position=np.concatenate([table.position, table.position[:, ::-1]]),
        alive=np.concatenate([table.alive, table.alive[:, ::-1]]),
        first=np.repeat([0, first], len(table)),
    )


def test_tiles_that_all_subjects_wear_are_nobodys_own() -> None:
    looks = _then_swapped(WorldTable.of([play(60, 1, subjects=2)]), first=0).looks()
    assert set(looks.tolist()) == {-1, 0}


def test_colours_may_be_dealt_anew_in_each_episode() -> None:
    table = _then_swapped(WorldTable.of([play(120, 1, subjects=2)]), first=120)
    x, y = (table.position[..., k].astype(int) for k in (0, 1))
    shown = table.looks()[np.take_along_axis(table.grid, y * table.spec.grid[1] + x, 1)]
    told = table.alive & (shown > 0)
    assert told.sum() > 0.9 * table.alive.sum()
    assert (shown == np.repeat([[1, 2], [2, 1]], 120, 0))[told].all()


def test_where_tiles_do_not_tell_who_is_there_nothing_is_said() -> None:
    table = WorldTable.of([play(60, 1, subjects=2)])
    elsewhere = replace(table, position=np.zeros_like(table.position))
    elsewhere = replace(elsewhere, grid=np.where(np.arange(len(table))[:, None] % 2, table.grid, table.grid[:, ::-1]))
    position = elsewhere.position.copy()
    position[::2, 0] = 3, 2
    assert replace(elsewhere, position=position).looks().shape == (0,)


def test_nothing_happens_between_two_episodes(episodes: list[Episode]) -> None:
    both = row_rarity(WorldTable.of([episodes[0], replace(episodes[1], rewards=0 * episodes[1].rewards)]))
    assert both[ROWS] == pytest.approx(1e-6)


def test_rare_rows_are_drawn_by_their_odds(world: WorldClips) -> None:
    rows = world.draw(20_000, CONTEXT, MEMORY, torch.Generator(CPU).manual_seed(3), rare=1.0).rows
    shares = torch.stack([(rows == target).double().mean() for target in world.targets])
    odds = world.rarity.diff(prepend=world.rarity.new_zeros(1)) / world.rarity[-1]
    assert torch.allclose(shares, odds, atol=0.018), "five standard errors: a false alarm in 50,000 runs"
    plain = world.draw(20_000, CONTEXT, MEMORY, torch.Generator(CPU).manual_seed(3)).rows
    assert not torch.equal(rows, plain)
