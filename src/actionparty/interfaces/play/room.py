"""A room: one live rollout that several people share, as a state machine without transport, threads or clock.

Whoever runs it passes messages in (``handle``), does the work it asks for (``next_job``, then ``done`` or ``failed``)
and delivers what it says. Every method that needs the time takes it as ``now``, in seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np

from actionparty.errors import ActionPartyError, InvalidInputError
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play import sandbox
from actionparty.interfaces.play.audience import Audience, Member
from actionparty.interfaces.play.history import LIMIT, History, Record
from actionparty.interfaces.play.jobs import Begin, Job, Menu, Step
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.pace import Pace
from actionparty.interfaces.play.seats import Seat, Table, seats_after
from actionparty.rollout.snapshot import Snapshot, Stepped
from actionparty.types import Observation, Scene, WorldSpec


class Room:
    """One rollout, its seats and its audience."""

    def __init__(
        self,
        name: str,
        menu: Menu,
        start: tuple[str, int, int],
        *,
        limit: int = LIMIT,
        new_token: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    ) -> None:
        """Open a room; ``start`` is a world, the number of a scene, and a seed."""
        self.name, self._menu = name, menu
        self.world, self.scene_index, self.seed = start
        scene = menu.scene(self.world, self.scene_index)
        self.spec: WorldSpec = scene.world
        self.audience = Audience(self.spec, self.seed, new_token)
        self.pace = Pace()
        self.history = History(menu.context, limit)
        self.branch = 0
        self.serial = 0
        """Counts what was shown: another number, another picture."""
        self._paused = False
        self.message: str | None = None
        self.broken = False
        self._shown: int | None = None
        """Step that a scrub shows; None shows the last."""
        self._live: Snapshot | None = None
        self._numbers = np.random.default_rng(self.seed)
        self._ticket = 0
        self._busy = False
        self._single = 0
        self._told_end = False
        self._begin: Begin | None = None
        self._seats_then: list[Seat] | None = None
        """The seats once an edit that removes subjects has begun."""
        self._ask_begin(scene, self.seed, keep=False)

    # What it shows

    @property
    def shown(self) -> Record | None:
        """The step that everybody sees; None before there is any."""
        if not len(self.history):
            return None
        return self.history[self.history.last if self._shown is None else self._shown]

    @property
    def paused(self) -> bool:
        """Whether it stands still, by wish or because the model failed."""
        return self._paused or self.broken

    @property
    def table(self) -> Table:
        """The seats."""
        return self.audience.table

    @property
    def live(self) -> Snapshot | None:
        """The rollout as it stands; None before there is any."""
        return self._live

    def status(self) -> Said:
        """Return how the room stands."""
        kept = len(self.history) > 0
        record = self.shown
        slow = self.pace.slow and not self.paused
        told = f"This machine manages {self.pace.real_hz:.1f} of {self.pace.hz:g} steps a second." if slow else None
        return Said(
            "status",
            {
                "paused": self.paused,
                "hz": self.pace.hz,
                "real_hz": round(self.pace.real_hz, 2),
                "slow": slow,
                "message": self.message or told,
                "first": self.history.first if kept else 0,
                "last": self.history.last if kept else 0,
                "branch": self.branch,
                "step": record.step if record else 0,
            },
        )

    def welcome(self, member: Member) -> Said:
        """Return everything that ``member`` must know of the room."""
        world = {
            "name": self.spec.name,
            "title": self._menu.title(self.world),
            "grid": list(self.spec.grid),
            "actions": list(self.spec.actions),
            "subjects": self.spec.subjects,
        }
        simulator = self._menu.has_simulator(self.world)
        fields = {"room": self.name, "you": member.id, "token": member.token, "world": world, "simulator": simulator}
        return Said("welcome", {**fields, **self.status().fields, **self.audience.seats_for(member.id)}, member.id)

    # Who comes and goes

    def join(self, member: int, name: str, token: str | None, now: float) -> list[Said]:
        """Let somebody in; raises as ``Audience.join``."""
        who = self.audience.join(member, name, token)
        return [self.welcome(who), *(s for s in self.audience.seats() if s.to != member)]

    def leave(self, member: int, now: float) -> list[Said]:
        """Note that a connection is gone; its seat is held for a while."""
        if not self.audience.leave(member, now):
            return []
        if not self.audience.members:
            self.pace.rest()
        return self.audience.seats()

    # What they say

    def handle(self, member: int, message: m.Message, now: float) -> list[Said]:
        """Do what a member says; what can't be done is answered with an error to that member alone."""
        try:
            return self._handle(member, message, now)
        except ActionPartyError as error:
            return [m.error("refused", str(error), member)]

    def _handle(self, member: int, message: m.Message, now: float) -> list[Said]:
        match message:
            case m.Take():
                return self.audience.take(member, message.subject)
            case m.Act() | m.Plain(type="leave" | "release"):
                return self.audience.play(member, message)
        self.audience.check_steering(member)
        match message:
            case m.SetSeat():
                return self.audience.set_seat(message)
            case m.Plain(type="pause" | "resume" | "step"):
                return self._run(message.type)
            case m.Reset():
                return self._reset(self.world, message.scene, message.seed)
            case m.ChangeWorld():
                return self._reset(message.world, message.scene, None)
            case m.Speed():
                self.pace.change(message.hz)
            case m.Travel():
                return self._travel(message)
            case m.Edit():
                return self._edit(message)
            case _:
                raise InvalidInputError(f"a room can't do {message.type!r}.")
        return [self.status()]

    def _run(self, what: str) -> list[Said]:
        self._paused = what != "resume"
        if what != "pause":
            self._show_live()
            self.broken, self.message = False, None
        self._single = self._single + 1 if what == "step" else 0
        self.pace.rest()
        return [self.status()]

    def _reset(self, world: str, scene: int | None, seed: int | None) -> list[Said]:
        index = self.scene_index if scene is None else scene
        start = self._menu.scene(world, index)
        self.world, self.scene_index = world, index
        self.seed = int(self._numbers.integers(2**31)) if seed is None else seed
        self.start_from(start)
        return [m.notice(f"{self._menu.title(world)}, scene {index}")] if world != self.spec.name else []

    def load(self, member: int, scene: Scene) -> None:
        """Start from a scene that a member brought; raise ``InvalidInputError`` where that is not theirs to do."""
        self.audience.check_steering(member)
        self.start_from(scene)

    def start_from(self, scene: Scene, *, keep: bool = False) -> None:
        """Start from ``scene`` with the room's seed; with ``keep`` after what was played, which stays in reach."""
        self.broken, self.message = False, None
        self._ask_begin(scene, self.seed, keep=keep)

    def _ask_begin(self, scene: Scene, seed: int, *, keep: bool) -> None:
        self._ticket += 1
        self._busy, self._seats_then = False, None
        self._begin = Begin(self._ticket, scene, seed, keep)

    def _travel(self, message: m.Travel) -> list[Said]:
        self.history[message.step]
        if message.type == "scrub":
            if not self.paused:
                raise InvalidInputError("pause first, then look back.")
            self._shown = message.step if message.step < self.history.last else None
            self.serial += 1
            return [self.status()]
        before = self.spec
        self.cut(message.step)
        self._paused, self.broken, self.message = False, False, None
        self.pace.rest()
        return [self.status()] if self.spec == before else self._welcomes()

    def _welcomes(self) -> list[Said]:
        return [self.welcome(member) for member in self.audience.members.values()]

    def cut(self, step: int) -> None:
        """Branch off from ``step``: what came after it is forgotten."""
        self._ticket += 1
        self._busy, self._begin, self._seats_then = False, None, None
        self.history.cut(step)
        self.branch = (self.branch + 1) % 65536
        self._shown = None
        snapshot = self.history.snapshot(step)
        if snapshot.spec != self.spec:
            self.spec = snapshot.spec
            self.table.start(self.spec, self.seed)
        self._adopt(snapshot)

    def _show_live(self) -> None:
        if self._shown is not None:
            self._shown = None
            self.serial += 1

    def _edit(self, message: m.Edit) -> list[Said]:
        record = self.shown
        if record is None or not (self.paused or record.step == 0):
            raise InvalidInputError("pause first, then edit the scene.")
        scene = self._begin.scene if self._begin else self.history.scene(record.step)
        edited = sandbox.apply(scene, message.ops, self._menu.palette(self.world))
        seats = seats_after(self._seats_then or self.table.seats, message.ops)
        if record.step < self.history.last:
            self.cut(record.step)
        self.seed = int(self._numbers.integers(2**31))
        self.start_from(edited, keep=True)
        self._seats_then = seats
        return []

    # What it needs done

    def next_time(self, now: float) -> float | None:
        """Return when to ask for a job or call ``tend`` next; None: not before something happens."""
        if self._busy:
            return None
        if self._begin or self._single:
            return now
        ticking = None if self.paused or not self.audience.members else self.pace.due(now)
        waits = [t for t in (ticking, *(s.held_until for s in self.table.seats)) if t is not None]
        return min(waits) if waits else None

    def tend(self, now: float) -> list[Said]:
        """Give up seats that were held long enough."""
        return self.audience.seats() if self.table.expire(now) else []

    def next_job(self, now: float) -> Job | None:
        """Return what the engine should do now, None where nothing is due; ``done`` or ``failed`` must follow."""
        if self._busy:
            return None
        if self._begin:
            self._busy = True
            return self._begin
        if not self._due(now) or self._live is None:
            return None
        self._busy = True
        self._single = max(0, self._single - 1)
        self.pace.started(now)
        record = self.history[self.history.last]
        seen = Observation(self._live.frame, record.states, record.rewards, False)
        return Step(self._ticket, self._live, self.table.choose(seen))

    def _due(self, now: float) -> bool:
        if self._single:
            return True
        return not self.paused and bool(self.audience.members) and now >= self.pace.due(now)

    def done(self, job: Job, result: Snapshot | Stepped, now: float) -> list[Said]:
        """Take what a job gave; one that something else has overtaken is dropped."""
        if job.ticket != self._ticket:
            return []
        self._busy = False
        if isinstance(job, Begin):
            assert isinstance(result, Snapshot)
            return self._started(job, result)
        assert isinstance(result, Stepped)
        self.history.append(result.snapshot, job.actions, result.rewards)
        self._adopt(result.snapshot)
        self.pace.finished(now)
        if result.ended and not self._told_end:
            self._told_end = True
            return [m.notice("The world holds this episode to be over; reset starts another, or just play on.")]
        return []

    def _started(self, job: Begin, snapshot: Snapshot) -> list[Said]:
        self._begin, self._told_end, self._shown = None, False, None
        self.spec = job.scene.world
        self.history.begin(job.scene, snapshot, keep=job.keep)
        if not job.keep:
            self.branch = (self.branch + 1) % 65536
        self.table.start(self.spec, job.seed, self._seats_then)
        self._seats_then = None
        self.pace.rest()
        self._adopt(snapshot)
        return self._welcomes()

    def _adopt(self, snapshot: Snapshot) -> None:
        self._live = snapshot
        self.serial += 1

    def failed(self, job: Job, error: BaseException, now: float) -> list[Said]:
        """Stop with a message that everybody sees; reset starts again, resume tries the step once more."""
        if job.ticket != self._ticket:
            return []
        self._busy, self._begin, self.broken, self._single = False, None, True, 0
        self._seats_then = None
        reason = str(error) if isinstance(error, ActionPartyError) else type(error).__name__
        self.message = f"The model failed at this step ({reason}). Resume tries it again, reset starts anew."
        return [self.status()]
