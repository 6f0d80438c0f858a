"""The examples that learn, run as a user runs them, for a moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = ("--world", "coins", "--worlds", "2", "--horizon", "8", "--max-steps", "6")


def run(name: str, *options: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *SMALL, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A policy that learned with SB3 in the generated world, and what was said."""
    pytest.importorskip("stable_baselines3")
    policy = tmp_path_factory.mktemp("sb3") / "policy.zip"
    return policy, run("learn_sb3.py", "--steps", "64", "--test-worlds", "2", "--out", str(policy))


@pytest.mark.slow
def test_a_policy_learns_with_sb3_in_the_generated_world_and_plays_there(learned: tuple[Path, str]) -> None:
    policy, said = learned
    assert policy.is_file()
    assert "learned from 64 actions" in said
    for name in ("random", "learned"):
        assert f"generated: {name} policy, mean return of a subject" in said


@pytest.mark.meltingpot
@pytest.mark.slow
def test_a_policy_learned_with_sb3_in_the_generated_world_plays_in_the_real_one(learned: tuple[Path, str]) -> None:
    options = ("--steps", "0", "--policy", str(learned[0]), "--test-in", "meltingpot", "--test-worlds", "1")
    said = run("learn_sb3.py", *options)
    assert "learned from" not in said
    for name in ("random", "learned"):
        assert f"meltingpot: {name} policy, mean return of a subject" in said


@pytest.mark.slow
def test_a_policy_learns_with_torchrl(tmp_path: Path) -> None:
    pytest.importorskip("torchrl")
    policy = tmp_path / "policy.pt"
    said = run("learn_torchrl.py", "--frames", "32", "--epochs", "1", "--out", str(policy))
    assert said.count("mean reward of an action") == 2
    assert policy.stat().st_size > 100_000
