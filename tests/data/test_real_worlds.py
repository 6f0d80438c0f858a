"""Recording the real simulator, and reading the result with the example that knows nothing of this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionparty.data.dataset import load_episodes, verify
from actionparty.data.inspection import inspect
from actionparty.data.recording import record

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "read_dataset.py"


@pytest.mark.meltingpot
def test_real_recordings_are_small_and_whole(tmp_path: Path) -> None:
    worlds = ["collaborative_cooking__crowded", "coins"]
    summary = record(worlds, 1000, 0, 2, tmp_path / "set")
    assert summary.rows == dict.fromkeys(worlds, 1000)
    assert verify(tmp_path / "set") == []
    for world in inspect(tmp_path / "set").worlds:
        assert world.bytes_per_frame <= 40, world.world.name
    for episode in load_episodes(tmp_path / "set"):
        h, w = episode.world.grid
        assert episode.frames_raw is None
        assert episode.grid.shape[1:] == (h, w)
        alive = episode.states.alive
        places = episode.states.cells[alive]
        assert (places >= 0).all()
        assert (places < (w, h)).all()
        assert alive.any()


def test_the_example_reads_a_dataset_without_us(tmp_path: Path) -> None:
    record(["arena"], 40, 3, 1, tmp_path / "set")
    assert "import actionparty" not in EXAMPLE.read_text()
    assert "from actionparty" not in EXAMPLE.read_text()
    picture = tmp_path / "frame.png"
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "set"), "arena", "--step", "17", "--out", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "arena: 40 steps" in done.stdout
    assert "forward" in done.stdout
    episode = next(load_episodes(tmp_path / "set"))
    assert np.array_equal(np.asarray(Image.open(picture)), episode.frames(17, 18)[0])
