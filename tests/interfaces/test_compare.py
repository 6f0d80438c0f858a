"""The commands ``evaluate --out`` and ``compare`` as users meet them: kept parts, report folders, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluation import toy
from tests.interfaces.calls import run, runner

from actionparty.config import MODEL_PRESETS
from actionparty.data.dataset import Shard, commit, create_or_open
from actionparty.data.episodes import write_episode
from actionparty.data.recording import RecordingSummary
from actionparty.errors import DatasetError, MissingDependencyError
from actionparty.evaluation.evaluate import EvaluationSettings
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.records import StepRecord
from actionparty.interfaces import commands_evaluate
from actionparty.interfaces.cli import app
from actionparty.interfaces.commands_evaluate import _episodes, _sources
from actionparty.model.network import Network
from actionparty.training.checkpoint import save_weights
from actionparty.types import Episode
from actionparty.worlds import catalogue

SHORT = ("--rollouts", 4, "--horizon", 6, "--batch", 2)


class MeanDifference(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))


def complaint(*line: object) -> str:
    """Run a command that has to refuse its input; return its one line on stderr."""
    result = runner.invoke(app, [str(part) for part in line], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def write_dataset(path: Path, episodes: Sequence[Episode]) -> None:
    dataset = create_or_open(path)
    for episode in episodes:
        staged = path.parent / "staged"
        commit(dataset, Shard.of(f"toy/{episode.seed}", episode, write_episode(staged, episode)), staged)


def write_checkpoint(folder: Path, seed: int) -> Path:
    """An untrained tiny network with what ships beside weights."""
    config = replace(MODEL_PRESETS["tiny"], worlds=("toy",))
    torch.manual_seed(seed)
    save_weights(folder, config, Network(config).state_dict(), {})
    build_labels([toy.record(k, 100) for k in range(3)]).save(folder / "labels" / "toy.npz")
    write_dataset(folder / HELD_OUT, [toy.record(1_000_000 + k, 14) for k in range(4)])
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return write_checkpoint(folder / "one", 1), write_checkpoint(folder / "two", 2)


@pytest.fixture(scope="module")
def reports(checkpoints: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for checkpoint in checkpoints:
        run("evaluate", checkpoint, *SHORT, "--out", folder / checkpoint.name)
    return folder / "one", folder / "two"


def test_evaluate_writes_a_folder_and_goes_on_with_it(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    line = ("evaluate", checkpoints[0], *SHORT, "--out", tmp_path / "out")
    found = run(*line, "--json")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    records = {f"records/toy/{name}.npz" for name in ("steps", "rollouts-0", "rollouts-1")}
    assert names == {"run.json", "report.json", "report.md", "report.html", *records}
    assert (found["settings"]["lpips"], found["settings"]["fvd"]) == (None, None)
    (tmp_path / "out" / "report.json").unlink()
    assert run(*line, "--json") == found
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == found
    text = run(*line)
    assert "LPIPS (--lpips), FVD (--fvd)" in text
    assert "report.html" in text


def test_evaluate_measures_lpips_with_a_network_of_the_users(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    with warnings.catch_warnings():  # TorchScript is what users have; torch would rather have torch.export
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(MeanDifference()).save(str(tmp_path / "lpips.pt"))  # type: ignore[no-untyped-call]
    line = ("evaluate", checkpoints[0], "--rollouts", 2, "--horizon", 10, "--lpips", tmp_path / "lpips.pt")
    found = run(*line, "--json")
    assert 0 < found["worlds"]["toy"]["lpips"] < 2
    assert len(found["settings"]["lpips"]) == 64
    assert "Left out, for want of weights (never downloaded): FVD (--fvd)." in run(*line)


def test_evaluate_leaves_folders_alone_that_are_not_its_own(
    checkpoints: tuple[Path, Path], reports: tuple[Path, Path], tmp_path: Path
) -> None:
    line = ("evaluate", checkpoints[0], *SHORT, "--out")
    (tmp_path / "notes.txt").write_text("precious")
    assert "no report folder" in complaint(*line, tmp_path)
    assert "no report folder" in complaint(*line, tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    before = (reports[1] / "report.json").read_bytes()
    assert "another evaluation (differing in checkpoint)" in complaint(*line, reports[1])
    other = ("--rollouts", 4, "--horizon", 5, "--batch", 2)
    assert "horizon" in complaint("evaluate", checkpoints[1], *other, "--out", reports[1])
    assert (reports[1] / "report.json").read_bytes() == before


def test_evaluate_refuses_networks_it_cannot_use(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    assert "never downloaded" in complaint("evaluate", checkpoints[0], "--lpips", tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no network")
    assert "no TorchScript" in complaint("evaluate", checkpoints[0], "--fvd", tmp_path / "text.pt")


def test_an_interrupted_evaluation_goes_on_with_the_same_command(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    size = ("--rollouts", "8", "--horizon", "15", "--batch", "1")
    line = [str(part) for part in ("evaluate", checkpoints[0], *size, "--out", tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "actionparty.interfaces.cli", *line],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        while process.poll() is None and not (tmp_path / "out" / "records" / "toy" / "rollouts-0.npz").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, words = process.communicate()
    assert process.returncode == 130, words
    assert "give the same command again to go on" in words
    assert "Traceback" not in words
    parts = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "records" / "toy").iterdir()}
    assert len(parts) < 9
    assert "not finished" in complaint("compare", tmp_path / "out", tmp_path / "out")
    run(*line)
    run(*line[:-1], tmp_path / "straight")
    assert (tmp_path / "out" / "report.json").read_bytes() == (tmp_path / "straight" / "report.json").read_bytes()
    for name, written in parts.items():
        assert (tmp_path / "out" / "records" / "toy" / name).stat().st_mtime_ns == written


def test_compare_for_people_and_programs(reports: tuple[Path, Path]) -> None:
    found = run("compare", *reports, "--json")
    assert {"a", "b", "settings", "worlds", "left_out", "mean", "drops"} == found.keys()
    assert found["worlds"]["toy"]["rollouts"] == 4
    one, two = (json.loads((path / "report.json").read_text())["mean"] for path in reports)
    for name in ("ma", "sp_mean", "sa1", "tile"):
        got = found["mean"][name]
        assert (got["a"], got["b"]) == (one[name], two[name])
        assert got["difference"] == two[name] - one[name]
        assert got["ci95"][0] <= got["ci95"][1]
    text = run("compare", *reports)
    assert "B - A in each world" in text
    assert "SP mean" in text


def dropped(one: Path, two: Path) -> dict[str, float]:
    """Return by how much the second report is lower, of metrics that should be high."""
    found = run("compare", one, two, "--json")["mean"]
    return {name: -m["difference"] for name, m in found.items() if m["difference"] < 0 and name != "duplicates"}


def test_compare_exits_with_1_where_a_metric_drops_by_more_than_allowed(reports: tuple[Path, Path]) -> None:
    one, two = reports
    if not (drops := dropped(one, two)):  # of two random networks either may be the worse one
        one, two = two, one
        drops = dropped(one, two)
    worse, by = next(iter(drops.items()))
    assert "within" in run("compare", one, two, "--max-drop", f"{worse}={by * 1.01}")
    assert "MORE THAN" in run("compare", one, two, "--max-drop", f"{worse}={by * 0.99}", code=1)
    both = ("--max-drop", "detector=0", "--max-drop", f"{worse}={by * 0.99}")
    failed = run("compare", one, two, *both, "--json", code=1)
    assert [(d["metric"], d["passed"]) for d in failed["drops"]] == [("detector", True), (worse, False)]


def test_compare_refuses_what_it_cannot_do(
    checkpoints: tuple[Path, Path], reports: tuple[Path, Path], tmp_path: Path
) -> None:
    one = reports[0]
    assert "evaluate CHECKPOINT --out" in complaint("compare", one, tmp_path / "nothing")
    assert f"evaluate {checkpoints[0]} --out" in complaint("compare", one, checkpoints[0])
    assert "Did you mean sp_mean" in complaint("compare", one, one, "--max-drop", "sp_men=0.1")
    assert "METRIC=AMOUNT" in complaint("compare", one, one, "--max-drop", "ma<0.1")
    assert "lpips was not measured" in complaint("compare", one, one, "--max-drop", "lpips=0.1")
    run("evaluate", checkpoints[1], "--rollouts", 2, "--horizon", 3, "--out", tmp_path / "short")
    assert "6 steps" in complaint("compare", one, tmp_path / "short")


def missing_simulator(world: str) -> None:
    raise MissingDependencyError(f"{world} needs Melting Pot")


def test_held_out_episodes_are_looked_for_world_by_world(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's, those beside the weights, recorded ones; without a simulator those that ship."""
    monkeypatch.chdir(tmp_path)
    recorded: list[str] = []

    def record(worlds: Sequence[str], *given: Any, **named: Any) -> RecordingSummary:
        recorded.extend(worlds)
        skipped = {world: "its simulator crashed" for world in worlds if world == "chemistry__three_metabolic_cycles"}
        return RecordingSummary(tmp_path, {}, 0, skipped, (), 0.0)

    monkeypatch.setattr(commands_evaluate, "record_with_bars", record)
    settings, beside = EvaluationSettings(rollouts=2), checkpoints[0] / HELD_OUT
    wanted = ["toy", "coins"]
    assert _sources(checkpoints[0], wanted, tmp_path, settings) == dict.fromkeys(wanted, tmp_path)
    monkeypatch.setattr(catalogue, "check_available", lambda world: None)
    ours = commands_evaluate.HELD_OUT
    assert _sources(checkpoints[0], wanted, None, settings) == {"toy": beside, "coins": ours}
    assert recorded == ["coins"]
    with pytest.raises(DatasetError, match="its simulator crashed"):
        _sources(checkpoints[0], ["chemistry__three_metabolic_cycles"], None, settings)
    monkeypatch.setattr(catalogue, "check_available", missing_simulator)
    capsys.readouterr()
    shipped = _sources(checkpoints[0], wanted, None, settings)["coins"]
    assert (shipped.parent.name, shipped.name) == ("starter", HELD_OUT)
    assert "coins: the held-out episodes that ship" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(MissingDependencyError, match="needs Melting Pot"):
        _sources(checkpoints[0], ["chemistry__three_metabolic_cycles"], None, settings)
    assert len(recorded) == 2


