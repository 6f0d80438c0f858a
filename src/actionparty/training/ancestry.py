"""Where the weights of a run came from: the runs before it, one started from the other, as JSON beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actionparty.checkpoints import about, fingerprint
from actionparty.errors import CheckpointError

KEY = "ancestry"
"""Its place in a run's recipe and in what weights say of themselves."""


@dataclass(frozen=True)
class Ancestor:
    """One finished or stopped run whose weights another started from."""

    weights: str
    """Their SHA-256, the first 12 digits"""
    frames: int
    seconds: int
    learn: str
    worlds: int


@dataclass(frozen=True)
class Ancestry:
    """The ``runs`` before one, the earliest first."""

    runs: tuple[Ancestor, ...] = ()
    whole: bool = True
    """Whether the first of ``runs`` (or, without any, the run itself) is known to have started from nothing"""

    @property
    def frames(self) -> int:
        """Frames that the runs learned from, together."""
        return sum(run.frames for run in self.runs)

    @property
    def seconds(self) -> int:
        """Seconds that they took, together."""
        return sum(run.seconds for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def ancestry_of(origin: Mapping[str, Any]) -> Ancestry:
    """Return the ancestry that a recipe or a checkpoint's ``about`` tells; it is not whole where nothing is told.

    Raises:
        CheckpointError: what it tells is no ancestry.
    """
    if KEY not in origin:
        return Ancestry(whole=False)
    try:
        told = origin[KEY]
        return Ancestry(tuple(Ancestor(**run) for run in told["runs"]), bool(told["whole"]))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the ancestry of a run is damaged ({error}): {origin[KEY]!r}") from error


def descend(folder: Path) -> Ancestry:
    """Return the ancestry of a run that starts from the weights in the checkpoint ``folder``."""
    origin = about(folder)
    before = ancestry_of(origin)
    if "frames" not in origin or "seconds" not in origin:
        return Ancestry(whole=False)
    learn = origin.get("train", {}).get("learn", "all")
    parent = Ancestor(
        fingerprint(folder)[:12], origin["frames"], origin["seconds"], learn, len(origin.get("worlds", {}))
    )
    return Ancestry((*before.runs, parent), before.whole)
