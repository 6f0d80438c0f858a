"""`pack`: what several recordings hold of a world is trained on as one, packed or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.interfaces.calls import complaint, run

from actionparty.data.recording import record
from actionparty.interfaces.commands_train import training_clips


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recorded")
    for name, policy in (("one", "random"), ("two", "seek")):
        record(["arena"], 60, 0, 1, folder / name, policy=policy, shard_steps=30)
    record(["arena"], 30, 1_000_000, 1, folder / "two", shard_steps=30)
    return [folder / "one", folder / "two"]


def test_datasets_that_are_packed_together_train_as_they_did_apart(datasets: list[Path], tmp_path: Path) -> None:
    packed = run("pack", *datasets, "--out", tmp_path / "both", "--json")
    assert packed["rows"] == 120, "the evaluation episode is left out"
    apart, together = (training_clips(paths, None)["arena"] for paths in (datasets, [tmp_path / "both"]))
    for name in ("grid", "position", "action", "reward", "first", "tiles"):
        assert torch.equal(getattr(apart, name), getattr(together, name)), name


def test_what_is_packed_and_what_is_not_do_not_mix_in_one_world(datasets: list[Path], tmp_path: Path) -> None:
    run("pack", datasets[0], "--out", tmp_path / "one")
    line = ("train", tmp_path / "one", datasets[1], "--out", tmp_path / "run", "--size", "tiny", "--frames", 4)
    assert "pack them together" in complaint(*line)


def test_a_folder_without_recordings_is_refused_and_nothing_is_written(datasets: list[Path], tmp_path: Path) -> None:
    assert str(tmp_path) in complaint("pack", datasets[0], tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
