"""What the tests of the playground and of its agents share: one tiny checkpoint, and a room without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interfaces.play.stage import Stage


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.interfaces.play.stage import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("playground") / "weights")


@pytest.fixture
def stage(folder: Path) -> Iterator[Stage]:
    from tests.interfaces.play.stage import Stage

    made = Stage(folder)
    yield made
    made.close()
