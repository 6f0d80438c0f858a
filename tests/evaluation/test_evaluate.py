from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation import toy

from actionparty.data.files import exclusive
from actionparty.errors import DatasetError, InvalidInputError, UnknownNameError
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.folder import load_report
from actionparty.evaluation.labels import TileLabels, build_labels
from actionparty.evaluation.parts import rollout_starts, step_starts
from actionparty.evaluation.report import EvaluationReport, WorldResult
from actionparty.types import Ints

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
    world = report.to_json()["worlds"]["toy"]
    assert (world["sync_horizon"], world["ci95"]["sync_horizon"]) == (20, [20, 20])
    assert "still in step" not in report.markdown()
    steady = run(toy.Perfect(), replace(SETTINGS, deterministic=("toy",), horizon=20))
    assert steady.to_json()["worlds"]["toy"]["sync_horizon"] == 20
    assert "6 of 6 rollouts were still in step" in steady.markdown()


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
    starts = rollout_starts(HELD_OUT["toy"], 10)
    assert [s.episode for s in starts] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len(set(starts)) == 10
    assert all(1 <= s.row < 79 for s in starts)
    rows = [s.row for s in step_starts(HELD_OUT["toy"], 8) if s.episode == 0]
    assert (rows[0], rows[-1], len(rows)) == (1, 78, 8)


def test_the_worst_world_is_the_one_with_most_duplicates_or_least_of_anything_else() -> None:
    def result(name: str, ma: float, duplicates: float) -> WorldResult:
        ratios = {"ma": Ratio.of([ma], [1]), "duplicates": Ratio.of([duplicates], [1]), "detector": Ratio.of([9], [10])}
        ratios["alive"] = Ratio.of([1], [2])
        return WorldResult(name, 2, 1, 10, (1_000_000, 1_000_000), ratios, {10: Ratio.of([ma], [1])})

    report = EvaluationReport("", {}, {"a": result("a", 0.5, 0.0), "b": result("b", 0.75, 0.25)})
    data = report.to_json()
    assert data["worst"]["ma"] == ["a", 0.5]
    assert data["worst"]["duplicates"] == ["b", 0.25]
    assert "alive" not in data["worst"]
    assert data["mean"]["ma"] == 0.625
    assert data["worlds"]["a"]["detector_flagged"]
    assert "psnr" not in data["worlds"]["a"]
    assert "(!)" in report.markdown()


SHORT = replace(SETTINGS, horizon=20)


