"""Commands take an engine by name, say which one ran, and keep its name with what it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.engines.samples import WORLD, engines, network
from tests.interfaces.calls import complaint, run
from tests.rollout.samples import model, scene

from actionparty.config import AUTO, RolloutConfig
from actionparty.engines import choice
from actionparty.engines.choice import choose
from actionparty.environment.batches import GeneratedWorlds
from actionparty.environment.make import env, open_worlds
from actionparty.errors import InvalidInputError
from actionparty.rollout.scenes import SCENES, save_scene
from actionparty.training.checkpoint import save_weights


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a shape whose graphs don't come with the package."""
    save_weights(tmp_path / "own", model().config, model().state_dict(), {})
    save_scene(tmp_path / "own" / SCENES / "arena" / "0.npz", scene())
    return tmp_path / "own"


@pytest.mark.parametrize("name", engines(("torch", "onnx", "openvino")))
def test_a_rollout_names_the_engine_that_made_it(name: str, tmp_path: Path) -> None:
    made = run("rollout", WORLD, "--engine", name, "--steps", 3, "--out", tmp_path / "made", "--json")
    assert made["settings"]["engine"] == name
    assert json.loads((tmp_path / "made" / "rollout.json").read_text())["settings"]["engine"] == name


def test_weights_without_graphs_start_at_once_with_pytorch(checkpoint: Path, tmp_path: Path) -> None:
    shown = run("rollout", "arena", "--checkpoint", checkpoint, "--steps", 2, "--out", tmp_path / "made")
    assert "frames/s by torch" in shown
    found = run("bench", "arena", "--checkpoint", checkpoint, "--steps", 2, "--batch", 1, "--threads", 1, "--json")
    assert found["engine"] == "torch"


@pytest.mark.parametrize("name", engines(("onnx",)))
def test_bench_names_the_engine(name: str) -> None:
    line = ("bench", WORLD, "--steps", 2, "--batch", 1, "--threads", 1, "--engine", name)
    assert f"engine {name}" in run(*line)


@pytest.mark.parametrize("name", engines(("onnx",)))
def test_bench_goes_on_with_pytorch_where_the_fastest_engine_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "graphs", lambda _: {"observe": b"no graph"})
    line = ("bench", WORLD, "--steps", 2, "--batch", 1, "--threads", 1)
    assert run(*line, "--json")["engine"] == "torch"
    assert "can't run this model" in complaint(*line, "--engine", name)


@pytest.mark.parametrize("command", [("rollout", WORLD, "--out", "x"), ("bench", WORLD), ("evaluate", "starter")])
def test_an_unknown_engine_is_answered_with_the_nearest(command: tuple[str, ...]) -> None:
    assert "torch-bf16" in complaint(*command, "--engine", "torch-bf61")


def test_environments_take_an_engine() -> None:
    for name, used in (("torch", "torch"), (None, choose(AUTO, None, [network()]))):
        made = open_worlds(WORLD, 2, checkpoint="all", engine=name)
        assert isinstance(made, GeneratedWorlds)
        assert made._rollout.settings.engine == used
    with pytest.raises(InvalidInputError, match="engine"):
        env("arena", backend="arena", engine="torch")


def test_settings_keep_their_engine_in_json() -> None:
    assert RolloutConfig().engine == "torch", "what was saved before engines had names was made by PyTorch"
