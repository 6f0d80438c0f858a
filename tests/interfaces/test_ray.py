"""Recording and evaluation on a real Ray cluster of two workers, which gives what processes of this machine give."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.data.fakes import make_frail, make_policy, make_world
from tests.evaluation import toy
from tests.interfaces.calls import complaint, run
from tests.interfaces.test_compare import SHORT, MeanDifference, write_checkpoint

from actionparty.data import ray_crew
from actionparty.data.crew import LocalCrew, MakeCrew
from actionparty.data.dataset import verify
from actionparty.data.ray_crew import RayCrew, cluster
from actionparty.data.recording import MAX_LOSSES, record
from actionparty.errors import InvalidInputError, WorkersError
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.perceptual import PictureDistance
from actionparty.evaluation.ray_parts import measure_on_ray
from actionparty.evaluation.rollouts import Perceptual
from actionparty.types import Scene, WorldSpec

pytest.importorskip("ray", reason="install the extra `ray`")
ROOT = Path(__file__).resolve().parents[2]
FAKES = {"make_world": make_world, "make_policy": make_policy}
SETTINGS = EvaluationSettings(rollouts=4, horizon=12, steps_per_episode=4, probes_per_episode=2, batch=2, memory=4)
LABELS = {"toy": build_labels([toy.record(seed, 200) for seed in range(3)])}
HELD_OUT = {"toy": [toy.record(1_000_000 + k, 30) for k in range(4)]}


@pytest.fixture(scope="module")
def workers() -> Iterator[int]:
    """A cluster of two workers, for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))  # of the workers, for the fakes
        patch.setitem(ray_crew.NEW_CLUSTER, "num_cpus", 2)
        with cluster("local") as cpus:
            yield cpus


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as a worker of the cluster has: sums of floats depend on it in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shards(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name.endswith(".parquet")}


# --- recording


def test_actors_record_the_arena_bit_for_bit_as_processes_do(workers: int, tmp_path: Path) -> None:
    line = ("record", "arena", "--steps", 120, "--shard-steps", 25, "--seed", 5, "--json", "--out")
    here = run(*line, tmp_path / "here", "--workers", 2)
    there = run(*line, tmp_path / "there", "--ray", "auto")
    assert workers == 2
    assert here["rows"] == there["rows"] == {"arena": 120}
    assert len(shards(tmp_path / "here")) == 2 * 5
    assert shards(tmp_path / "there") == shards(tmp_path / "here")
    assert verify(tmp_path / "there") == []
    assert run(*line, tmp_path / "there", "--ray", "auto")["shards"] == 0


@pytest.mark.parametrize("crew", [LocalCrew, RayCrew])
def test_a_worker_that_dies_costs_no_shard(crew: MakeCrew, workers: int, tmp_path: Path) -> None:
    make = partial(make_frail, tmp_path / "grave")
    summary = record(["frail"], 90, 0, workers, tmp_path / "set", "any", None, 20, None, make, make_policy, crew)
    assert (tmp_path / "grave").exists()
    assert (summary.rows, summary.skipped) == ({"frail": 90}, {})
    assert verify(tmp_path / "set") == []


@pytest.mark.parametrize("crew", [LocalCrew, RayCrew])
def test_a_world_that_kills_every_worker_is_skipped(crew: MakeCrew, workers: int, tmp_path: Path) -> None:
    worlds = ["deadly", "broken", "a"]
    summary = record(worlds, 50, 0, workers, tmp_path / "set", shard_steps=20, make_crew=crew, **FAKES)  # type: ignore[arg-type]
    assert summary.rows == {"deadly": 0, "broken": 0, "a": 50}
    assert f"died {MAX_LOSSES} times" in summary.skipped["deadly"]
    assert summary.skipped["broken"] == "RuntimeError: no such level"


def test_more_workers_than_the_cluster_has_room_for_wait_without_a_task(workers: int, tmp_path: Path) -> None:
    record(["a", "short13"], 200, 0, 2, tmp_path / "here", shard_steps=20, **FAKES)  # type: ignore[arg-type]
    more = {"make_crew": RayCrew, **FAKES}
    record(["a", "short13"], 200, 0, workers + 1, tmp_path / "there", shard_steps=20, **more)  # type: ignore[arg-type]
    assert shards(tmp_path / "there") == shards(tmp_path / "here")


