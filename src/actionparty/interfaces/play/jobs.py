"""What a room needs from outside: worlds to choose from, and work that somebody else does for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from actionparty.errors import ActionPartyError
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


def failure(job: Job, error: BaseException) -> str:
    """Return what people are told where a job failed; of a fault in the model itself, no more than its kind."""
    reason = str(error) if isinstance(error, ActionPartyError) else type(error).__name__
    what = "start" if isinstance(job, Begin) else "step"
    return f"The model failed at this {what} ({reason}). Resume tries it again, reset starts anew."


class Work:
    """What a room wants done or is waiting for; a newer wish makes what is being done come too late."""

    def __init__(self) -> None:
        self.busy = False
        self.begin: Begin | None = None
        """The start that is wanted."""
        self.singles = 0
        """Steps that are wanted at once."""
        self.failed: Begin | None = None
        """The last start, where it failed."""
        self.ticket = 0

    def overtake(self) -> None:
        """Want nothing that was wanted so far."""
        self.ticket += 1
        self.busy, self.begin, self.failed = False, None, None

    def ask(self, scene: Scene, seed: int, *, keep: bool, seats: list[Seat] | None = None) -> None:
        """Want a start, and nothing else that was wanted so far."""
        self.overtake()
        self.begin = Begin(self.ticket, scene, seed, keep, seats)

    def fail(self, job: Job) -> bool:
        """Note that ``job`` failed; return whether it did not come too late."""
        if not self.finish(job):
            return False
        self.singles, self.failed = 0, job if isinstance(job, Begin) else None
        return True

    def again(self) -> None:
        """Want the start that failed once more."""
        if (start := self.failed) is not None:
            self.ask(start.scene, start.seed, keep=start.keep, seats=start.seats)

    def finish(self, job: Job) -> bool:
        """Note that ``job`` is over; return whether it did not come too late."""
        if job.ticket != self.ticket:
            return False
        self.busy, self.begin, self.failed = False, None, None
        return True
