"""What weights say of the runs before theirs: a chain of runs, each started from the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.training.samples import QUICK, TINY, arena_clips

from actionparty.checkpoints import about, fingerprint, read_json, write_json
from actionparty.errors import CheckpointError
from actionparty.evaluation.card import _compute
from actionparty.training.ancestry import Ancestor, Ancestry, ancestry_of, descend
from actionparty.training.run import start_run

SHORT = replace(QUICK, frames=4, chance_rows=0)


def train(folder: Path, init: Path | None = None, *, learn: str = "all", frames: int = 4) -> Path:
    """Train a run to its end, or go on with it, and return its weights."""
    config = replace(SHORT, learn=learn, frames=frames)
    start_run(folder, TINY, config, {"arena": arena_clips(10, 1)}, resume=folder.exists(), init=init).run()
    return folder / "weights"


def told(weights: Path) -> dict[str, Any]:
    found: dict[str, Any] = about(weights)["ancestry"]
    return found


def test_a_chain_of_runs_is_carried_along_and_summed(tmp_path: Path) -> None:
    first = train(tmp_path / "first")
    assert told(first) == {"runs": [], "whole": True}
    second = train(tmp_path / "second", first)
    third = train(tmp_path / "third", second, learn="heads", frames=8)
    assert told(third)["whole"]
    assert [run["weights"] for run in told(third)["runs"]] == [fingerprint(path)[:12] for path in (first, second)]
    assert [(run["frames"], run["learn"], run["worlds"]) for run in told(third)["runs"]] == [(4, "all", 1)] * 2
    assert ancestry_of(about(third)).frames == 8
    assert read_json(tmp_path / "third" / "run.json")["ancestry"] == told(third)
    kept = told(third)
    train(tmp_path / "third", learn="heads", frames=12)
    assert told(third) == kept, "a resumed run has the same ancestors"
    assert descend(third).runs[-1].frames == 12


def test_what_was_trained_before_this_was_noted_is_no_whole_chain(tmp_path: Path) -> None:
    old = train(tmp_path / "old")
    config = read_json(old / "config.json")
    del config["about"]["ancestry"]
    write_json(old / "config.json", config)
    new = ancestry_of(about(train(tmp_path / "new", old)))
    assert [run.frames for run in new.runs] == [4]
    assert not new.whole
    assert ancestry_of({}) == Ancestry(whole=False)
    with pytest.raises(CheckpointError, match="damaged"):
        ancestry_of({"ancestry": {"runs": [{"frames": 3}], "whole": True}})


RUNS = (Ancestor("aaaaaaaaaaaa", 24_000, 1080, "all", 49), Ancestor("bbbbbbbbbbbb", 50_000, 2700, "all", 49))
ORIGIN = {"frames": 20_001, "seconds": 210, "train": {"learn": "heads"}, "worlds": {"a": {}, "b": {}}}


def test_the_card_shows_the_chain_and_its_sum() -> None:
    text = _compute(ORIGIN | {"ancestry": Ancestry(RUNS).to_json()})
    assert text.startswith("Trained on 94,001 frames in 66 minutes, over 3 runs:")
    assert "| `aaaaaaaaaaaa` | all | 49 | 24,000 | 18 minutes |" in text
    assert "| these | heads | 2 | 20,001 | 4 minutes |" in text
    assert "unknown" not in text


def test_the_card_says_at_least_where_the_beginning_is_unknown() -> None:
    text = _compute(ORIGIN | {"ancestry": Ancestry(RUNS, whole=False).to_json()})
    assert text.startswith("Trained on at least 94,001 frames in at least 66 minutes, over at least 3 runs:")
    assert "| unknown runs before | | | unknown | unknown |" in text
    assert _compute(ORIGIN).startswith("Trained on at least 20,001 frames in at least 4 minutes, over at least 1 runs:")


def test_the_card_of_a_run_from_nothing_says_so() -> None:
    assert (
        _compute(ORIGIN | {"ancestry": Ancestry().to_json()}) == "Trained from nothing on 20,001 frames in 4 minutes."
    )
