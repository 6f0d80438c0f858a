"""What the tests of agents share: the tiny checkpoint of the playground's tests, and a server with shipped weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interfaces.agents.serving import Playground
from tests.interfaces.play.stage import Stage, make_checkpoint

pytest.importorskip("starlette")
pytest.importorskip("pydantic")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("agents") / "weights")


@pytest.fixture
def stage(folder: Path) -> Iterator[Stage]:
    made = Stage(folder)
    yield made
    made.close()


@pytest.fixture(scope="session")
def coins() -> Iterator[Playground]:
    """`actionparty play` in a process of its own, with the world of coins as it is shipped."""
    with Playground("--world", "coins", "--checkpoint", "starter").running() as made:
        yield made
