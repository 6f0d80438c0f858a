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
from actionparty.interfaces.play.history import LIMIT, History
from actionparty.interfaces.play.jobs import Begin, Job, Menu, Step, Work, card, failure
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.pace import Pace
from actionparty.interfaces.play.records import Record
from actionparty.interfaces.play.seats import Table, seats_after
from actionparty.interfaces.play.timeline import Timeline
from actionparty.interfaces.play.turns import Turns
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
        self.turns = Turns()
        self.timeline = Timeline(menu.context, limit)
        self._paused = False
        self.message: str | None = None
        self.broken = False
        self._numbers = np.random.default_rng(self.seed)
        self._told_end = False
        self.work = Work()
        self.work.ask(scene, self.seed, keep=False)

    # What it shows

    @property
    def history(self) -> History:
        """What was played."""
        return self.timeline.history

    @property
    def shown(self) -> Record | None:
        """The step that everybody sees; None before there is any."""
        return self.timeline.shown

    @property
    def paused(self) -> bool:
        """Whether it stands still, by wish or because the model failed."""
        return self._paused or self.broken

    @property
    def table(self) -> Table:
        """The seats."""
        return self.audience.table

    def status(self) -> Said:
        """Return how the room stands."""
        slow = self.pace.slow and not self.paused and self.turns.limit is None
        told = f"This machine manages {self.pace.real_hz:.1f} of {self.pace.hz:g} steps a second." if slow else None
        fields = {
            "paused": self.paused,
            "hz": self.pace.hz,
            "real_hz": round(self.pace.real_hz, 2),
            "slow": slow,
            "message": self.message or told or self.turns.told,
            "waits": self.turns.limit,
        }
        return Said("status", {**fields, **self.timeline.fields()})

    def welcome(self, member: Member) -> Said:
        """Return everything that ``member`` must know of the room."""
        world = {**card(self.spec, self._menu.title(self.world)), "colours": self.timeline.colours()}
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
            case m.Act() | m.Plan() | m.Plain(type="leave" | "release"):
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
                self.turns.limit = None
                self.pace.change(message.hz)
            case m.Wait():
                self.turns.limit = message.seconds
                self.turns.rest()
            case m.Travel():
                return self._travel(message)
            case m.ToBranch():
                return self._turned(self.timeline.switch(message.branch), paused=True)
            case m.Edit():
                return self._edit(message)
            case _:
                raise InvalidInputError(f"a room can't do {message.type!r}.")
        return [self.status()]

    def _run(self, what: str) -> list[Said]:
        self._paused = what != "resume"
        if what != "pause":
            self.timeline.look_ahead()
            self.broken, self.message = False, None
            self.work.again()
        self.work.singles = self.work.singles + 1 if what == "step" else 0
        self.turns.rest()
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

    def start_from(self, scene: Scene) -> None:
        """Start anew from ``scene`` with the room's seed."""
        self.broken, self.message = False, None
        self.work.ask(scene, self.seed, keep=False)

    def _travel(self, message: m.Travel) -> list[Said]:
        if message.type == "fork":
            return self._turned(self.timeline.fork(message.step), paused=False)
        self.history[message.step]
        if not self.paused:
            raise InvalidInputError("pause first, then look back.")
        self.timeline.look(message.step)
        return [self.status()]

    def _turned(self, snapshot: Snapshot, *, paused: bool) -> list[Said]:
        """Go on from ``snapshot`` in another branch: what is being done for this one comes too late."""
        self.work.overtake()
        self.work.singles = 0
        self._paused, self.broken, self.message = paused, False, None
        self.pace.rest()
        self.turns.rest()
        if snapshot.spec == self.spec:
            return [self.status()]
        self.spec = snapshot.spec
        self.table.start(self.spec, self.seed)
        return self._welcomes()

    def _welcomes(self) -> list[Said]:
        return [self.welcome(member) for member in self.audience.members.values()]

    def _edit(self, message: m.Edit) -> list[Said]:
        record = self.shown
        if record is None or not (self.paused or record.step == 0):
            raise InvalidInputError("pause first, then edit the scene.")
        begin = self.work.begin
        scene = begin.scene if begin else self.history.scene(record.step)
        edited = sandbox.apply(scene, message.ops, self._menu.palette(self.world))
        seats = seats_after((begin and begin.seats) or self.table.seats, message.ops)
        if record.step < self.history.last:
            self._turned(self.timeline.fork(record.step), paused=True)
        self.seed = int(self._numbers.integers(2**31))
        self.broken, self.message = False, None
        self.work.ask(edited, self.seed, keep=True, seats=seats)
        return []

    # What it needs done

    def next_time(self, now: float) -> float | None:
        """Return when to ask for a job or call ``tend`` next; None: not before something happens."""
        if self.work.busy:
            return None
        started = self.timeline.live is not None
        if self.work.begin or (started and self.work.singles):
            return now
        ticking = self._step_due(now) if started and not self.paused and self.audience.members else None
        waits = [t for t in (ticking, *(s.held_until for s in self.table.seats)) if t is not None]
        return min(waits) if waits else None

    def tend(self, now: float) -> list[Said]:
        """Give up seats that were held long enough."""
        return self.audience.seats() if self.table.expire(now) else []

    def next_job(self, now: float) -> Job | None:
        """Return what the engine should do now, None where nothing is due; ``done`` or ``failed`` must follow."""
        if self.work.busy:
            return None
        if self.work.begin:
            self.work.busy = True
            return self.work.begin
        if not self._due(now) or self.timeline.live is None:
            return None
        self.work.busy = True
        self.work.singles = max(0, self.work.singles - 1)
        self.pace.started(now)
        self.turns.started(self.table.seats)
        record = self.history[self.history.last]
        live = self.timeline.live
        seen = Observation(live.frame, record.states, record.rewards, False)
        return Step(self.work.ticket, live, self.table.choose(seen))

    def _due(self, now: float) -> bool:
        if self.work.singles:
            return True
        return not self.paused and bool(self.audience.members) and now >= self._step_due(now)

    def _step_due(self, now: float) -> float:
        return max(self.pace.due(now), self.turns.due(self.table.seats, now))

    def done(self, job: Job, result: Snapshot | Stepped, now: float) -> list[Said]:
        """Take what a job gave; one that something else has overtaken is dropped."""
        if not self.work.finish(job):
            return []
        if isinstance(job, Begin):
            assert isinstance(result, Snapshot)
            return self._started(job, result)
        assert isinstance(result, Stepped)
        self.timeline.append(result.snapshot, job.actions, result.rewards)
        self.pace.finished(now)
        if result.ended and not self._told_end:
            self._told_end = True
            return [m.notice("The world holds this episode to be over; reset starts another, or just play on.")]
        return []

    def _started(self, job: Begin, snapshot: Snapshot) -> list[Said]:
        self._told_end = False
        self.spec = job.scene.world
        self.timeline.begin(job.scene, snapshot, keep=job.keep)
        self.table.start(self.spec, job.seed, job.seats)
        self.pace.rest()
        self.turns.rest()
        return self._welcomes()

    def failed(self, job: Job, error: BaseException, now: float) -> list[Said]:
        """Stop with a message that everybody sees; reset starts anew, resume tries the same once more."""
        if not self.work.fail(job):
            return []
        self.broken, self.message = True, failure(job, error)
        return [self.status()]