class Stillborn(ray_crew.Recorder):
    """A recorder on a node where something is missing."""

    def __init__(self, *makers: object) -> None:
        raise ModuleNotFoundError("No module named 'actionparty'")


def test_workers_that_cannot_start_end_the_run_with_their_reason(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_crew, "Recorder", Stillborn)
    with pytest.raises(WorkersError, match="No module named 'actionparty'"):
        record(["a"], 50, 0, 1, tmp_path / "set", shard_steps=20, make_crew=RayCrew, **FAKES)  # type: ignore[arg-type]
    assert verify(tmp_path / "set") == []


# --- evaluation


def test_tasks_measure_a_checkpoint_to_the_same_report_byte_for_byte(
    workers: int, one_thread: None, tmp_path: Path
) -> None:
    line = ("evaluate", write_checkpoint(tmp_path / "weights", 1), *SHORT, "--json", "--out")
    here = run(*line, tmp_path / "here")
    assert run(*line, tmp_path / "there", "--ray", "auto") == here
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


class Mortal(toy.Perfect):
    """Kills its process at its first start, unless one has done so and left the file ``grave``."""

    def __init__(self, grave: Path) -> None:
        self.grave = grave

    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        if not self.grave.exists():
            self.grave.touch()
            os._exit(7)
        super().reset(scenes, seeds)


class Wrong(toy.Perfect):
    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        raise InvalidInputError("this world is wrong.")


@dataclass(frozen=True)
class Make:
    """Gives a world that kills one process, or without a grave a perfect one."""

    grave: Path | None = None

    def __call__(self, spec: WorldSpec) -> toy.Perfect:
        return Mortal(self.grave) if self.grave else toy.Perfect()


def test_a_part_whose_worker_dies_is_measured_again(workers: int, tmp_path: Path) -> None:
    here = evaluate(Make(), HELD_OUT, LABELS, SETTINGS, checkpoint="")
    ticks: list[int] = []
    there = evaluate(
        Make(tmp_path / "grave"),
        *(HELD_OUT, LABELS, SETTINGS),
        checkpoint="",
        progress=lambda world, done, total: ticks.append(total - done),
        measure=measure_on_ray,
    )
    assert (tmp_path / "grave").exists()
    assert there.dumps() == here.dumps()
    assert (len(ticks), ticks[-1]) == (3, 0)


def test_what_goes_wrong_in_a_worker_is_said_as_it_would_be_here(workers: int) -> None:
    with pytest.raises(InvalidInputError, match=r"^this world is wrong\.$"):
        evaluate(lambda spec: Wrong(), HELD_OUT, LABELS, SETTINGS, checkpoint="", measure=measure_on_ray)


def test_a_network_of_the_users_travels_to_the_workers(workers: int, one_thread: None, tmp_path: Path) -> None:
    with warnings.catch_warnings():  # TorchScript is what users have; torch would rather have torch.export
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(MeanDifference()).save(str(tmp_path / "lpips.pt"))  # type: ignore[no-untyped-call]
    judge = Perceptual(lpips=PictureDistance(tmp_path / "lpips.pt"))
    measure = partial(evaluate, Make(), HELD_OUT, LABELS, SETTINGS, checkpoint="", perceptual=judge)
    assert measure(measure=measure_on_ray).dumps() == measure().dumps()


# --- what users are told


def test_without_ray_the_option_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    weights = write_checkpoint(tmp_path / "weights", 1)
    for line in (("record", "arena", "--out", tmp_path / "set"), ("evaluate", weights, "--out", tmp_path / "report")):
        assert "pip install 'actionparty[ray]'" in complaint(*line, "--ray", "local")
    assert {path.name for path in tmp_path.iterdir()} == {"weights"}


def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for address in ("127.0.0.1:1", "nonsense"):
        line = ("record", "arena", "--out", tmp_path / "set", "--ray", address)
        assert f"--ray {address}: no Ray cluster answers" in complaint(*line)
    assert not (tmp_path / "set").exists()
