"""What an agent can do, as tools with checked arguments: rooms, seats, looking, acting. Knows no MCP and no HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from actionparty.errors import InvalidInputError, unknown_name
from actionparty.interfaces.agents.eyes import Eyes
from actionparty.interfaces.agents.guests import Guests
from actionparty.interfaces.agents.sight import LONG_SIDE, png
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.ops import Subject

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """What a tool answers: text for a language model, the same as data for a program, and a picture where asked for."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    """A PNG."""


def _listed(value: Any) -> Any:
    """Take a list that a language model wrote as text (``forward, forward`` or JSON) for the list that it means."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.lstrip().startswith("[") else value.replace(",", " ").split()
    except ValueError:
        return value


Seat = Annotated[str, StringConstraints(max_length=64), Field(description="The seat token that take_seat gave you.")]
Actions = Annotated[
    list[m.Name],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=m.MOST_PLAN, description="Names of actions, one is played in each step."),
]
Scene = Annotated[int, Field(ge=0, lt=1000)]
Seed = Annotated[int, Field(ge=0, le=m.MOST_SEED)]
Seconds = Annotated[float, Field(ge=m.SHORTEST_TURN, le=m.LONGEST_TURN)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Nothing(_Arguments):
    """No arguments."""


class OpenRoom(_Arguments):
    """Arguments of ``open_room``."""

    world: Annotated[m.Name, Field(description="A name from list_worlds.")]
    scene: Annotated[Scene, Field(description="Which of the world's starting points.")] = 0
    seed: Annotated[Seed | None, Field(description="The same seed and actions give the same frames.")] = None


class TakeSeat(_Arguments):
    """Arguments of ``take_seat``."""

    room: Annotated[m.Name, Field(description="A name from list_rooms or open_room.")]
    subject: Annotated[Subject | None, Field(description="Which subject; without it the first free one.")] = None
    name: Annotated[m.Name, Field(description="How others see you.")] = "agent"
    wait_seconds: Annotated[
        Seconds | None,
        Field(description="Let each step of the room wait so long for agents; without it the room keeps its tick."),
    ] = None


class Look(_Arguments):
    """Arguments of ``look``."""

    seat: Seat
    image: Annotated[bool, Field(description="Whether to add the frame as a picture.")] = True


class Act(_Arguments):
    """Arguments of ``act``."""

    seat: Seat
    actions: Actions
    repeat: Annotated[int, Field(ge=1, le=m.MOST_PLAN, description="Play the whole list so often.")] = 1
    image: Annotated[bool, Field(description="Whether to add the frame as a picture.")] = False


class WaitForAgents(_Arguments):
    """Arguments of ``wait_for_agents``."""

    seat: Seat
    seconds: Annotated[Seconds | None, Field(description="At most so long in each step; null: by the clock again.")]


class ResetRoom(_Arguments):
    """Arguments of ``reset``."""

    seat: Seat
    scene: Scene | None = None
    seed: Seed | None = None


class Leave(_Arguments):
    """Arguments of ``leave``."""

    seat: Seat


@dataclass(frozen=True)
class Tool:
    """One thing that an agent can do."""

    name: str
    about: str
    arguments: type[BaseModel]
    run: Callable[[Any], Awaitable[Answer]]
    reads_only: bool = False


class Tools:
    """The tools of a server."""

    def __init__(self, guests: Guests) -> None:
        self._guests, self._hub = guests, guests.hub
        self.table = {tool.name: tool for tool in self._all()}

    async def call(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Do what ``name`` does.

        Raises:
            ActionPartyError: no such tool, wrong arguments, or it can't be done; the message says why.
        """
        tool = self.table.get(name)
        if tool is None:
            raise unknown_name("tool", name[:64], self.table)
        return await tool.run(_checked(tool, arguments))

    def _all(self) -> list[Tool]:
        return [
            Tool("list_worlds", "List the worlds that can be played, with their actions.", Nothing, self._worlds, True),
            Tool("list_rooms", "List the open rooms and who sits where.", Nothing, self._rooms, True),
            Tool("open_room", "Open a room in a world. Others can join it too.", OpenRoom, self._open),
            Tool("take_seat", _TAKE, TakeSeat, self._take),
            Tool(
                "look",
                "See the world: a text map, subjects, rewards and events since your last look.",
                Look,
                self._look,
            ),
            Tool("act", _ACT, Act, self._act),
            Tool("wait_for_agents", _WAIT, WaitForAgents, self._wait),
            Tool("reset", "Start the room again, from another scene or with another seed.", ResetRoom, self._reset),
            Tool("leave", "Give up your seat; a policy plays it from then on.", Leave, self._leave),
        ]

    # Rooms

    async def _worlds(self, _: Nothing) -> Answer:
        cards = self._hub.menu.cards()
        lines = [
            f"{c['name']} ({c['title']}): {c['subjects']} subjects, {c['grid'][1]} x {c['grid'][0]} cells, "
            f"{c['scenes']} scenes{', experimental' if c['experimental'] else ''}; actions: {', '.join(c['actions'])}"
            for c in cards
        ]
        return Answer("\n".join(lines), {"worlds": cards})

    async def _rooms(self, _: Nothing) -> Answer:
        rooms = [{**each, **self._places(each["room"])} for each in self._hub.listing()]
        lines = [f"{r['room']}: {r['world']}, {r['people']} here, free subjects: {r['free'] or 'none'}" for r in rooms]
        return Answer("\n".join(lines) or "No room is open: open_room opens one.", {"rooms": rooms})

    def _places(self, room: str) -> dict[str, Any]:
        seats = self._hub.rooms[room].room.table.seats
        return {
            "free": [seat.subject for seat in seats if seat.kind != "human"],
            "seats": [{"subject": s.subject, "kind": s.kind, "name": s.name, "agent": s.agent} for s in seats],
        }

    async def _open(self, wanted: OpenRoom) -> Answer:
        room = await self._hub.open(m.NewRoom(world=wanted.world, scene=wanted.scene, seed=wanted.seed))
        return Answer(f"Room {room} is open: take_seat next.", {"room": room})

    # Seats

    async def _take(self, wanted: TakeSeat) -> Answer:
        guest = self._guests.seat(wanted.room, wanted.subject, wanted.name)
        try:
            with self._entered(guest.token) as eyes:
                if wanted.wait_seconds is not None:
                    eyes.ask(m.Wait(type="wait", seconds=wanted.wait_seconds))
                seen = await self._seen(eyes, image=True)
        except BaseException:  # also where the client breaks off: nobody knows the token
            self._guests.leave(guest)
            raise
        silent = f"after {self._guests.silent_seconds:g} s without a call"
        text = f'Your seat token is "{guest.token}". It is given up {silent}.\n{_RULES}\n\n{seen.text}'
        return Answer(text, {"seat": guest.token, **seen.data}, seen.picture)

    async def _look(self, wanted: Look) -> Answer:
        with self._entered(wanted.seat) as eyes:
            return await self._seen(eyes, image=wanted.image)

    async def _act(self, wanted: Act) -> Answer:
        actions = list(wanted.actions) * wanted.repeat
        if len(actions) > m.MOST_PLAN:
            raise InvalidInputError(f"{len(actions)} steps in one call; at most {m.MOST_PLAN}: act again after them.")
        with self._entered(wanted.seat) as eyes:
            played = await eyes.play(actions)
            seen = await self._seen(eyes, image=wanted.image)
        return Answer(
            f"{played} of {len(actions)} steps played.\n{seen.text}", {"played": played, **seen.data}, seen.picture
        )

    async def _wait(self, wanted: WaitForAgents) -> Answer:
        with self._entered(wanted.seat) as eyes:
            eyes.ask(m.Wait(type="wait", seconds=wanted.seconds))
        if wanted.seconds is None:
            return Answer("The room keeps its tick again.")
        return Answer(f"Each step now waits up to {wanted.seconds:g} s for every agent; who is late plays noop.")

    async def _reset(self, wanted: ResetRoom) -> Answer:
        with self._entered(wanted.seat) as eyes:
            await eyes.restart(m.Reset(type="reset", scene=wanted.scene, seed=wanted.seed))
            return await self._seen(eyes, image=False)

    async def _leave(self, wanted: Leave) -> Answer:
        guest = self._guests.enter(wanted.seat)
        self._guests.leave(guest)
        self._guests.done(guest)
        return Answer("You left; a policy plays your subject now.")

    @contextmanager
    def _entered(self, token: str) -> Iterator[Eyes]:
        guest = self._guests.enter(token)
        try:
            yield guest.eyes
        finally:
            self._guests.done(guest)

    async def _seen(self, eyes: Eyes, *, image: bool) -> Answer:
        sight = await eyes.look(self._guests.desk.legends.of(eyes.live.room.world))
        data = sight.to_json()
        return Answer(data.pop("text"), data, png(sight.picture.frame, LONG_SIDE) if image else None)


def _checked(tool: Tool, arguments: dict[str, Any]) -> BaseModel:
    try:
        return tool.arguments.model_validate(arguments)
    except ValidationError as error:
        raise InvalidInputError(f"{tool.name}: {m.reason(error)}") from error


_RULES = (
    "Moves are relative to your facing: forward goes where you face, turn_left and turn_right turn you by a quarter; "
    "x grows to the east, y to the south, N is up. Nobody is told what the world rewards: find out."
)
_TAKE = (
    "Take a seat in a room: you play one subject from now on. Answers with a seat token for the other tools, and with "
    "what you see. The room ticks 8 times a second, and you play noop while you don't act; wait_seconds lets it wait."
)
_LOOK = "See the world: a text map, the subjects, rewards and events since your last look."
_ACT = (
    "Play actions, one in each step, and see what they led to. For example actions=['turn_left', 'forward'], "
    "or actions=['forward'] repeat=5. At most 64 steps in one call. The answer comes after the last of them."
)
_WAIT = (
    "Let each step of the room wait until every agent has chosen, at most so many seconds (then the late ones play "
    "noop); null lets it tick by the clock again. Who misses three turns in a row is not waited for until it acts."
)
