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


@pytest.mark.meltingpot
@pytest.mark.slow
def test_a_policy_learned_with_sb3_in_the_generated_world_plays_in_the_real_one(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    policy = str(tmp_path / "policy.zip")
    said = run("learn_sb3.py", "--steps", "64", "--test-worlds", "2", "--out", policy)
    assert "learned from 64 actions" in said
    assert "generated: learned policy" in said
    again = run("learn_sb3.py", "--steps", "0", "--policy", policy, "--test-in", "meltingpot", "--test-worlds", "1")
    assert "learned from" not in again
    assert "meltingpot: random policy, mean return of a subject" in again
    assert "meltingpot: learned policy, mean return of a subject" in again


@pytest.mark.slow
def test_a_policy_learns_with_torchrl(tmp_path: Path) -> None:
    pytest.importorskip("torchrl")
    policy = tmp_path / "policy.pt"
    said = run("learn_torchrl.py", "--frames", "32", "--epochs", "1", "--out", str(policy))
    assert said.count("mean reward of an action") == 2
    assert policy.stat().st_size > 100_000
