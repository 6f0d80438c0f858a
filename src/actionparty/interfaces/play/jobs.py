"""What a room needs from outside: worlds to choose from, and work that somebody else does for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from actionparty.interfaces.play.sandbox import Palette
from actionparty.rollout.snapshot import Snapshot
from actionparty.types import Ints, Scene


class Menu(Protocol):
    """The worlds that can be played."""

    @property
    def context(self) -> int:
        """Frames that the model sees."""

    def scene(self, world: str, index: int) -> Scene:
        """Return a scene; raise ``ActionPartyError`` where there is no such world or scene."""

    def title(self, world: str) -> str:
        """Return what people call a world."""

    def palette(self, world: str) -> Palette:
        """Return the tiles of a world."""

    def has_simulator(self, world: str) -> bool:
        """Return whether the real world can run beside."""


@dataclass(frozen=True)
class Begin:
    """Work for the engine: start from a scene."""

    ticket: int
    scene: Scene
    seed: int
    keep: bool
    """Whether it comes after what was played, as an edit does; otherwise everything starts again."""


@dataclass(frozen=True)
class Step:
    """Work for the engine: one step."""

    ticket: int
    snapshot: Snapshot
    actions: Ints


Job = Begin | Step