class Interrupted(toy.Perfect):
    """Counts the steps it makes, and is interrupted before step ``stop`` of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.steps = stop, 0

    def step(self, actions: Ints) -> toy.Answer:
        if self.steps == self.stop:
            raise KeyboardInterrupt
        self.steps += 1
        return super().step(actions)

    def frame(self, i: int) -> NDArray[np.generic]:
        return toy.draw(toy.tile_ids(self.boards[i], np.array([0, 1, -1, 3]) if self.t > 7 else None))


def kept(out: Path, world: toy.Perfect, settings: EvaluationSettings = SHORT, **change: Any) -> EvaluationReport:
    named: dict[str, Any] = {"checkpoint": "0" * 64, "name": "mine", "model_settings": {"snap": False}} | change
    return evaluate(lambda spec: world, HELD_OUT, LABELS, settings, out=out, **named)


def _append(ticks: list[tuple[str, int, int]], *tick: Any) -> None:
    ticks.append(tick)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_evaluation_stopped_anywhere_goes_on_to_the_same_report_byte_for_byte(tmp_path: Path) -> None:
    straight = Interrupted()
    report = kept(tmp_path / "straight", straight)
    whole = contents(tmp_path / "straight")
    assert {"run.json", "report.json", "report.md", "report.html", "records/toy/steps.npz"} <= whole.keys()
    assert {f"records/toy/rollouts-{k}.npz" for k in range(2)} <= whole.keys()
    single = straight.steps - 2 * SHORT.horizon
    for stop, finished in ((3, 0), (single + 5, 1), (single + SHORT.horizon + 1, 2)):
        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            kept(out, Interrupted(stop))
        assert "report.json" not in contents(out)
        assert len(list(out.rglob("*.npz"))) == finished
        assert not [name for name in contents(out) if name.endswith(".tmp")]
        rest = Interrupted()
        ticks: list[tuple[str, int, int]] = []
        progress = partial(_append, ticks)
        assert kept(out, rest, progress=progress).dumps() == report.dumps()
        assert rest.steps == straight.steps - (0, single, single + SHORT.horizon)[finished]
        assert ticks[-1][1] == ticks[-1][2]
        assert contents(out) == whole


def test_a_finished_evaluation_is_not_measured_again_and_its_pages_can_be_made_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept(out, toy.Perfect())
    whole = contents(out)
    for name in ("report.json", "report.md", "report.html"):
        (out / name).unlink()
    kept(out, Interrupted(stop=0), name="another/name/for/it")
    assert contents(out) == whole


def test_with_and_without_a_folder_the_report_is_the_same_and_can_be_loaded(tmp_path: Path) -> None:
    lossy = toy.Dressed([0, 1, -1, 3], since=5)
    report = kept(tmp_path / "out", lossy)
    assert report.dumps() == run(lossy, SHORT).dumps()
    loaded, records = load_report(tmp_path / "out")
    assert loaded.dumps() == report.dumps()
    assert loaded.worlds["toy"].curves == report.worlds["toy"].curves
    assert list(records) == ["toy"]
    assert len(records["toy"]) == SETTINGS.rollouts
    assert "other" not in records


def test_a_folder_of_another_evaluation_or_of_something_else_is_left_alone(tmp_path: Path) -> None:
    kept(tmp_path / "out", toy.Perfect())
    whole = contents(tmp_path / "out")
    for change, word in (
        ({"settings": replace(SHORT, horizon=21)}, "horizon"),
        ({"checkpoint": "1" * 64}, "checkpoint"),
        ({"model_settings": {"snap": True}}, "snap"),
    ):
        with pytest.raises(InvalidInputError, match=rf"another evaluation .*{word}"):
            kept(tmp_path / "out", toy.Perfect(), **change)
    others = {"toy": [toy.record(1_000_000 + k, 81) for k in range(4)]}
    with pytest.raises(InvalidInputError, match=r"another evaluation .*episodes"):
        evaluate(lambda spec: toy.Perfect(), others, LABELS, SHORT, checkpoint="0" * 64, out=tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("precious")
    for place in (tmp_path / "foreign", tmp_path / "foreign" / "notes.txt"):
        with pytest.raises(InvalidInputError, match="no report folder"):
            kept(place, toy.Perfect())
    assert contents(tmp_path / "foreign") == {"notes.txt": b"precious"}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    kept(tmp_path / "out", toy.Perfect())
    part = tmp_path / "out" / "records" / "toy" / "rollouts-1.npz"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"rollouts-1\.npz: damaged"):
        kept(tmp_path / "out", toy.Perfect())
    part.unlink()
    assert kept(tmp_path / "out", toy.Perfect()).dumps() == run(toy.Perfect(), SHORT).dumps()


def test_too_few_episodes_for_an_interval_is_said(tmp_path: Path) -> None:
    def text(episodes: int, rollouts: int) -> str:
        settings = replace(SETTINGS, rollouts=rollouts, horizon=12)
        held_out = {"toy": HELD_OUT["toy"][:episodes]}
        return evaluate(lambda spec: toy.Perfect(), held_out, LABELS, settings, checkpoint="").markdown()

    assert "one held-out episode only: no intervals for single steps" in text(1, 3)
    assert "3 rollouts start in 2 held-out episodes" in text(2, 3)
    assert "interval" not in text(3, 3)


def test_the_report_breaks_obedience_down() -> None:
    world = run(toy.Frozen()).to_json()["worlds"]["toy"]
    parts = world["breakdown"]
    assert set(parts["action"]) <= set(toy.ACTIONS)
    assert parts["action"]["noop"]["ma"] == 1
    assert 0 < parts["action"]["turn_left"]["ma"] < 1
    for kind in ("action", "collision"):
        counted = sum(part["n"] for part in parts[kind].values())
        assert counted == 6 * 60 * 4
        assert sum(p["n"] * p["ma"] for p in parts[kind].values()) / counted == pytest.approx(world["ma"])


def test_the_interval_of_the_mean_is_that_of_the_mean_of_resampled_worlds() -> None:
    def result(name: str, values: list[float]) -> WorldResult:
        return WorldResult(name, 2, 4, 10, (0, 0), {"ma": Ratio.of(values, np.ones(len(values)))}, {})

    even, spread = [0.5] * 4, [0.0, 1.0, 0.0, 1.0]
    data = EvaluationReport("", {}, {"a": result("a", even), "b": result("b", spread)}).to_json()
    low, high = data["mean"]["ci95"]["ma"]
    assert data["worlds"]["b"]["ci95"]["ma"] == [0, 1]
    assert (low, high) == (0.25, 0.75)  # half as wide: the other world does not vary
    lone = EvaluationReport("", {}, {"a": result("a", even), "b": result("b", [1.0])}).to_json()
    assert lone["mean"]["ci95"] == {}


def test_where_rollouts_start_does_not_depend_on_the_context_of_the_model(tmp_path: Path) -> None:
    rows = []
    for context in (1, 2, 4):
        kept(tmp_path / str(context), toy.Perfect(), replace(SHORT, context=context))
        rows.append(load_report(tmp_path / str(context))[1]["toy"].rows.tolist())
    assert rows[0] == rows[1] == rows[2]
    assert min(rows[0]) == 2


def test_labels_of_another_number_of_subjects_are_refused() -> None:
    fewer = {"toy": replace(LABELS["toy"], subjects=3)}
    with pytest.raises(InvalidInputError, match="3 subjects, but the held-out episodes have 4"):
        evaluate(lambda spec: toy.Perfect(), HELD_OUT, fewer, SHORT, checkpoint="")


def test_the_report_says_whose_labels_it_used() -> None:
    settings = replace(SHORT, rollouts=1, horizon=3)
    for here, source in (((), "shipped"), (("toy",), "held-out")):
        report = evaluate(lambda spec: toy.Perfect(), HELD_OUT, LABELS, settings, checkpoint="", labelled_here=here)
        assert report.to_json()["worlds"]["toy"]["labels"] == source
        assert ("no labels of this world" in report.markdown()) == (source == "held-out")


def test_what_an_aborted_start_left_is_no_report_and_one_process_at_a_time_may_evaluate(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".run.json.123.tmp").write_text("{")
    kept(out, toy.Perfect(), data="my data")
    with exclusive(out), pytest.raises(DatasetError, match="another process is evaluating"):
        kept(out, toy.Perfect())
    assert "--data &#x27;my data&#x27;" in (out / "report.html").read_text()
    kept(out, toy.Perfect(), data="elsewhere")
    found = json.loads((out / "run.json").read_text())
    assert (found["data"], bool(found["version"])) == ("my data", True)
    (out / "run.json").write_text(json.dumps(found | {"version": "0.0.0"}))
    with pytest.raises(InvalidInputError, match=r"differing in version"):
        kept(out, toy.Perfect())
    for lacking in ("checkpoint", "name"):
        (out / "run.json").write_text(json.dumps({k: v for k, v in found.items() if k != lacking}))
        with pytest.raises(DatasetError, match=f"damaged .*{lacking}"):
            load_report(out)
    old = {k: v for k, v in found.items() if k not in ("data", "version")}
    old["settings"] = {k: v for k, v in found["settings"].items() if k != "labels"}
    (out / "run.json").write_text(json.dumps(old))
    assert "labels" not in load_report(out)[0].to_json()["worlds"]["toy"]


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)])  # of the central directory: encrypted, compressed how
def test_a_part_whose_archive_makes_false_claims_is_damaged(tmp_path: Path, offset: int, value: int) -> None:
    kept(tmp_path / "out", toy.Perfect())
    labels = tmp_path / "labels.npz"
    LABELS["toy"].save(labels)
    for path in (tmp_path / "out" / "records" / "toy" / "steps.npz", labels):
        content = bytearray(path.read_bytes())
        place = -1
        while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
            content[place + offset] = value
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"steps\.npz: damaged"):
        load_report(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"labels\.npz: damaged"):
        TileLabels.load(labels)
