"""What travels as text between page and server: a model of every client message, and what the server answers.

A message is valid or refused as a whole: unknown types and fields, values out of range and numbers that are not finite
never reach a room.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.ops import Op, Strict, Subject

MOST_NAME = 24
MOST_TEXT = 64_000
"""Characters of any message but one that carries a scene file."""
MOST_SCENE = 200_000
"""Characters of a scene file as base64."""
MOST_OPS = 256
MOST_STEP = 2**31
MOST_BRANCH = 2**16 - 1
MOST_SEED = 2**32 - 1
LOWEST_HZ, HIGHEST_HZ = 0.5, 30.0
MOST_PLAN = 64
"""Actions that an agent may plan ahead."""
SHORTEST_TURN, LONGEST_TURN = 0.1, 30.0
Step = Annotated[int, Field(ge=0, lt=MOST_STEP)]
Name = Annotated[str, StringConstraints(max_length=64)]


class Hello(Strict):
    """The first message: who is there; ``token`` comes from an earlier connection.

    An ``agent`` is told of the world as text when it asks, and can do without ``frames``.
    """

    type: Literal["hello"]
    name: Annotated[str, StringConstraints(max_length=MOST_NAME)]
    token: Annotated[str, StringConstraints(max_length=64)] | None = None
    agent: bool = False
    frames: bool = True


class Take(Strict):
    """Take a seat."""

    type: Literal["take"]
    subject: Subject


class Plain(Strict):
    """A message that says all by its type."""

    type: Literal["leave", "release", "pause", "resume", "step", "save_scene", "palette"]


class SetSeat(Strict):
    """Say who plays a seat that no person has."""

    type: Literal["seat"]
    subject: Subject
    kind: Literal["idle", "random", "policy"]


class Act(Strict):
    """Choose an action for the next step (``hold``: for every step until another one or a release)."""

    type: Literal["act"]
    action: Name
    hold: bool = False


class Plan(Strict):
    """Play these actions, one a step; then tell the agent what it sees."""

    type: Literal["plan"]
    actions: Annotated[list[Name], Field(min_length=1, max_length=MOST_PLAN)]
    image: bool = False


class Observe(Strict):
    """Tell the agent what it sees now."""

    type: Literal["observe"]
    image: bool = False


class Wait(Strict):
    """Wait with each step until all agents have chosen, at most so long; null: tick by the clock again."""

    type: Literal["wait"]
    seconds: Annotated[float, Field(ge=SHORTEST_TURN, le=LONGEST_TURN, strict=False)] | None


class Reset(Strict):
    """Start again, from another scene or with another seed if given."""

    type: Literal["reset"]
    scene: Annotated[int, Field(ge=0, lt=1000)] | None = None
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] | None = None


class ChangeWorld(Strict):
    """Go to another world."""

    type: Literal["world"]
    world: Name
    scene: Annotated[int, Field(ge=0, lt=1000)] = 0


class Speed(Strict):
    """Steps per second."""

    type: Literal["speed"]
    hz: Annotated[float, Field(ge=LOWEST_HZ, le=HIGHEST_HZ, strict=False)]


class Travel(Strict):
    """Show an earlier step to everybody, or branch off from it."""

    type: Literal["scrub", "fork"]
    step: Step


class ToBranch(Strict):
    """Go back to a branch that was left, to its newest step."""

    type: Literal["branch"]
    branch: Annotated[int, Field(ge=1, le=MOST_BRANCH)]


class Export(Strict):
    """Make a file of what was played."""

    type: Literal["export"]
    format: Literal["mp4", "gif", "replay"]


class Switch(Strict):
    """Look inside, or at the real simulator beside."""

    type: Literal["overlay", "check"]
    on: bool


class LoadScene(Strict):
    """Start from a scene file, base64."""

    type: Literal["load_scene"]
    data: Annotated[str, StringConstraints(max_length=MOST_SCENE)]


class Ping(Strict):
    """Asks for a pong, to measure the connection."""

    type: Literal["ping"]
    t: Annotated[float, Field(strict=False)]


class Edit(Strict):
    """Change the scene; all operations or none."""

    type: Literal["edit"]
    ops: Annotated[list[Op], Field(min_length=1, max_length=MOST_OPS)]


Message = (
    Hello
    | Take
    | Plain
    | SetSeat
    | Act
    | Plan
    | Observe
    | Wait
    | Reset
    | ChangeWorld
    | Speed
    | Travel
    | ToBranch
    | Export
    | Switch
    | LoadScene
    | Ping
    | Edit
)
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class NewRoom(BaseModel):
    """What opens a room."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    world: Name
    scene: Annotated[int, Field(ge=0, lt=1000)] = 0
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] | None = None
    saved: Name | None = None


def parse(text: str) -> Message:
    """Read a client's message.

    Raises:
        InvalidInputError: not a message of this protocol, or too long; says why in a few words.
    """
    if len(text) > MOST_TEXT + MOST_SCENE:
        raise InvalidInputError("this message is too long.")
    try:
        message = _MESSAGES.validate_json(text)
    except ValidationError as error:
        raise InvalidInputError(reason(error)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("this message is not JSON.") from error
    if len(text) > MOST_TEXT and not isinstance(message, LoadScene):
        raise InvalidInputError("this message is too long.")
    return message


def parse_room(text: bytes) -> NewRoom:
    """Read what opens a room; raise ``InvalidInputError`` where it is something else."""
    try:
        return NewRoom.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInputError(reason(error)) from error


def reason(error: ValidationError) -> str:
    """Say what is wrong without repeating what was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"])
    return f"{where}: {first['msg'][:120]}" if where else str(first["msg"][:120])


@dataclass(frozen=True)
class Said:
    """A text message of the server: its ``type`` and fields; ``to`` one member, or everybody (None)."""

    type: str
    fields: dict[str, Any] = field(default_factory=dict)
    to: int | None = None


def error(code: str, message: str, to: int) -> Said:
    """Return what tells one member what is wrong."""
    return Said("error", {"code": code, "message": message}, to)


def notice(message: str, to: int | None = None) -> Said:
    """Return something worth knowing."""
    return Said("notice", {"message": message}, to)