def test_episodes_as_long_as_the_rollouts_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = (5, 14, 6, 13, 14, 1, 2)  # the last two hold no step that could be measured
    write_dataset(tmp_path / "data", [toy.record(1_000_000 + k, rows) for k, rows in enumerate(lengths)])

    def found(rollouts: int) -> list[int]:
        return [e.seed % 100 for e in _episodes(tmp_path / "data", "toy", EvaluationSettings(rollouts, horizon=11))]

    assert (found(1), found(2), capsys.readouterr().err) == ([1], [1, 4], "")
    assert found(4) == [0, 1, 2, 4]
    assert found(7) == [0, 1, 2, 3, 4]
    told = " ".join(capsys.readouterr().err.split())
    assert "2 of 4 held-out episodes are shorter than the 14 rows" in told
    assert "3 of 5 held-out episodes are shorter" in told


def test_evaluate_gives_the_sync_horizon_of_worlds_said_to_be_without_chance(checkpoints: tuple[Path, Path]) -> None:
    line = ("evaluate", checkpoints[0], "--rollouts", 2, "--horizon", 3, "--deterministic")
    assert "sync_horizon" in run(*line, "toy", "--json")["worlds"]["toy"]
    assert "--deterministic" in complaint(*line, "coins")


def test_compare_says_what_b_did_not_measure(reports: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(reports[0], tmp_path / "b")
    path = tmp_path / "b" / "records" / "toy" / "steps.npz"
    steps = StepRecord.load(path)
    replace(steps, ratios={k: v for k, v in steps.ratios.items() if k != "ma1"}).save(path)
    text = run("compare", reports[0], tmp_path / "b", "--max-drop", "ma1=1", code=1)
    assert "toy: not measured in B: MA@1" in text
    assert "MA@1 FAILED: not measured by B in toy" in text
    found = run("compare", reports[0], tmp_path / "b", "--max-drop", "ma1=1", "--json", code=1)
    assert found["drops"] == [{"metric": "ma1", "allowed": 1, "drop": None, "unmeasured": ["toy"], "passed": False}]
    assert found["worlds"]["toy"]["unmeasured"] == {"ma1": "b"}
