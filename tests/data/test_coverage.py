from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.data.fakes import NoisyWorld, episode, make_policy, make_world
from tests.training.samples import play, renamed

from actionparty.data.coverage import WorldCoverage, cover, coverage, thin_spots
from actionparty.data.dataset import load_episodes
from actionparty.data.inspection import collisions
from actionparty.data.packed import write_packed
from actionparty.data.recording import record
from actionparty.data.signs import SIGNS
from actionparty.data.tables import WorldTable
from actionparty.errors import DatasetError
from actionparty.types import WorldSpec
from actionparty.vocabulary import ACTIONS

N, E, S, W = range(4)
SIZE = 9
MIDDLE = (4, 4)
NAMES = ("noop", "forward", "fire_zap")
Place = tuple[int, int]


def table(
    actions: Sequence[Sequence[str]],
    changed: dict[tuple[int, Place], int] | None = None,
    places: Sequence[Sequence[Place]] | None = None,
    facing: int = N,
) -> WorldTable:
    """One episode of floor (tile 0): the actions into rows 1, 2, ..., and the tiles of (row, (x, y)) that differ."""
    rows, n = len(actions) + 1, len(actions[0])
    grid = np.zeros((rows, SIZE, SIZE), np.int32)
    for (row, (x, y)), tile in (changed or {}).items():
        grid[row, y, x] = tile
    taken = [[-1] * n, *([ACTIONS.index(name) for name in row] for row in actions)]
    return WorldTable(
        spec=WorldSpec("game", n, (SIZE, SIZE), NAMES),
        tiles=np.zeros((9, 192), np.uint8),
        grid=grid.reshape(rows, -1),
        position=np.array(places if places else [[MIDDLE, (0, 0)][:n]] * rows, np.float32),
        facing=np.full((rows, n), facing),
        alive=np.ones((rows, n), np.bool_),
        action=np.array(taken),
        reward=np.zeros((rows, n), np.float32),
        ended=np.zeros(rows, np.bool_),
        first=np.zeros(rows, np.int64),
        identity=np.zeros((rows, n), np.int64),
    )


def zap(counted: WorldCoverage) -> dict[str, int]:
    """Return the signs of the only action of the world's own that are not 0."""
    (effects,) = counted.effects
    assert effects.action == "fire_zap"
    assert tuple(effects.signs) == tuple(effects.beyond) == SIGNS
    return {sign: count for sign, count in effects.signs.items() if count}


@pytest.mark.parametrize("facing", [N, E, S, W])
def test_reach_is_three_ahead_and_one_to_each_side(facing: int) -> None:
    def turned(ahead: int, right: int) -> Place:
        east, south = {N: (right, -ahead), E: (ahead, right), S: (-right, ahead), W: (-ahead, -right)}[facing]
        return (MIDDLE[0] + east, MIDDLE[1] + south)

    for ahead in range(-2, 5):
        for right in range(-2, 3):
            if (ahead, right) == (0, 0):
                continue
            seen = zap(cover(table([["fire_zap"]], {(1, turned(ahead, right)): 1}, facing=facing)))
            near = 0 <= ahead <= 3 and -1 <= right <= 1
            assert seen == ({"around": 1} if near else {}), (ahead, right)


def test_a_beam_is_seen_once_and_its_end_is_nobodys_doing() -> None:
    shot = table([["fire_zap"], ["noop"], ["noop"], ["noop"]], {(1, (4, 3)): 1, (1, (4, 2)): 1})
    counted = cover(shot)
    assert zap(counted) == {"around": 1}
    assert counted.resting == 3
    assert set(counted.background.values()) == {0.0}
    assert counted.effects[0].beyond == {"around": 1, "lasting": 0, "own": 0, "rewarded": 0, "removed": 0}


def test_a_beam_every_other_step_is_seen_every_time() -> None:
    beams = {(row, (4, 3)): 1 for row in range(1, 20, 2)}
    assert zap(cover(table([["fire_zap"], ["noop"]] * 10, beams))) == {"around": 10}


def test_what_stays_changed_is_lasting() -> None:
    lines = [["noop"], ["fire_zap"], ["noop"], ["noop"]]
    stays = {(row, (4, 3)): 1 for row in (2, 3, 4)}
    assert zap(cover(table(lines, stays))) == {"around": 1, "lasting": 1}
    assert zap(cover(table(lines, stays | {(4, (4, 3)): 2}))) == {"around": 1}, "it changes on"
    assert zap(cover(table(lines, stays | {(0, (4, 3)): 3}))) == {"around": 1}, "it had just changed before"
    too_short = {(2, (4, 3)): 1, (3, (4, 3)): 1}
    assert zap(cover(table(lines, too_short))) == {"around": 1}
    beam_first = stays | {(2, (4, 3)): 7}
    assert zap(cover(table(lines, beam_first))) == {"around": 1, "lasting": 1}, "a beam hides the change for a row"
    assert zap(cover(table(lines[:3], too_short))) == {"around": 1}, "nobody knows what came after the last row"
    trodden = [[MIDDLE, (0, 0)]] * 3 + [[MIDDLE, (4, 3)]] * 2
    stepped = table([[*line, "noop"] for line in lines], stays, trodden)
    assert zap(cover(stepped)) == {"around": 1}, "a subject stands where the change was"


