"""Rewards and ends: from which contexts they are scored, and what an evaluation says of worlds that tell them wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation import toy

from actionparty.errors import InvalidInputError
from actionparty.evaluation.compare import compare, read_allowed
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.folder import load_report
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.parts import step_starts
from actionparty.evaluation.records import StepRecord
from actionparty.evaluation.report import EvaluationReport
from actionparty.evaluation.rewarded import weighed
from actionparty.types import Bools, Episode, Floats, Ints

ROWS = 60
SETTINGS = EvaluationSettings(rollouts=4, horizon=20, steps_per_episode=6, probes_per_episode=1, batch=3, memory=4)
LABELS = {"toy": build_labels([toy.record(seed, 300) for seed in range(3)])}
TOLD = ("reward_ap", "reward_error", "reward_sign", "return_correlation")


def rewarded(seed: int, share: float = 0.04, ended: bool = True) -> Episode:
    """A recording in which a ``share`` of subject steps gets -2 or 1, and subject 0 the last one."""
    rng = np.random.default_rng(seed)
    rewards = np.where(rng.random((ROWS, toy.N)) < share, rng.choice([-2, 1], (ROWS, toy.N)), 0).astype(np.float32)
    rewards[0], rewards[-1] = 0, (1, 0, 0, 0)
    return replace(toy.record(seed, ROWS), rewards=rewards, ended=ended)


HELD_OUT = [rewarded(1_000_000 + k, ended=k != 3) for k in range(4)]


@dataclass(frozen=True)
class Told(toy.Answer):
    reward_odds: Floats
    finite: Bools


class Oracle(toy.Replay):
    """Repeats recordings with their rewards and ends; subclasses tell ``rewards``, ``odds``, ``ends`` wrong."""

    def step(self, actions: Ints) -> toy.Answer:
        answer = super().step(actions)
        rows = [row + self.t for _, row in self.at]
        over = np.array([e.ended and row == len(e) - 1 for (e, _), row in zip(self.at, rows, strict=True)])
        told = self.rewards(answer.rewards)
        return Told(answer.frames, answer.states, told, self.ends(over), self.odds(told), self.finite(over))

    def rewards(self, real: Floats) -> Floats:
        return real

    def odds(self, told: Floats) -> Floats:
        return np.where(told != 0, 0.9, 0.1).astype(np.float32)

    def ends(self, real: Bools) -> Bools:
        return real

    def finite(self, over: Bools) -> Bools:
        return np.ones(len(over), bool)


class Silent(Oracle):
    """Tells no reward and no end."""

    def rewards(self, real: Floats) -> Floats:
        return np.zeros_like(real)

    def ends(self, real: Bools) -> Bools:
        return np.zeros_like(real)


class Opposite(Oracle):
    """Tells every reward with the other sign, gives those that are none the higher odds, and always ends."""

    def rewards(self, real: Floats) -> Floats:
        return -real

    def odds(self, told: Floats) -> Floats:
        return 1 - super().odds(told)

    def ends(self, real: Bools) -> Bools:
        return np.ones_like(real)


def run(
    world: toy.Replay, episodes: Sequence[Episode] = HELD_OUT, settings: EvaluationSettings = SETTINGS, **more: Any
) -> EvaluationReport:
    return evaluate(lambda spec: world, {"toy": episodes}, LABELS, settings, checkpoint="0" * 64, **more)


def figures(world: toy.Replay, episodes: Sequence[Episode] = HELD_OUT, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = run(world, episodes, **more).to_json()["worlds"]["toy"]
    return found


def later(episode: Episode) -> Floats:
    """The rewards of the steps that a context leads to: all but those into the first two rows."""
    return episode.rewards[2:]


def test_contexts_that_lead_to_rewards_are_added_and_all_weigh_what_they_stand_for() -> None:
    spread = step_starts(HELD_OUT, 6)
    singles, more = weighed(HELD_OUT, spread, 32)
    assert [(s.episode, s.row) for s in singles] == [(s.episode, s.row) for s in spread]
    for k, episode in enumerate(HELD_OUT):
        own = [s for s in (*singles, *more) if s.episode == k]
        leading = {s.row for s in own if episode.rewards[s.row + 1].any()}
        assert leading == set((np.flatnonzero(later(episode).any(1)) + 1).tolist())  # every one there is
        assert {s.weight for s in own if s.row in leading} == {1}
        assert sum(s.weight for s in own) == pytest.approx(ROWS - 2)
        assert len({s.row for s in own}) == len(own)
    few = weighed(HELD_OUT, spread, 2)[1]
    assert [s.episode for s in few] == [0, 0, 1, 1, 2, 2, 3, 3]
    again = [s for s in (*weighed(HELD_OUT, spread, 2)[0], *few) if s.episode == 0]
    assert sum(s.weight for s in again) == pytest.approx(ROWS - 2)
    assert weighed(HELD_OUT, spread, 0)[1] == []


def test_without_rewards_nothing_is_added() -> None:
    plain = [toy.record(1_000_000, 40)]
    singles, more = weighed(plain, step_starts(plain, 5), 32)
    assert (len(singles), more) == (5, [])
    assert {s.weight for s in singles} == {38 / 5}


def test_a_world_that_tells_rewards_and_ends_right_gets_full_marks() -> None:
    found = figures(Oracle(HELD_OUT))
    expected = {"reward_ap": 1, "reward_error": 0, "reward_sign": 1, "return_correlation": 1, "end_accuracy": 1}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["reward_rate"] == pytest.approx(np.mean([later(e) != 0 for e in HELD_OUT]))
    assert found["ci95"]["reward_ap"] == pytest.approx([1, 1])
    low, high = found["ci95"]["reward_rate"]
    assert low < found["reward_rate"] < high


def test_a_world_that_tells_nothing_has_an_error_of_one_and_the_average_precision_of_chance() -> None:
    found = figures(Silent(HELD_OUT))
    assert found["reward_error"] == pytest.approx(1)
    assert found["reward_ap"] == pytest.approx(found["reward_rate"])
    assert (found["reward_sign"], found["return_correlation"]) == (0, 0)
    assert (found["end_recall"], found["end_specificity"], found["end_accuracy"]) == (0, 1, 0.5)


def test_a_world_that_tells_the_opposite_is_worse_than_one_that_tells_nothing() -> None:
    found = figures(Opposite(HELD_OUT))
    assert found["reward_error"] == pytest.approx(2)
    assert found["reward_ap"] == pytest.approx(found["reward_rate"])  # all rewards come last, together
    assert (found["reward_sign"], found["return_correlation"]) == (0, pytest.approx(-1))
    assert (found["end_recall"], found["end_specificity"], found["end_accuracy"]) == (1, 0, 0.5)


def test_false_alarms_count_as_errors_and_lower_the_average_precision() -> None:
    class Nervous(Oracle):
        """Tells subject 0 a reward of 1 at every step at which it gets none."""

        def rewards(self, real: Floats) -> Floats:
            first = np.arange(toy.N) == 0
            return np.where(first & (real == 0), np.float32(1), real)

    found = figures(Nervous(HELD_OUT))
    rows = np.concatenate([later(e) for e in HELD_OUT])
    some = rows != 0
    told = some | (np.arange(toy.N) == 0)
    assert found["reward_error"] == pytest.approx((told & ~some).sum() / np.abs(rows).sum())
    assert found["reward_ap"] == pytest.approx(some.sum() / told.sum())
    assert found["reward_sign"] == 1
    alarmed = [HELD_OUT[0], *(toy.record(1_000_000 + k, ROWS) for k in (1, 2))]
    found = figures(Nervous(alarmed), alarmed)
    low, high = found["ci95"]["reward_error"]  # what is told where there is no reward at all counts
    assert low < found["reward_error"] <= high


def test_every_end_counts_once_however_long_its_episode_is() -> None:
    class Patient(Oracle):
        """Sees the ends of long episodes only."""

        def ends(self, real: Bools) -> Bools:
            return np.asarray(real & [len(episode) == ROWS for episode, _ in self.at], np.bool_)

    short = replace(toy.record(1_000_009, 20), ended=True)
    found = figures(Patient([HELD_OUT[0], short]), [HELD_OUT[0], short])
    assert (found["end_recall"], found["end_specificity"], found["end_accuracy"]) == (0.5, 1, 0.75)


def test_what_cannot_be_measured_is_absent() -> None:
    plain = [toy.record(1_000_000 + k, ROWS) for k in range(4)]
    found = figures(Oracle(plain), plain)
    for name in (*TOLD, "end_recall", "end_accuracy"):
        assert name not in found
        assert name not in found["ci95"]
    assert (found["reward_rate"], found["end_specificity"]) == (0, 1)
    mute = figures(toy.Replay(HELD_OUT))  # its answers have no odds
    assert "reward_ap" not in mute
    assert mute["reward_error"] == 0


def test_returns_are_compared_while_the_recording_lasts() -> None:
    """Rollouts that go on past the recordings, where the oracle repeats the reward of the last row for ever."""
    found = figures(Oracle(HELD_OUT), settings=replace(SETTINGS, horizon=ROWS + 20, rollouts=8))
    assert found["return_correlation"] == pytest.approx(1)


def test_answers_that_are_not_finite_tell_no_reward_and_are_wrong_about_the_end() -> None:
    class Broken(Oracle):
        def rewards(self, real: Floats) -> Floats:
            return np.full_like(real, np.nan)

        def odds(self, told: Floats) -> Floats:
            return told

    class Unsound(Oracle):
        def finite(self, over: Bools) -> Bools:
            return np.zeros(len(over), bool)

    for world, ends in ((Broken(HELD_OUT), 1), (Unsound(HELD_OUT), 0)):
        found = figures(world)
        assert found["reward_error"] == pytest.approx(1)
        assert found["reward_ap"] == pytest.approx(found["reward_rate"])
        assert (found["return_correlation"], found["end_accuracy"]) == (0, ends)


def test_records_and_reports_keep_rewards_whatever_the_batch(tmp_path: Path) -> None:
    whole = run(Oracle(HELD_OUT), out=tmp_path / "a")
    loaded, records = load_report(tmp_path / "a")
    assert loaded.dumps() == whole.dumps() == run(Oracle(HELD_OUT)).dumps()
    steps = StepRecord.load(tmp_path / "a" / "records" / "toy" / "steps.npz")
    assert steps.rankings["reward_ap"].hit.sum() == sum(int((later(e) != 0).sum()) for e in HELD_OUT)
    picked = steps.take(np.array([2, 0]))
    assert picked.rankings["reward_ap"].hit.sum() == sum(int((later(HELD_OUT[k]) != 0).sum()) for k in (2, 0))
    real = records["toy"].rewards["real"]
    assert np.array_equal(real[1], HELD_OUT[1].rewards[3:23])
    assert np.array_equal(records["toy"].rewards["generated"], real)
    together = figures(Oracle(HELD_OUT), settings=replace(SETTINGS, batch=64))
    assert {k: together[k] for k in TOLD} == pytest.approx({k: whole.to_json()["worlds"]["toy"][k] for k in TOLD})


def test_the_report_shows_rewards_and_ends_to_people(tmp_path: Path) -> None:
    report = run(Silent(HELD_OUT), out=tmp_path / "a")
    headings = report.markdown().splitlines()[0]
    for name in ("reward rate", "reward AP", "reward error", "reward sign", "return r", "end accuracy"):
        assert f"| {name} |" in headings
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Rewards and ends" in page
    assert "Return correlation" in page
    plain = [toy.record(1_000_000, ROWS)]
    run(Oracle(plain), plain, out=tmp_path / "b")
    assert "Return correlation" not in (tmp_path / "b" / "report.html").read_text()


def test_compare_pairs_the_new_metrics_and_knows_which_way_is_better(tmp_path: Path) -> None:
    run(Oracle(HELD_OUT), out=tmp_path / "a")
    run(Silent(HELD_OUT), out=tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.mean["reward_error"].to_json()["difference"] == pytest.approx(1)
    assert found.mean["reward_error"].interval == pytest.approx((1, 1))
    assert found.mean["return_correlation"].value == pytest.approx(-1)
    assert found.mean["end_accuracy"].to_json() == {"a": 1, "b": 0.5, "difference": -0.5, "ci95": [-0.5, -0.5]}
    low, high = found.mean["reward_ap"].interval or (0.0, 0.0)
    assert low < found.mean["reward_ap"].value < high < 0
    gates = found.drops(read_allowed(["reward_error=0.5", "reward_ap=0.5", "end_accuracy=0.5"]))
    assert [gate.passed for gate in gates] == [False, False, True]
    with pytest.raises(InvalidInputError, match="neither good nor bad; reward_ap"):
        read_allowed(["reward_rate=0.1"])


def test_reports_of_before_there_were_these_metrics_can_still_be_read_and_compared(tmp_path: Path) -> None:
    run(Oracle(HELD_OUT), out=tmp_path / "new")
    run(Oracle(HELD_OUT), out=tmp_path / "old")
    _age(tmp_path / "old" / "records" / "toy")
    old = load_report(tmp_path / "old")[0].to_json()["worlds"]["toy"]
    assert not {*TOLD, "reward_rate", "end_recall", "end_specificity", "end_accuracy"} & old.keys()
    found = compare(tmp_path / "old", tmp_path / "new")
    assert found.mean["ma1"].value == 0
    assert found.worlds["toy"].unmeasured["reward_ap"] == found.worlds["toy"].unmeasured["return_correlation"] == "a"
    back = compare(tmp_path / "new", tmp_path / "old").drops({"reward_ap": 0.1})
    assert [(gate.passed, gate.unmeasured) for gate in back] == [(False, ("toy",))]


def _age(records: Path) -> None:
    """Take from record files what older versions did not write."""
    for path in records.glob("*.npz"):
        with np.load(path) as file:
            kept = {k: v for k, v in file.items() if not k.startswith(("ranking", "rewards."))}
        about = json.loads(kept["about"].tobytes())
        if about.pop("rankings", None) is not None:
            named = [(k, n) for k, n in enumerate(about["ratios"]) if not n.startswith(("reward_", "end_"))]
            sums = [kept[f"ratio.{k}"] for k, _ in named]
            kept = {k: v for k, v in kept.items() if not k.startswith("ratio.")}
            kept |= {f"ratio.{k}": value for k, value in enumerate(sums)}
            about["ratios"] = [name for _, name in named]
        kept["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(path, **kept)


def test_parts_of_an_older_and_of_this_version_join_without_rewards(tmp_path: Path) -> None:
    run(Oracle(HELD_OUT), out=tmp_path / "a")
    records = tmp_path / "a" / "records" / "toy"
    kept = (records / "rollouts-0.npz").read_bytes()
    _age(records)
    (records / "rollouts-0.npz").write_bytes(kept)
    found = load_report(tmp_path / "a")[0].to_json()["worlds"]["toy"]
    assert "return_correlation" not in found
    assert found["ma"] == 1
