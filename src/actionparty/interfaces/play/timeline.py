"""Which step of which branch a room shows, and the rollout that it goes on from. Knows no people and no time."""

from __future__ import annotations

from typing import Any

from actionparty.interfaces.play.history import History
from actionparty.interfaces.play.records import Record
from actionparty.interfaces.play.rings import ring_colours
from actionparty.rollout.snapshot import Snapshot
from actionparty.types import CELL, Floats, Ints, Scene


class Timeline:
    """What was played, and where in it a room stands."""

    def __init__(self, context: int, limit: int) -> None:
        """Remember ``limit`` steps of rollouts whose model sees ``context`` frames."""
        self.history = History(context, limit)
        self.live: Snapshot | None = None
        """The rollout as it stands; None before there is any."""
        self.serial = 0
        """Counts what was shown: another number, another picture."""
        self._shown: int | None = None
        """Step that somebody looks back at; None shows the last."""

    @property
    def shown(self) -> Record | None:
        """The step that everybody sees; None before there is any."""
        if not len(self.history):
            return None
        return self.history[self.history.last if self._shown is None else self._shown]

    def fields(self) -> dict[str, Any]:
        """Return what a page is told of it."""
        shown = self.shown
        branches = [
            {"branch": b.number, "ordinal": b.ordinal, "forked": b.forked, "last": b.records[-1].step}
            for b in self.history.branches()
        ]
        return {
            "first": self.history.first if shown else 0,
            "last": self.history.last if shown else 0,
            "step": shown.step if shown else 0,
            "branch": self.history.branch,
            "branches": branches,
        }

    def colours(self) -> list[str]:
        """Return the colour of each subject's ring; none before there is any subject, or where two look alike."""
        return ring_colours(self.live.table["identity"].numpy().reshape(-1, CELL, CELL, 3)) if self.live else []

    def begin(self, scene: Scene, snapshot: Snapshot, *, keep: bool) -> None:
        """Start from a scene: anew, or (``keep``) after what was played."""
        self.history.begin(scene, snapshot, keep=keep)
        self._shown = None
        self._adopt(snapshot)

    def append(self, snapshot: Snapshot, actions: Ints, rewards: Floats) -> None:
        """Add what ``actions`` led to."""
        self.history.append(snapshot, actions, rewards)
        self._adopt(snapshot)

    def look(self, step: int) -> None:
        """Show a step of the branch; raise ``InvalidInputError`` where it is not kept."""
        self._shown = None if self.history[step].step == self.history.last else step
        self.serial += 1

    def look_ahead(self) -> None:
        """Show the newest step again."""
        if self._shown is not None:
            self.look(self.history.last)

    def fork(self, step: int) -> Snapshot:
        """Begin a branch at ``step`` and stand there; raise ``InvalidInputError`` where it is not kept."""
        self.history.fork(step)
        return self._stand()

    def switch(self, branch: int) -> Snapshot:
        """Stand at the newest step of a branch that was left; raise ``InvalidInputError`` where it is not kept."""
        self.history.switch(branch)
        return self._stand()

    def _stand(self) -> Snapshot:
        self._shown = None
        snapshot = self.history.snapshot(self.history.last)
        self._adopt(snapshot)
        return snapshot

    def _adopt(self, snapshot: Snapshot) -> None:
        self.live = snapshot
        self.serial += 1
