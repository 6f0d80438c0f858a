"""One tiny checkpoint for all tests of the playground."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interfaces.play.stage import Stage, make_checkpoint

from actionparty.interfaces.play.engine import Engine
from actionparty.training.checkpoint import load_network

pytest.importorskip("starlette")
pytest.importorskip("pydantic")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("playground") / "weights")


@pytest.fixture
def stage(folder: Path) -> Iterator[Stage]:
    made = Stage(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    made = Engine(load_network(folder), workers=2)
    yield made
    made.close()