def test_marks_are_lasting_changes_of_a_kind_that_the_background_does_not_show() -> None:
    """Ten rows a round: the action turns tile 0 into 1 (which a later row takes back), water goes 2, 3, 2 by itself."""
    rounds = 60
    lines = [["fire_zap"] if row % 10 in (3, 6) else ["noop"] for row in range(1, 10 * rounds)]
    painted = {(row, (4, 2)): 1 for row in range(10 * rounds) if 3 <= row % 10 < 8}
    water = {(row, (4, 3)): 2 + (row // 3) % 2 for row in range(10 * rounds)}
    (effects,) = cover(table(lines, painted | water)).effects
    assert effects.taken == 2 * rounds
    assert effects.marks == rounds
    few = {(row, cell): tile for (row, cell), tile in painted.items() if row < 90}
    assert cover(table(lines, few | water)).effects[0].marks == 0, "nine times are not enough"


def test_subjects_that_come_and_go_are_no_effect() -> None:
    places = [[MIDDLE, (4, 3)], [MIDDLE, (5, 3)]]
    walked = table([["fire_zap", "noop"]], {(0, (4, 3)): 2, (1, (5, 3)): 2}, places)
    assert zap(cover(walked)) == {}


def test_the_own_picture_counts_while_its_subject_stands_still() -> None:
    painted = {(1, MIDDLE): 1}
    assert zap(cover(table([["fire_zap"]], painted))) == {"own": 1}
    assert zap(cover(table([["fire_zap"]], painted, [[MIDDLE], [(8, 8)]]))) == {}
    turned = table([["fire_zap"]], painted)
    turned.facing[1] = E
    assert zap(cover(turned)) == {}


def test_a_lively_background_is_no_effect() -> None:
    water = {(row, (4, 3)): row % 3 for row in range(61)}
    lively = cover(table([["fire_zap"] if row % 2 else ["noop"] for row in range(60)], water))
    (effects,) = lively.effects
    assert (effects.taken, effects.signs["around"]) == (30, 30)
    assert lively.background["around"] == 1.0
    assert effects.count == 0
    quiet = cover(table([["fire_zap"] if row % 3 else ["noop"] for row in range(60)], {(2, (4, 3)): 1}))
    assert quiet.background["around"] == 0.0
    assert quiet.effects[0].count == 1


def test_the_background_explains_its_share() -> None:
    changed = {(row, (4, 3)): row for row in (1, 2, 3, 4)}
    noops = {(row, (4, 3)): 5 for row in range(5, 7)}
    made = cover(table([["fire_zap"]] * 4 + [["noop"]] * 2, changed | noops))
    assert made.background["around"] == 0.5, "one of two: tile 4 to tile 5, then nothing"
    assert made.effects[0].signs["around"] == 4
    assert made.effects[0].beyond["around"] == 2


def test_removals_returns_jumps_rewards() -> None:
    places = [[MIDDLE, (4, 2)]] * 3 + [[MIDDLE, (8, 8)]] * 2 + [[(7, 4), (4, 8)]] * 2
    made = table([["fire_zap", "noop"], *([["noop", "noop"]] * 5)], places=places)
    made.alive[1:3, 1] = False
    made.reward[1] = (2, -1)
    made.reward[4, 0] = 0.5
    counted = cover(made)
    assert (counted.removals, counted.returns) == (1, 1)
    assert counted.jumps == 1, "three cells are no jump; nor is coming back elsewhere"
    assert (counted.rewards_positive, counted.rewards_negative) == (2, 1)
    assert zap(counted) == {"rewarded": 1, "removed": 1}
    assert counted.actions == {"noop": 5 + 3 + 1, "forward": 0, "fire_zap": 1}, "the removed act no more"


def test_nothing_happens_between_two_episodes() -> None:
    places = [[MIDDLE, (1, 1)]] * 2 + [[(0, 8), (8, 0)]] * 2
    changed = {(row, (4, 3)): 1 for row in (2, 3)}
    made = table([["noop", "noop"]] * 3, changed, places)
    made.action[2] = -1
    made.reward[2] = 1
    made.alive[:2, 1] = False
    joined = replace(made, first=np.array([0, 0, 2, 2]))
    counted = cover(joined)
    assert (counted.returns, counted.jumps, counted.changes, counted.rewards_positive) == (0, 0, 0, 0)
    assert sum(counted.actions.values()) == 3
    assert cover(made).returns == cover(made).changes == 1


def test_kinds_of_change_are_distinct_pairs_of_tiles() -> None:
    blinking = {(row, (0, 0)): 1 for row in range(1, 22, 2)}
    counted = cover(table([["noop"]] * 21, blinking | {(21, (7, 7)): 3}))
    assert counted.tiles == 3
    assert counted.changes == 3, "0 to 1 eleven times, 1 to 0 ten times, 0 to 3 once"
    assert counted.rare_changes == 1


def test_collisions_are_those_of_the_inspection() -> None:
    episodes = [play(60, seed, subjects=6, size=(6, 6)) for seed in (1, 2)]
    counted = cover(WorldTable.of(episodes))
    assert counted.collisions == sum(int(collisions(e).sum()) for e in episodes) > 0


def test_recorded_and_packed_give_the_same_report(tmp_path: Path) -> None:
    record(["a", "b"], 90, 4, 1, tmp_path / "data", shard_steps=30, make_world=make_world, make_policy=make_policy)
    tables = [WorldTable.of(load_episodes(tmp_path / "data", [name])) for name in ("b", "a")]
    write_packed(iter(tables), tmp_path / "packed")
    recorded, packed = coverage(tmp_path / "data"), coverage(tmp_path / "packed")
    assert recorded == packed
    assert [(w.world.name, w.rows) for w in recorded.worlds] == [("a", 90), ("b", 90)]
    assert all(w.removals and w.returns and w.changes for w in recorded.worlds)


def test_numbers_of_subjects_are_told_apart(tmp_path: Path) -> None:
    for subjects in (3, 2):
        record(["a"], 30, 0, 1, tmp_path, subjects=subjects, make_world=make_world, make_policy=make_policy)
    assert [(w.world.subjects, w.rows) for w in coverage(tmp_path).worlds] == [(2, 30), (3, 30)]


def test_several_datasets_are_counted_together(tmp_path: Path) -> None:
    """A world that two of them have is one world: all counts but those of distinct things add up."""
    record(["a", "b"], 60, 0, 1, tmp_path / "one", make_world=make_world, make_policy=make_policy)
    record(["a"], 30, 9, 1, tmp_path / "two", make_world=make_world, make_policy=make_policy)
    one, two = coverage(tmp_path / "one"), coverage(tmp_path / "two")
    both = coverage(tmp_path / "one", tmp_path / "two")
    assert [(w.world.name, w.rows) for w in both.worlds] == [("a", 90), ("b", 60)]
    assert both.worlds[1] == one.worlds[1]
    for name in ("removals", "returns", "collisions", "rewards_positive", "resting"):
        assert getattr(both.worlds[0], name) == getattr(one.worlds[0], name) + getattr(two.worlds[0], name)
    assert coverage(tmp_path / "one", tmp_path / "one") == one, "what is named twice counts once"
    write_packed(iter([WorldTable.of(load_episodes(tmp_path / "two"))]), tmp_path / "packed")
    with pytest.raises(DatasetError, match="is packed"):
        coverage(tmp_path / "one", tmp_path / "packed")


def test_damaged_shards_are_left_out_and_named(tmp_path: Path) -> None:
    record(["a"], 70, 0, 1, tmp_path, shard_steps=30, make_world=make_world, make_policy=make_policy)
    victim = tmp_path / "a" / "mixed-0000001.steps.parquet"
    victim.write_bytes(victim.read_bytes()[:-1])
    found = coverage(tmp_path)
    assert found.worlds[0].rows == 40
    assert [victim.name in reason for reason in found.damaged] == [True]
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no episodes"):
        coverage(tmp_path)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    tables = [WorldTable.of([play(30, 1)]), WorldTable.of([renamed(play(30, 2), "other")])]
    write_packed(iter(tables), tmp_path / "packed", part_bytes=9_000)
    (tmp_path / "packed" / "part-001.zip").unlink()
    with pytest.raises(DatasetError, match=r"part-001\.zip.*missing"):
        coverage(tmp_path / "packed")


def test_a_world_without_pictures_of_tiles() -> None:
    world = NoisyWorld("a", grid=(3, 4))
    counted = cover(WorldTable.of([episode(world, 5)]))
    assert counted.tiles == 5 * 12, "no two pictures of noise are alike"
    assert counted.changes == counted.rare_changes == 4 * 12


def test_what_is_thin_is_named() -> None:
    shot = [["fire_zap", "noop"], ["noop", "noop"]] * 25
    beams = {(row, (4, 3)): 1 for row in range(1, 50, 2)}
    made = table(shot, beams)
    made.alive[10:, 1] = False
    made.reward[:, 0] = 1
    thin = thin_spots([cover(made)])
    game = "game, 2 subjects: "
    assert thin == {
        "Actions seldom taken": [f"{game}forward 0"],
        "Actions that are seen, but seldom leave a lasting mark (as beams that only remove subjects)": [
            f"{game}fire_zap 0 of 25"
        ],
        "Removals, but no returns (some worlds never let a subject back)": [f"{game}1 removals"],
        "Few removals": [f"{game}1"],
        "Few collisions": [f"{game}0"],
    }
    silent = thin_spots([cover(table(shot))])
    assert silent["Actions whose effects hardly stand out from the background"] == [f"{game}fire_zap 0 of 25"]
    assert silent["Few rewards"] == [f"{game}0"]
    assert "Few rewards" in thin_spots([cover(made)], least=100)
    assert "Actions seldom taken" not in thin_spots([cover(table(shot))], least=0)
