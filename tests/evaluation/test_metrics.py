from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation import toy

from actionparty.checkpoints import find_checkpoint
from actionparty.data import recording
from actionparty.data.dataset import load_episodes
from actionparty.evaluation.detector import Detector, detect_episode, detector_accuracy
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import TileLabels, build_labels, join_labels
from actionparty.evaluation.metrics import cells_right, effect_cells
from actionparty.evaluation.onestep import Tallies, probe_steps, score_steps
from actionparty.evaluation.records import RolloutRecord
from actionparty.evaluation.rollouts import RolloutPlan, Start, score_rollouts
from actionparty.evaluation.similarity import PSNR_CAP, psnr, ssim
from actionparty.evaluation.summary import Curves, breakdown, curves_of, sync_horizon
from actionparty.evaluation.tiles import TileTable
from actionparty.types import Episode, Ints, SubjectStates

T = 40
PLAN = RolloutPlan(horizon=T, context=2, memory=4, seed=0, deterministic=True)
STARTS = [Start(0, 2), Start(1, 2)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(build_labels([toy.record(seed, 300) for seed in range(3)]))


def scripted(*actions: int) -> Ints:
    """Every subject repeats its own action for ever."""
    return np.repeat(np.array([actions]), T + 10, 0)


TURNING = scripted(toy.LEFT, toy.RIGHT, toy.LEFT, toy.RIGHT)


def episodes(script: Ints | None = None) -> list[Episode]:
    return [toy.record(1_000_000 + k, T + 11, script) for k in range(2)]


def happened(
    world: toy.Perfect, detector: Detector, recorded: Sequence[Episode], starts: Sequence[Start] = STARTS
) -> RolloutRecord:
    return score_rollouts(world, recorded, starts, detector, PLAN, lambda frames: None)


def rolled(world: toy.Perfect, detector: Detector, recorded: Sequence[Episode]) -> Curves:
    return curves_of(happened(world, detector, recorded))


def stepped(world: toy.Perfect, detector: Detector, recorded: Sequence[Episode]) -> dict[str, float | None]:
    tallies = Tallies(len(recorded))
    starts = [Start(k, row) for k in range(len(recorded)) for row in range(2, T)]
    score_steps(world, recorded, starts, detector, PLAN, tallies)
    probe_steps(world, recorded, starts, detector, PLAN, tallies)
    return {name: ratio.value for name, ratio in tallies.ratios().items()}


def shares(curves: Curves) -> dict[str, float | None]:
    return {name: curves.ratio(name).value for name in ("sp", "dr", "duplicates", "ma")}


def test_real_frames_as_generated_are_right_in_every_metric(detector: Detector) -> None:
    curves = rolled(toy.Perfect(), detector, episodes())
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": 1}
    assert sync_horizon(happened(toy.Perfect(), detector, episodes())).tolist() == [T, T]
    assert curves.ratio("ssim").value == pytest.approx(1)
    assert curves.ratio("psnr").value == PSNR_CAP
    one = stepped(toy.Perfect(), detector, episodes())
    nothing = {"nan_frames_one_step", "reward_rate"}  # nobody is rewarded in the toy world
    wrong = {name: value for name, value in one.items() if value != (0 if name in nothing else 1)}
    assert not wrong
    assert {"ma1", "ma1_moving", "sa1", "ea", "tile", "changed_tile", "isolation", "swap"} <= one.keys()


def test_a_swapped_pair_is_preserved_but_disobeys(detector: Detector) -> None:
    world = toy.Dressed([1, 0, 2, 3])
    curves = rolled(world, detector, episodes(TURNING))
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": 0.5}
    one = stepped(world, detector, episodes(TURNING))
    assert (one["ma1"], one["ma1_moving"], one["sa1"]) == (0.5, 0.5, 1)


def test_a_lost_subject_counts_as_lost_from_there_on(detector: Detector) -> None:
    record = happened(toy.Dressed([0, 1, -1, 3], since=11), detector, episodes())
    curves = curves_of(record)
    expected = 1 - (T - 10) / T / toy.N
    assert shares(curves) == pytest.approx({"sp": expected, "dr": expected, "duplicates": 0, "ma": expected})
    assert curves.ratio("sp", 0, 10).value == 1
    assert curves.curve("sp")[[9, 10, T - 1]].tolist() == [1, 0.75, 0.75]
    assert sync_horizon(record).tolist() == [10, 10]


def test_a_duplicate_is_detected_but_not_preserved(detector: Detector) -> None:
    assert shares(rolled(toy.Doubling(), detector, episodes())) == {"sp": 0.75, "dr": 1, "duplicates": 0.25, "ma": 0.75}


def test_a_frozen_subject_disobeys_when_it_could_have_moved(detector: Detector) -> None:
    curves = rolled(toy.Frozen(), detector, episodes(TURNING))
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": 0.75}
    # Subject 0 starts at (2, 2) facing north: after one step forward it stands before the wall and may well stay.
    ahead = scripted(toy.FORWARD, toy.NOOP, toy.NOOP, toy.NOOP)
    assert rolled(toy.Frozen(), detector, episodes(ahead)).ratio("ma").value == 1
    free = happened(toy.Frozen(), detector, episodes(ahead), [Start(0, 0), Start(1, 0)])
    assert curves_of(free).ratio("ma").value == 0.75  # on open floor it had to go, at every step


def test_a_lag_of_one_step_is_wrong_once_when_everybody_keeps_turning(detector: Detector) -> None:
    curves = rolled(toy.Lagging(), detector, episodes(TURNING))
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": (T - 1) / T}
    one = stepped(toy.Lagging(), detector, episodes(TURNING))
    assert (one["ma1"], one["changed_tile"]) == (0, 0)


def test_obedience_is_broken_down_by_action_and_by_collision(detector: Detector) -> None:
    frozen = breakdown(happened(toy.Frozen(), detector, episodes(TURNING)))
    shown = {name: (ratio.value, ratio.total.sum()) for name, ratio in frozen["action"].items()}
    assert shown == {"turn_left": (0.5, 4 * T), "turn_right": (1, 4 * T)}  # subject 0 is one of the two that turn left
    assert list(frozen["collision"]) == ["without"]
    ahead = scripted(toy.FORWARD, toy.NOOP, toy.NOOP, toy.NOOP)  # from row 2 on, subject 0 walks against the wall
    walled = breakdown(happened(toy.Perfect(), detector, episodes(ahead)))
    assert {name: ratio.total.tolist() for name, ratio in walled["collision"].items()} == {
        "with": [T, T],
        "without": [3 * T, 3 * T],
    }
    assert walled["collision"]["with"].value == 1


def test_a_cell_that_another_subject_holds_or_comes_to_is_a_collision(detector: Detector) -> None:
    """Subjects 0 and 2 stand in one column and face north, so 2 runs after 0 and then into its back."""
    script = scripted(toy.NOOP, toy.NOOP, toy.FORWARD, toy.NOOP)
    record = happened(toy.Perfect(), detector, episodes(script), [Start(0, 0), Start(1, 0)])
    assert record.collision[:, :, 2].tolist() == [[False] * 3 + [True] * (T - 3)] * 2  # (2, 6) to (2, 3), then (2, 2)
    assert record.collision.sum() == 2 * (T - 3)
    assert record.obeyed.all()


def test_who_is_lost_collides_where_the_model_believes_it_to_be(detector: Detector) -> None:
    ahead = scripted(toy.FORWARD, toy.NOOP, toy.NOOP, toy.NOOP)
    record = happened(toy.Dressed([-1, 1, 2, 3]), detector, episodes(ahead))
    assert record.collision[:, :, 0].all()
    assert not record.obeyed[:, :, 0].any()


def test_real_recordings_as_generated_are_right_as_far_as_the_detector_sees(tmp_path: Path) -> None:
    """The arena has beams, coins, crates that are carried, and subjects that go and come back."""
    recording.record(["arena"], 3000, 0, 1, tmp_path, shard_steps=500)
    recording.record(["arena"], 160, 1_000_000, 1, tmp_path, shard_steps=80)
    found = list(load_episodes(tmp_path, ["arena"]))
    recorded = [e for e in found if e.seed >= 1_000_000]
    judge = Detector(build_labels(e for e in found if e.seed < 1_000_000))
    replayed_is_right(judge, recorded, horizon=70)


@pytest.mark.parametrize("world", ["coins", "collaborative_cooking__crowded", "commons_harvest__open"])
def test_shipped_recordings_as_generated_are_right(world: str) -> None:
    folder = find_checkpoint("starter")
    recorded = list(islice(load_episodes(folder / HELD_OUT, [world]), 2))
    labels = TileLabels.load(folder / "labels" / f"{world}.npz")
    if labels.redrawn:
        labels = join_labels(labels, build_labels(recorded, redrawn=True))
    curves = replayed_is_right(Detector(labels), recorded, horizon=60)
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": 1}


def replayed_is_right(judge: Detector, recorded: Sequence[Episode], horizon: int) -> Curves:
    """The simulator's own frames give 1.0 wherever the detector reads them right, which it does to 99%."""
    accuracy = np.divide(*(sums.sum() for sums in detector_accuracy(judge, recorded)))
    assert accuracy >= 0.99
    plan = RolloutPlan(horizon, 2, 4, 0, deterministic=True)
    starts = [Start(k, 3) for k in range(len(recorded))]
    record = score_rollouts(toy.Replay(recorded), recorded, starts, judge, plan, lambda frames: None)
    read = [(detect_episode(judge, e), e.states) for e in recorded]
    counts = np.stack([found.count[4 : 4 + horizon] for found, _ in read])
    right = np.stack([(found.matches(states) & states.alive)[3 : 4 + horizon] for found, states in read])
    assert record.obeyed[right[:, :-1] & right[:, 1:]].all()
    assert np.array_equal(record.count, counts)
    curves = curves_of(record)
    for name, hits in (("sp", counts == 1), ("dr", counts >= 1), ("duplicates", counts > 1)):
        assert curves.ratio(name).value == (hits & record.due).sum() / record.due.sum()
    assert curves.ratio("state").value == 1
    assert sync_horizon(record).tolist() == [horizon] * len(recorded)
    tallies = Tallies(len(recorded))
    rows = [Start(k, row) for k in range(len(recorded)) for row in range(2, horizon, 2)]
    score_steps(toy.Replay(recorded), recorded, rows, judge, plan, tallies)
    one = {name: ratio.value for name, ratio in tallies.ratios().items()}
    exact = {"sa1", "sa1_moving", "tile", "changed_tile", "ea"} & one.keys()
    assert {name: one[name] for name in exact} == dict.fromkeys(exact, 1)
    assert min(one[name] or 0 for name in ("ma1", "ma1_moving")) >= 0.99
    return curves


def test_swap_and_isolation_see_what_a_model_does_with_changed_actions(detector: Detector) -> None:
    crossed = stepped(toy.Crossed(), detector, episodes())
    assert crossed["swap"] == 0
    assert stepped(toy.Deaf(), detector, episodes())["swap"] == 0
    leaking = stepped(toy.Leaking(), detector, episodes())
    assert leaking["isolation"] is not None
    assert 0 < leaking["isolation"] < 1
    assert stepped(toy.Deaf(), detector, episodes())["isolation"] == 1


def test_frames_and_states_that_are_not_finite_are_lost_and_counted(detector: Detector) -> None:
    curves = rolled(toy.NotFinite(since=T // 2 + 1), detector, episodes())
    assert curves.ratio("nan_frames").value == 0.5
    assert shares(curves) == {"sp": 0.5, "dr": 0.5, "duplicates": 0, "ma": 0.5}
    one = stepped(toy.NotFinite(since=1), detector, episodes())
    assert {one[k] for k in ("ma1", "sa1", "tile", "changed_tile", "ea")} == {0}
    assert one["nan_frames_one_step"] == 1


def test_who_is_removed_is_excused_only_where_subjects_can_be_removed() -> None:
    class Emptied(toy.Perfect):
        """Removes subject 1 in picture and state."""

        def reset(self, scenes: Sequence[object], seeds: Sequence[int]) -> None:
            super().reset(scenes, seeds)  # type: ignore[arg-type]
            for board in self.boards:
                board.alive[1] = False

    recorded = [toy.record(seed, 300) for seed in range(3)]
    for mortal, expected in ((False, 0.75), (True, 1.0)):
        labels = build_labels(recorded)
        judge = Detector(TileLabels(**{**vars(labels), "mortal": mortal}))
        curves = rolled(Emptied(), judge, episodes())
        assert (curves.ratio("sp").value, curves.ratio("ma").value) == (expected, expected)
        assert curves.ratio("alive").value == 0.75
        assert curves.ratio("alive_real").value == 1


def test_past_the_recording_only_what_needs_no_simulator_goes_on(detector: Detector) -> None:
    recorded = [toy.record(1_000_000, 12), toy.record(1_000_001, 12)]
    curves = rolled(toy.Perfect(), detector, recorded)
    assert shares(curves) == {"sp": 1, "dr": 1, "duplicates": 0, "ma": 1}
    assert curves.ratio("in_step").total.tolist() == [9, 9]
    assert curves.ratio("state").value == 1


def test_a_cell_is_right_when_no_known_tile_is_nearer_than_the_real_one() -> None:
    tiles = toy.TILES.reshape(-1, 192)
    noise = np.random.default_rng(0).integers(-9, 10, (2, 192))
    near = np.clip(tiles[[0, 1]].astype(int) + noise, 0, 255).astype(np.uint8)
    generated = np.stack([tiles[0], near[0], near[1], tiles[1], np.full(192, 128, np.uint8)])
    assert cells_right(TileTable(tiles), generated, tiles[[0, 0, 0, 0, 0]]).tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_effects_are_changes_in_reach_of_an_acting_subject_outside_everybodys_cells() -> None:
    grid = (9, 13)
    states = SubjectStates(np.array([[[4, 6], [9, 6]]], np.float32), np.zeros((1, 2), np.int64), np.ones((1, 2), bool))
    changed = np.zeros((1, *grid), bool)
    inside = [(4, 5), (4, 2), (5, 3), (3, 6)]  # (x, y): ahead (north) up to 4, aside up to 1
    outside = [(4, 1), (6, 5), (4, 7), (9, 5), (4, 6)]  # too far, aside, behind, nobody acting, its own cell
    for x, y in inside + outside:
        changed[0, y, x] = True
    calm, acting = np.zeros((1, *grid), np.float32), np.array([[True, False]])
    found = effect_cells(changed, states, states, acting, calm)
    assert sorted((int(x), int(y)) for _, y, x in np.argwhere(found)) == sorted(inside)
    restless = calm.copy()
    restless[0, 5, 4] = 0.5
    assert effect_cells(changed, states, states, acting, restless).sum() == len(inside) - 1


def test_psnr_and_ssim_in_closed_form() -> None:
    flat = np.full((1, 16, 16, 3), 100, np.uint8)
    assert psnr(flat, flat + 10)[0] == pytest.approx(10 * np.log10(255**2 / 100))
    c1 = (0.01 * 255) ** 2
    assert ssim(flat, flat + 10)[0] == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))
    noise = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    assert ssim(noise, noise) == pytest.approx([1, 1])
    assert ssim(noise[:1], 255 - noise[:1])[0] < 0


def test_ssim_agrees_with_a_loop_over_windows() -> None:
    a, b = np.random.default_rng(1).integers(0, 256, (2, 1, 10, 9, 3), dtype=np.uint8)
    x, y = ((v[0] @ np.array([0.299, 0.587, 0.114])) for v in (a, b))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(4):
        for j in range(3):
            p, q = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
            cov = np.cov(p, q)
            top = (2 * p.mean() * q.mean() + c1) * (2 * cov[0, 1] + c2)
            values.append(top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)))
    assert ssim(a, b)[0] == pytest.approx(np.mean(values))
