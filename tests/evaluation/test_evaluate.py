from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.evaluation import toy

from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate, rollout_starts, step_starts
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.report import EvaluationReport, WorldResult

SETTINGS = EvaluationSettings(rollouts=6, horizon=60, steps_per_episode=8, probes_per_episode=8, batch=4, memory=4)
LABELS = {"toy": build_labels([toy.record(seed, 300) for seed in range(3)])}
HELD_OUT = {"toy": [toy.record(1_000_000 + k, 80) for k in range(4)]}
CONTRACT = {
    *("subjects", "rollouts", "ma1", "ma1_moving", "sa1", "ma", "sp", "sp_mean", "dr", "ea", "tile", "changed_tile"),
    *("isolation", "swap", "duplicates", "psnr", "ssim", "detector", "ci95"),
}


def run(world: toy.Perfect, settings: EvaluationSettings = SETTINGS) -> EvaluationReport:
    return evaluate(lambda spec: world, HELD_OUT, LABELS, settings, checkpoint="0" * 64, model_settings={"snap": False})


def test_the_real_world_gets_full_marks_in_the_contract_that_programs_read() -> None:
    ticks: list[tuple[str, int, int]] = []
    report = evaluate(
        lambda spec: toy.Perfect(),
        HELD_OUT,
        LABELS,
        SETTINGS,
        checkpoint="0" * 64,
        progress=lambda *tick: ticks.append(tick),
    )
    data = json.loads(report.dumps())
    assert set(data) == {"checkpoint", "settings", "worlds", "mean", "worst"}
    world = data["worlds"]["toy"]
    assert world.keys() >= CONTRACT
    ones = CONTRACT - {"subjects", "rollouts", "sp", "psnr", "duplicates", "ci95"}
    assert {name: world[name] for name in ones} == pytest.approx(dict.fromkeys(ones, 1.0))
    assert world["sp"] == {"10": 1, "50": 1}  # 100 was not reached, so it is absent
    assert (world["rollouts"], world["subjects"], world["duplicates"]) == (6, 4, 0)
    assert world["seeds"] == [1_000_000, 1_000_003]
    assert "sync_horizon" not in world
    assert not world["detector_flagged"]
    assert data["mean"]["sp"]["50"] == 1
    assert data["worst"]["ma1"] == ["toy", 1.0]
    assert ticks[-1][1] == ticks[-1][2]
    assert "SP@50" in report.markdown()


def test_an_evaluation_repeats_exactly_and_does_not_depend_on_its_batch() -> None:
    lossy = toy.Dressed([0, 1, -1, 3], since=5)
    first, again = run(lossy).to_json(), run(lossy).to_json()
    assert first == again
    together = run(lossy, replace(SETTINGS, batch=64)).to_json()["worlds"]["toy"]
    chance = {"isolation", "swap", "ci95"}  # their cases are drawn by batch
    assert {k: v for k, v in together.items() if k not in chance} == {
        k: v for k, v in first["worlds"]["toy"].items() if k not in chance
    }


def test_sync_horizon_is_given_where_the_world_has_no_chance() -> None:
    report = run(toy.Dressed([0, 1, -1, 3], since=21), replace(SETTINGS, deterministic=("toy",)))
    assert report.to_json()["worlds"]["toy"]["sync_horizon"] == 20


def test_frames_that_are_not_finite_are_reported() -> None:
    report = run(toy.NotFinite(since=31))
    assert report.to_json()["worlds"]["toy"]["nan_frames"] == 0.5
    assert "not finite" in report.markdown()


def test_training_seeds_are_refused_unless_allowed() -> None:
    trained = {"toy": [toy.record(7, 80)]}
    with pytest.raises(InvalidInputError, match="seed 7"):
        evaluate(lambda spec: toy.Perfect(), trained, LABELS, SETTINGS, checkpoint="")
    allowed = replace(SETTINGS, allow_training_seeds=True, rollouts=1)
    report = evaluate(lambda spec: toy.Perfect(), trained, LABELS, allowed, checkpoint="")
    world = report.to_json()["worlds"]["toy"]
    assert world["ma1"] == 1
    assert world["ci95"] == {}
    assert "no intervals" in report.markdown()


def test_what_cannot_be_evaluated_is_said() -> None:
    for episodes, message in (([], "no held-out"), ([toy.record(1_000_000, 2)], "rows")):
        with pytest.raises(InvalidInputError, match=message):
            evaluate(lambda spec: toy.Perfect(), {"toy": episodes}, LABELS, SETTINGS, checkpoint="")
    with pytest.raises(UnknownNameError, match="toy"):
        evaluate(lambda spec: toy.Perfect(), HELD_OUT, {}, SETTINGS, checkpoint="")
    with pytest.raises(InvalidInputError, match="horizon"):
        EvaluationSettings(horizon=0)


def test_starts_are_spread_over_episodes_and_rows() -> None:
    starts = rollout_starts(HELD_OUT["toy"], 10, context=2)
    assert [s.episode for s in starts] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len(set(starts)) == 10
    assert all(1 <= s.row < 79 for s in starts)
    rows = [s.row for s in step_starts(HELD_OUT["toy"], 8, context=2) if s.episode == 0]
    assert (rows[0], rows[-1], len(rows)) == (1, 78, 8)


def test_the_worst_world_is_the_one_with_most_duplicates_or_least_of_anything_else() -> None:
    def result(name: str, ma: float, duplicates: float) -> WorldResult:
        ratios = {"ma": Ratio.of([ma], [1]), "duplicates": Ratio.of([duplicates], [1]), "detector": Ratio.of([9], [10])}
        return WorldResult(name, 2, 1, 10, (1_000_000, 1_000_000), ratios, {10: Ratio.of([ma], [1])})

    report = EvaluationReport("", {}, {"a": result("a", 0.5, 0.0), "b": result("b", 0.75, 0.25)})
    data = report.to_json()
    assert data["worst"]["ma"] == ["a", 0.5]
    assert data["worst"]["duplicates"] == ["b", 0.25]
    assert data["mean"]["ma"] == 0.625
    assert data["worlds"]["a"]["detector_flagged"]
    assert "psnr" not in data["worlds"]["a"]
    assert "(!)" in report.markdown()
