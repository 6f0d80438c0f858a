"""The arena's rules on small maps, its invariants under random play, its pictures, and its repeatability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actionparty.errors import InvalidInputError
from actionparty.types import CELL, FACING_STEPS, MAX_SUBJECTS, Frame, Observation, World
from actionparty.worlds import arena_tiles
from actionparty.worlds.arena import ACTIONS, AWAY, BEAM_LENGTH, ArenaWorld


def start(layout: str, coin_rate: float = 0.0, seed: int = 0, length: int = 1000) -> tuple[ArenaWorld, Observation]:
    world = ArenaWorld(layout=layout, coin_rate=coin_rate, length=length)
    return world, world.reset(seed=seed)


def act(world: ArenaWorld, *names: str) -> Observation:
    return world.step(np.array([ACTIONS.index(name) for name in names]))


def rows(*lines: str) -> str:
    return "\n".join(lines)


def tile_at(frame: Frame, x: int, y: int) -> Frame:
    return frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]


def after(layout: str, *names: str) -> str:
    world, _ = start(layout)
    act(world, *names)
    return world.layout()


@pytest.mark.parametrize("arrow", "^>v<")
@pytest.mark.parametrize(("name", "turn"), [("forward", 0), ("step_right", 1), ("backward", 2), ("step_left", 3)])
def test_moves_are_relative_to_the_facing(arrow: str, name: str, turn: int) -> None:
    world, before = start(rows("#####", "#...#", f"#.{arrow}.#", "#...#", "#####"))
    states = act(world, name).states
    facing = "^>v<".index(arrow)
    assert (states.position - before.states.position)[0].tolist() == FACING_STEPS[(facing + turn) % 4].tolist()
    assert states.facing.tolist() == [facing]


def test_turning_right_four_times_passes_all_facings_on_the_spot() -> None:
    world, first = start(rows("###", "#^#", "###"))
    seen = [act(world, "turn_right").states for _ in range(4)]
    assert [int(states.facing[0]) for states in seen] == [1, 2, 3, 0]
    assert all((states.position == first.states.position).all() for states in seen)
    assert act(world, "turn_left").states.facing.tolist() == [3]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("#>#..#", "#>#..#"),  # a wall
        ("#>c..#", "#.>c.#"),  # a crate is pushed
        ("#>c#.#", "#>c#.#"),  # ... but not into a wall
        ("#>cc.#", "#>cc.#"),  # ... another crate
        ("#>co.#", "#>co.#"),  # ... or a coin
        ("#>o..#", "#.>..#"),  # a coin is picked up
    ],
)
def test_what_walking_forward_does(before: str, expected: str) -> None:
    border = "#" * len(before)
    assert after(rows(border, before, border), "forward") == rows(border, expected, border)


def test_a_crate_is_not_pushed_into_a_subject() -> None:
    layout = rows("######", "#>c>.#", "######")
    assert after(layout, "forward", "noop") == layout


def test_a_subject_blocks_another_that_stays() -> None:
    layout = rows("######", "#>>..#", "######")
    assert after(layout, "forward", "noop") == layout


def test_subjects_never_swap_places() -> None:
    layout = rows("######", "#.><.#", "######")
    assert after(layout, "forward", "forward") == layout


def test_a_coin_gives_one_to_whoever_enters_it() -> None:
    world, _ = start(rows("#######", "#>o.^.#", "#######"))
    assert act(world, "forward", "noop").rewards.tolist() == [1.0, 0.0]
    assert act(world, "forward", "noop").rewards.tolist() == [0.0, 0.0]


def test_a_conflict_for_one_cell_is_decided_at_random_and_by_the_seed() -> None:
    def winner(seed: int) -> int:
        world, _ = start(rows("#####", "#>.<#", "#####"), seed=seed)
        return int((act(world, "forward", "forward").states.cells[:, 0] == 2).argmax())

    winners = [winner(seed) for seed in range(200)]
    assert winners == [winner(seed) for seed in range(200)]
    assert 60 < sum(winners) < 140  # a fair coin leaves this range once in 10^8 times


def test_a_beam_removes_the_first_subject_ahead_for_a_few_frames_and_it_returns_on_a_free_cell() -> None:
    world, _ = start(rows("########", "#>.<>..#", "########"))
    hit = act(world, "fire_zap", "noop", "noop")
    assert hit.states.alive.tolist() == [True, False, True]
    assert hit.states.cells[1].tolist() == [3, 1], "a removed subject keeps its last place"
    beam = arena_tiles.tiles()[arena_tiles.BEAM]
    assert [bool((tile_at(hit.frame, x, 1) == beam).all()) for x in range(1, 7)] == [False, True, True] + [False] * 3
    missing = [hit] + [act(world, *["noop"] * 3) for _ in range(AWAY - 1)]
    assert not any(observation.states.alive[1] for observation in missing)
    assert not any((tile_at(missing[1].frame, x, 1) == beam).all() for x in range(8)), "a beam lasts one frame"
    back = act(world, *["noop"] * 3).states
    assert back.alive.all()
    assert len({tuple(cell) for cell in back.cells.tolist()}) == 3


def test_a_removed_subject_can_do_nothing() -> None:
    world, _ = start(rows("########", "#><...c#", "########"))
    act(world, "fire_zap", "noop")
    states = act(world, "noop", "turn_left").states
    assert (states.cells[1].tolist(), int(states.facing[1])) == ([2, 1], 3)


@pytest.mark.parametrize(
    ("row", "hit"),
    [
        ("#>" + "." * (BEAM_LENGTH - 1) + "<..#", True),
        ("#>" + "." * BEAM_LENGTH + "<..#", False),
        ("#>#<...#", False),
        ("#>c<...#", False),
        ("#>o<...#", True),
    ],
)
def test_how_far_a_beam_reaches(row: str, hit: bool) -> None:
    world, _ = start(rows("#" * len(row), row, "#" * len(row)))
    assert bool(act(world, "fire_zap", "noop").states.alive[1]) is not hit


def test_beams_fire_at_once_so_that_two_subjects_remove_each_other() -> None:
    world, _ = start(rows("######", "#>..<#", "######"))
    assert act(world, "fire_zap", "fire_zap").states.alive.tolist() == [False, False]


def test_a_beam_comes_before_a_step_aside() -> None:
    world, _ = start(rows("#####", "#...#", "#>^.#", "#...#", "#####"))
    assert act(world, "fire_zap", "forward").states.alive.tolist() == [True, False]


def test_hands_lift_a_crate_carry_it_and_put_it_down_on_a_free_cell() -> None:
    world, first = start(rows("#######", "#>c...#", "#######"))
    lifted = act(world, "interact")
    assert world.layout() == rows("#######", "#>....#", "#######")
    assert not (tile_at(lifted.frame, 1, 1) == tile_at(first.frame, 1, 1)).all(), "a load can be seen"
    act(world, "forward")
    act(world, "interact")
    assert world.layout() == rows("#######", "#.>c..#", "#######")


def test_a_load_is_not_put_into_a_wall() -> None:
    world, _ = start(rows("####", "#c>#", "####"))
    for name in ("turn_left", "turn_left", "interact", "turn_left", "turn_left"):
        act(world, name)
    before = act(world, "noop").frame
    assert (act(world, "interact").frame == before).all()


def test_a_subject_that_is_hit_drops_its_load_where_it_stood() -> None:
    world, _ = start(rows("########", "#>.<c..#", "########"))
    for turn in ("turn_left", "turn_left", "interact"):
        act(world, "noop", turn)
    act(world, "fire_zap", "noop")
    assert world.layout() == rows("########", "#>.c...#", "########")


def test_coins_appear_on_free_cells_up_to_one_for_each_subject() -> None:
    world, _ = start(rows("######", "#>c..#", "#...<#", "######"), coin_rate=1.0)
    counts = [(act(world, "noop", "noop"), world.layout().count("o"))[1] for _ in range(4)]
    assert counts == [1, 2, 2, 2]
    assert world.layout().count("c") == 1


def test_the_share_of_steps_with_a_new_coin_is_the_coin_rate() -> None:
    world, _ = start(rows("####", "#>o#", "####"), coin_rate=0.25, length=10_000)
    moves = ("forward", "backward")
    coins = sum(float(act(world, moves[k % 2]).rewards[0]) for k in range(2000))
    # Each step enters the cell where the step before may have put a coin: 500 of 2,000, give or take 19
    assert 400 < coins < 600


def test_an_episode_ends_after_its_length_and_needs_a_reset() -> None:
    world, _ = start(rows("###", "#^#", "###"), length=3)
    assert [act(world, "noop").ended for _ in range(3)] == [False, False, True]
    with pytest.raises(InvalidInputError, match="reset"):
        act(world, "noop")
    assert not world.reset(seed=1).ended


def play(world: World, seed: int, steps: int) -> list[Observation]:
    rng = np.random.default_rng(seed)
    first = world.reset(seed=seed)
    choices = rng.integers(0, len(world.spec.actions), (steps, world.spec.subjects))
    return [first, *map(world.step, choices)]


def test_an_episode_is_repeatable_from_its_seed_to_the_last_pixel() -> None:
    one, two = play(ArenaWorld(6), 5, 150), play(ArenaWorld(6), 5, 150)
    for a, b in zip(one, two, strict=True):
        assert (a.frame == b.frame).all()
        assert (a.states.position == b.states.position).all()
        assert (a.rewards == b.rewards).all()
    other = play(ArenaWorld(6), 6, 0)[0]
    assert not (other.frame == one[0].frame).all()


def test_a_reset_forgets_the_episode_before() -> None:
    world = ArenaWorld(6)
    first = play(world, 5, 40)[-1]
    play(world, 9, 17)
    assert (play(world, 5, 40)[-1].frame == first.frame).all()


@given(subjects=st.integers(1, 20), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_under_random_play_nothing_overlaps_or_gets_lost(subjects: int, seed: int) -> None:
    world = ArenaWorld(subjects, coin_rate=0.5)
    tiles = arena_tiles.tiles()
    h, w = world.spec.grid
    for observation in play(world, seed, 30):
        states = observation.states
        cells = [tuple(cell) for cell in states.cells[states.alive].tolist()]
        assert len(set(cells)) == len(cells)
        grid = observation.frame.reshape(h, CELL, w, CELL, 3).swapaxes(1, 2)
        loaded = 0
        for i in np.flatnonzero(states.alive):
            x, y = states.cells[i]
            options = [tiles[arena_tiles.subject_tile(int(i), int(states.facing[i]), load)] for load in (False, True)]
            found = [bool((grid[y, x] == tile).all()) for tile in options]
            assert any(found)
            loaded += found[1]
        crates = int((grid == tiles[arena_tiles.CRATE]).all((2, 3, 4)).sum())
        assert crates + loaded == subjects // 2
        assert observation.frame.shape == (h * CELL, w * CELL, 3)


def test_all_tiles_differ() -> None:
    tiles = arena_tiles.tiles()
    assert len(tiles) == arena_tiles.FIRST_SUBJECT + MAX_SUBJECTS * 8
    assert len({tile.tobytes() for tile in tiles}) == len(tiles)


def test_a_layout_round_trips() -> None:
    layout = rows("#######", "#^>v<.#", "#.c#o.#", "#######")
    assert start(layout)[0].layout() == layout


def test_64_subjects_fit_in_the_default_size_and_all_are_seen() -> None:
    world = ArenaWorld(64)
    observation = world.reset(seed=0)
    assert observation.states.alive.sum() == 64
    assert world.spec.grid[0] * world.spec.grid[1] >= 64 * 9


@pytest.mark.parametrize("subjects", [0, -1, 65])
def test_a_number_of_subjects_that_no_world_has_is_refused(subjects: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64"):
        ArenaWorld(subjects)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("###\n#^\n###", "equal length"),
        ("###\n#x#\n###", "made of"),
        ("...\n.^.\n...", "border"),
        ("###\n#.#\n###", "0 subjects"),
        ("", "made of|border|equal"),
    ],
)
def test_a_malformed_layout_is_refused(layout: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ArenaWorld(layout=layout)


def test_other_impossible_arenas_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="larger size"):
        ArenaWorld(30, size=(5, 5)).reset(seed=0)
    with pytest.raises(InvalidInputError, match="3x3"):
        ArenaWorld(1, size=(2, 9))
    with pytest.raises(InvalidInputError, match="coin_rate"):
        ArenaWorld(1, coin_rate=1.5)
    with pytest.raises(InvalidInputError, match="2 subjects"):
        ArenaWorld(3, layout=rows("####", "#><#", "####"))


def test_wrong_actions_and_scenes_are_refused() -> None:
    world = ArenaWorld(2)
    with pytest.raises(InvalidInputError, match="reset"):
        world.step(np.zeros(2, np.int64))
    world.reset(seed=0)
    for actions in ([0, 0, 0], [0, len(ACTIONS)], [-1, 0]):
        with pytest.raises(InvalidInputError, match="actions"):
            world.step(np.array(actions))
    world.close()
    with pytest.raises(InvalidInputError, match="reset"):
        world.layout()


def test_the_arena_is_a_world() -> None:
    assert isinstance(ArenaWorld(), World)
