from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation import toy

from actionparty.errors import DatasetError
from actionparty.evaluation.agreement import AveragePrecision
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import Detector
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.records import FAILURES, FILM_STEPS, FILMS, RolloutRecord, StepRecord, first_failures
from actionparty.evaluation.rollouts import Perceptual, RolloutPlan, Start, score_rollouts
from actionparty.evaluation.summary import curves_of
from actionparty.types import Episode

PLAN = RolloutPlan(horizon=24, context=2, memory=4, seed=0, deterministic=True, similarity_every=5)
HELD_OUT = [toy.record(1_000_000 + k, 22) for k in range(4)]
DETECTOR = Detector(build_labels([toy.record(seed, 300) for seed in range(3)]))
STARTS = [Start(k % 4, 2 + k // 4) for k in range(8)]
OWN = Perceptual(
    lambda a, b: np.abs(a.astype(float) - b).mean((1, 2, 3)),
    lambda clips: np.stack([clips.mean((1, 2, 3, 4)), clips.std((1, 2, 3, 4))], 1).astype(np.float32),
)


class FallingApart(toy.Perfect):
    """Loses subject 2 in rollout k of the batch at step 3 + k, counted from ``first``."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def frame(self, i: int) -> np.ndarray[Any, Any]:
        gone = self.t >= 3 + i + self.first
        return toy.draw(toy.tile_ids(self.boards[i], np.array([0, 1, -1, 3]) if gone else None))


def rolled(
    world: toy.Perfect, starts: Sequence[Start] = STARTS, first: int = 0, episodes: Sequence[Episode] = HELD_OUT
) -> RolloutRecord:
    return score_rollouts(world, episodes, starts, DETECTOR, PLAN, lambda n: None, first=first, perceptual=OWN)


def plain(value: Any) -> Any:
    """The same with arrays as (type, shape, bytes), so that equality means equal to the last bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return value


def test_a_record_comes_back_from_disk_bit_for_bit(tmp_path: Path) -> None:
    record = rolled(FallingApart())
    assert {"psnr", "ssim", "lpips"} == record.similarity.keys()
    assert {"generated", "real"} == record.rewards.keys()
    assert record.features["real"].shape == (8, 1, 2)
    assert record.shots
    path = tmp_path / "deep" / "rollouts-0.npz"
    record.save(path)
    assert plain(RolloutRecord.load(path)) == plain(record)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    bare = replace(record, shots=(), similarity={}, features={}, rewards={})
    bare.save(path)
    assert plain(RolloutRecord.load(path)) == plain(bare)


def test_whole_numbers_survive_whatever_their_range(tmp_path: Path) -> None:
    record = rolled(toy.Perfect(), STARTS[:1])
    for low, high in ((-1, 300), (0, 2**40), (-(2**40), 2**62), (-1, -1)):
        changed = replace(record, count=record.count * 0 + low, seeds=np.array([high]))
        changed.count[0, 0, 0] = high
        changed.save(tmp_path / "a.npz")
        assert plain(RolloutRecord.load(tmp_path / "a.npz")) == plain(changed)


def test_parts_join_to_what_one_batch_gives_with_the_same_shots() -> None:
    whole = rolled(FallingApart())
    parts = [rolled(FallingApart(at), STARTS[at : at + 3], first=at) for at in (0, 3, 6)]
    assert plain(RolloutRecord.joined(parts)) == plain(whole)


def test_shots_are_films_at_fixed_steps_and_what_is_around_the_first_failures() -> None:
    record = rolled(FallingApart())
    films = {(s.rollout, s.step) for s in record.shots if s.reason == "film"}
    assert films == {(r, t) for r in range(FILMS) for t in FILM_STEPS if t <= PLAN.horizon}
    lost = {(r, 3 + r) for r in range(FAILURES)}  # of 8 rollouts that lose a subject, the first six
    assert lost <= first_failures(record)
    around = {(s.rollout, s.step) for s in record.shots if s.reason == "failure"}
    assert around == {(r, t) for r, at in first_failures(record) for t in range(at - 2, at + 3)}
    for shot in record.shots:
        row = record.rows[shot.rollout] + shot.step
        episode = HELD_OUT[record.seeds[shot.rollout] - 1_000_000]
        if row < len(episode):
            assert shot.truth is not None
            assert np.array_equal(shot.truth, episode.frames(row, row + 1)[0])
            same = shot.step < 3 + shot.rollout or not episode.states.alive[row, 2]
            assert np.array_equal(shot.frame, shot.truth) == same
        else:
            assert shot.truth is None


def test_a_flawless_rollout_has_no_failures() -> None:
    record = rolled(toy.Perfect())
    assert first_failures(record) == set()
    assert {s.reason for s in record.shots} == {"film"}


def test_a_record_holds_what_the_simulator_and_the_model_did() -> None:
    record = rolled(toy.Perfect())
    for k, start in enumerate(STARTS):
        episode = HELD_OUT[start.episode]
        kept = len(episode) - 1 - start.row
        rows = slice(start.row + 1, len(episode))
        assert np.array_equal(record.action[k, :kept], episode.actions[rows])
        assert np.array_equal(record.real.position[k, :kept], episode.states.position[rows])
        assert np.array_equal(record.cell[k, :kept], episode.states.cells[rows])
        assert record.known[k].tolist() == [True] * kept + [False] * (PLAN.horizon - kept)
        assert not record.real.alive[k, kept:].any()
    assert (record.similarity["lpips"][record.known & (np.arange(1, 25) % 5 == 0)] == 0).all()
    assert np.isnan(record.similarity["psnr"][:, 0]).all()


def test_rollouts_can_be_picked() -> None:
    record = rolled(FallingApart())
    picked = record.take(np.array([5, 1]))
    assert picked.seeds.tolist() == [record.seeds[5], record.seeds[1]]
    sums = [curves_of(r).ratio("sp").right.tolist() for r in (record, picked)]
    assert sums[1] == [sums[0][5], sums[0][1]]
    assert {(s.rollout, s.step) for s in picked.shots} == {
        ({5: 0, 1: 1}[s.rollout], s.step) for s in record.shots if s.rollout in (5, 1)
    }


def test_frames_that_a_rollout_itself_calls_unsound_are_lost() -> None:
    class Unsound(toy.Perfect):
        """Answers pixels as good as ever, but says of step 4 that its network had none."""

        def step(self, actions: np.ndarray[Any, Any]) -> toy.Answer:
            answer = super().step(actions)
            object.__setattr__(answer, "finite", np.full(len(actions), self.t != 4))
            return answer

    record = rolled(Unsound(), STARTS[:2])
    assert record.lost.sum(1).tolist() == [1, 1]
    assert not record.count[:, 3].any()


def test_single_steps_come_back_from_disk(tmp_path: Path) -> None:
    ratios = {"ma1": Ratio.of([1, 2], [3, 4]), "detector": Ratio.of([9, 9.5], [10, 10])}
    odds, hit = np.array([0.9, 0.8, 0.2], np.float32), np.array([True, False, True])
    ranking = AveragePrecision(odds, hit, np.array([0, 0, 1]), np.array([1.0, 31.25, 1.0]), 2)
    record = StepRecord(
        toy.SPEC, np.array([1_000_000, 1_000_007]), ratios, ("a note",), {"reward_ap": ranking, "other": ranking}
    )
    record.save(tmp_path / "steps.npz")
    assert plain(StepRecord.load(tmp_path / "steps.npz")) == plain(record)
    assert record.take(np.array([1])).ratios["ma1"].value == 0.5
    assert record.take(np.array([1])).rankings["reward_ap"].value == 1


@pytest.mark.parametrize("kind", [RolloutRecord, StepRecord])
def test_a_damaged_or_missing_record_is_said(kind: type[RolloutRecord] | type[StepRecord], tmp_path: Path) -> None:
    path = tmp_path / "rollouts-0.npz"
    with pytest.raises(DatasetError, match="no such record"):
        kind.load(path)
    rolled(toy.Perfect(), STARTS[:1]).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[: len(whole) // 2], b"text"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="remove the file"):
            kind.load(path)
    np.savez(path, about=np.frombuffer(b'{"format": 99}', np.uint8))
    with pytest.raises(DatasetError, match="format 99"):
        kind.load(path)
    np.savez(path, about=np.frombuffer(b'{"format": 1}', np.uint8))
    with pytest.raises(DatasetError, match="damaged"):
        kind.load(path)
