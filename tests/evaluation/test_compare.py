from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation import toy

from actionparty.errors import ActionPartyError, DatasetError, InvalidInputError, UnknownNameError
from actionparty.evaluation.compare import compare, read_allowed
from actionparty.evaluation.comparison import Comparison, Drop
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.labels import TileLabels, build_labels
from actionparty.types import Episode, SubjectStates

SETTINGS = EvaluationSettings(rollouts=4, horizon=20, steps_per_episode=6, probes_per_episode=1, batch=3, memory=4)
LABELS = build_labels([toy.record(seed, 300) for seed in range(3)])
TURNING = np.repeat(np.array([[toy.LEFT, toy.RIGHT, toy.LEFT, toy.RIGHT]]), 39, 0)
HELD_OUT = [toy.record(1_000_000 + k, 40, TURNING) for k in range(4)]
SECOND = TileLabels(**{**vars(LABELS), "world": "second"})


def renamed(episodes: Sequence[Episode]) -> list[Episode]:
    return [replace(e, world=replace(e.world, name="second")) for e in episodes]


def evaluated(
    out: Path,
    world: toy.Perfect,
    settings: EvaluationSettings = SETTINGS,
    episodes: Sequence[Episode] = HELD_OUT,
    second: toy.Perfect | None = None,
) -> Path:
    held_out = {"toy": list(episodes)} | ({"second": renamed(episodes)} if second else {})
    worlds = {"toy": world, "second": second}
    labels = {"toy": LABELS, "second": SECOND}
    evaluate(
        lambda spec: worlds[spec.name],  # type: ignore[arg-type,return-value]
        *(held_out, labels, settings),
        checkpoint="0" * 64,
        name="mine",
        out=out,
    )
    return out


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("a") / "a", toy.Perfect(), second=toy.Perfect())


def drop(found: Comparison, name: str) -> float:
    (found_drop,) = found.drops({name: 0.0})
    assert found_drop.drop is not None
    return found_drop.drop


def test_an_evaluation_does_not_differ_from_itself(perfect: Path) -> None:
    found = compare(perfect, perfect / "report.json")
    assert {d.value for d in found.mean.values()} == {0}
    assert {d.interval for w in found.worlds.values() for d in w.metrics.values()} <= {None, (0, 0)}
    assert found.worlds["toy"].rollouts == found.worlds["toy"].episodes == 4
    assert found.settings() == {}
    assert found.mean["sp.10"].interval == (0, 0)


def test_differences_are_exact_per_world_and_in_the_mean(perfect: Path, tmp_path: Path) -> None:
    """Subjects 0 and 1 swap pictures in one world of two: half of the actions there are disobeyed."""
    other = evaluated(tmp_path / "b", toy.Dressed([1, 0, 2, 3]), second=toy.Perfect())
    found = compare(perfect, other)
    assert found.worlds["toy"].metrics["ma"].to_json() == {"a": 1, "b": 0.5, "difference": -0.5, "ci95": [-0.5, -0.5]}
    assert found.worlds["second"].metrics["ma"].value == 0
    assert (found.mean["ma"].value, found.mean["ma"].interval) == (-0.25, (-0.25, -0.25))
    assert found.mean["sp_mean"].value == 0
    assert compare(other, perfect).mean["ma"].value == 0.25
    assert (drop(found, "ma"), drop(compare(other, perfect), "ma")) == (0.25, -0.25)


