"""What a room needs from outside: worlds to choose from, and work that somebody else does for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from actionparty.interfaces.play.sandbox import Palette
from actionparty.interfaces.play.seats import Seat
from actionparty.rollout.snapshot import Snapshot
from actionparty.types import Ints, Scene, WorldSpec


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


def card(spec: WorldSpec, title: str) -> dict[str, Any]:
    """Return what a page is told of a world."""
    return {
        "name": spec.name,
        "title": title,
        "grid": list(spec.grid),
        "actions": list(spec.actions),
        "subjects": spec.subjects,
    }


@dataclass(frozen=True)
class Begin:
    """Work for the engine: start from a scene."""

    ticket: int
    scene: Scene
    seed: int
    keep: bool
    """Whether it comes after what was played, as an edit does; otherwise everything starts again."""
    seats: list[Seat] | None = None
    """The seats once it has begun, where an edit adds or removes some."""


@dataclass(frozen=True)
class Step:
    """Work for the engine: one step."""

    ticket: int
    snapshot: Snapshot
    actions: Ints


Job = Begin | Step


class Work:
    """What a room wants done or is waiting for; a newer wish makes what is being done come too late."""

    def __init__(self) -> None:
        self.busy = False
        self.begin: Begin | None = None
        """The start that is wanted."""
        self.singles = 0
        """Steps that are wanted at once."""
        self.ticket = 0

    def overtake(self) -> None:
        """Want nothing that was wanted so far."""
        self.ticket += 1
        self.busy, self.begin = False, None

    def ask(self, scene: Scene, seed: int, *, keep: bool, seats: list[Seat] | None = None) -> None:
        """Want a start, and nothing else that was wanted so far."""
        self.overtake()
        self.begin = Begin(self.ticket, scene, seed, keep, seats)

    def finish(self, job: Job) -> bool:
        """Note that ``job`` is over; return whether it did not come too late."""
        if job.ticket != self.ticket:
            return False
        self.busy, self.begin = False, None
        return True