def test_the_interval_is_that_of_pairs_and_not_of_two_samples(tmp_path: Path) -> None:
    """Rollouts that differ much from each other, but each by the same amount between A and B."""

    class Losing(toy.Perfect):
        """Rollout k of a batch loses subjects 0 to k, and ``more``."""

        def __init__(self, more: int) -> None:
            self.more = more

        def frame(self, i: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
            gone = np.arange(4) < i % 4 + self.more
            return toy.draw(toy.tile_ids(self.boards[i], np.where(gone, -1, np.arange(4))))

    whole = replace(SETTINGS, batch=4)
    a = evaluated(tmp_path / "a", Losing(0), whole)
    b = evaluated(tmp_path / "b", Losing(1), whole)
    found = compare(a, b).worlds["toy"].metrics["sp_mean"]
    assert found.to_json() == {"a": 0.625, "b": 0.375, "difference": -0.25, "ci95": [-0.25, -0.25]}


def test_where_less_is_better_a_rise_is_a_drop(perfect: Path, tmp_path: Path) -> None:
    other = evaluated(tmp_path / "b", toy.Doubling(), second=toy.Perfect())
    found = compare(perfect, other)
    assert found.mean["duplicates"].value == 0.125
    assert drop(found, "duplicates") == 0.125
    assert [d.passed for d in found.drops({"duplicates": 0.125, "sp_mean": 0.124})] == [True, False]
    with pytest.raises(InvalidInputError, match="lpips was not measured"):
        found.drops({"lpips": 0.1})


def test_only_shared_starts_and_worlds_are_compared(perfect: Path, tmp_path: Path) -> None:
    fewer = evaluated(tmp_path / "b", toy.Perfect(), replace(SETTINGS, rollouts=2), HELD_OUT[:2])
    found = compare(perfect, fewer)
    assert (found.worlds["toy"].rollouts, found.worlds["toy"].episodes) == (2, 2)
    assert found.left_out() == ["second"]
    assert found.settings() == {"rollouts": [4, 2]}
    assert json.loads(json.dumps(found.to_json()))["left_out"] == ["second"]


def test_what_cannot_be_compared_is_said(perfect: Path, tmp_path: Path) -> None:
    def refused(b: Path, words: str, kind: type[ActionPartyError] = InvalidInputError) -> None:
        with pytest.raises(kind, match=words):
            compare(perfect, b)

    refused(evaluated(tmp_path / "h", toy.Perfect(), replace(SETTINGS, horizon=10)), "20 .* and of 10")
    again = [toy.record(1_000_000 + k, 40) for k in range(4)]  # the same seeds, but not the same episodes
    refused(evaluated(tmp_path / "r", toy.Perfect(), episodes=again), "different recordings")
    elsewhere = [toy.record(2_000_000 + k, 40, TURNING) for k in range(4)]
    refused(evaluated(tmp_path / "e", toy.Perfect(), episodes=elsewhere), "no rollout of")
    refused(tmp_path / "nothing", "actionparty evaluate CHECKPOINT --out")
    refused(Path("starter"), "actionparty evaluate starter --out")
    (tmp_path / "other").mkdir()
    refused(tmp_path / "other", "no report folder")
    shutil.copy(perfect / "report.json", tmp_path / "other" / "report.json")
    refused(tmp_path / "other", "not its records")
    shutil.copytree(perfect, tmp_path / "part")
    (tmp_path / "part" / "records" / "second" / "rollouts-1.npz").unlink()
    refused(tmp_path / "part", "actionparty evaluate mine --out")
    (tmp_path / "part" / "records" / "second" / "rollouts-1.npz").write_bytes(b"half")
    refused(tmp_path / "part", "damaged", DatasetError)
    (tmp_path / "part" / "run.json").write_text("{")
    refused(tmp_path / "part", "damaged", DatasetError)


def test_evaluations_without_a_common_world_are_refused(perfect: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated(tmp_path / "b", toy.Perfect()), tmp_path / "c")
    run = tmp_path / "c" / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"worlds": ["third"]}))
    (tmp_path / "c" / "records" / "toy").rename(tmp_path / "c" / "records" / "third")
    with pytest.raises(InvalidInputError, match=r"no world in common: toy, second in .*, third in"):
        compare(perfect, tmp_path / "c")


def test_allowed_drops_are_read_and_checked() -> None:
    assert read_allowed(["sp_mean=0.01", "ma=.5", "sp.100=1e-3"]) == {"sp_mean": 0.01, "ma": 0.5, "sp.100": 0.001}
    with pytest.raises(UnknownNameError, match=r"Did you mean .*sp_mean"):
        read_allowed(["sp_men=0.01"])
    with pytest.raises(InvalidInputError, match="neither good nor bad"):
        read_allowed(["alive=0.1"])
    for text in ("ma", "ma=", "ma=-0.1", "ma=nan", "ma=1e999", "=0.1", "ma<0.1"):
        with pytest.raises(ActionPartyError):
            read_allowed([text])


class Removing(toy.Perfect):
    """Takes everybody to be gone."""

    def told(self, states: SubjectStates) -> SubjectStates:
        return replace(states, alive=np.zeros_like(states.alive))


def test_a_model_that_removes_its_subjects_does_not_pass(tmp_path: Path) -> None:
    """Nobody is due to be seen then, so that nothing is left to be disobeyed or lost."""
    mortal = {"toy": TileLabels(**{**vars(LABELS), "mortal": True})}
    for name, world in (("a", toy.Perfect()), ("b", Removing())):
        evaluate(lambda spec, w=world: w, {"toy": HELD_OUT}, mortal, SETTINGS, checkpoint="", out=tmp_path / name)  # type: ignore[misc]
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.worlds["toy"].unmeasured["ma"] == found.worlds["toy"].unmeasured["sp_mean"] == "b"
    ma, gap = found.drops({"ma": 1.0, "alive_gap": 0.5})
    assert (ma.passed, ma.drop, ma.unmeasured) == (False, None, ("toy",))
    assert (gap.passed, gap.drop) == (False, 1.0)
    back = compare(tmp_path / "b", tmp_path / "a")
    assert back.worlds["toy"].unmeasured["ma"] == "a"
    with pytest.raises(InvalidInputError, match="not measured in both"):
        back.drops({"ma": 0.1})


def test_a_world_that_b_left_out_does_not_pass(perfect: Path, tmp_path: Path) -> None:
    fewer = evaluated(tmp_path / "b", toy.Perfect())
    (ma,) = compare(perfect, fewer).drops({"ma": 0.1})
    assert (ma.passed, ma.unmeasured) == (False, ("second",))
    assert compare(fewer, perfect).drops({"ma": 0.1})[0].passed


def test_a_drop_of_just_what_is_allowed_passes_in_spite_of_rounding() -> None:
    assert Drop("ma", 0.1, 0.1 + 1e-12).passed
    assert not Drop("ma", 0.1, 0.1 + 1e-6).passed


def test_episodes_of_the_same_seed_by_other_policies_are_not_mixed_up(tmp_path: Path) -> None:
    twins = [toy.record(1_000_000, 40, script) for script in (TURNING, TURNING[:, ::-1])]
    settings = replace(SETTINGS, rollouts=2)
    one = evaluated(tmp_path / "a", toy.Perfect(), settings, twins)
    found = compare(one, evaluated(tmp_path / "b", toy.Perfect(), settings, twins)).worlds["toy"]
    assert (found.rollouts, found.episodes) == (2, 2)
