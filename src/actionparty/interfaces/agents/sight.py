"""What an agent is told of the world: a text map, subjects, rewards and events, as JSON and as text for a prompt.

Everything comes from what the room shows to everybody. Knows pictures and seats as values; no connection and no clock.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase, digits
from typing import Any

import numpy as np
from PIL import Image

from actionparty.interfaces.agents.legend import Legend
from actionparty.interfaces.play.room import Room
from actionparty.interfaces.play.seats import Seat
from actionparty.interfaces.play.wire import Picture
from actionparty.types import FACING_STEPS, FACINGS, Frame

YOU = "@"
LONG_SIDE = 768
"""Pixels to which a picture for a language model is enlarged at most."""
_SUBJECTS = digits + ascii_uppercase
_SIDES = ("ahead", "right", "behind", "left")


@dataclass(frozen=True)
class Sight:
    """One look at a room."""

    room: Room
    picture: Picture
    legend: Legend
    you: int | None
    """The subject of who looks, None for a spectator."""
    rewards: Sequence[float]
    """Of every subject since the last look."""
    events: Sequence[str]
    """Since the last look, the oldest first."""

    def to_json(self, *, image: bool = False) -> dict[str, Any]:
        """Return it as JSON-ready values; with ``image`` also the frame itself as base64 of a PNG."""
        rows = self.rows()
        subjects = self.subjects()
        told = {
            "room": self.room.name,
            "world": self.room.world,
            "step": self.picture.step,
            "branch": self.picture.branch,
            "grid": list(self.room.spec.grid),
            "you": self.you,
            "map": rows,
            "legend": [kind.to_json() for kind in self._kinds(rows)],
            "subjects": subjects,
            "around": self.around(),
            "reward": None if self.you is None else subjects[self.you]["reward"],
            "events": list(self.events),
            "actions": list(self.room.spec.actions),
            "paused": self.room.paused,
            "waits": self.room.turns.limit,
            "text": self._text(rows, subjects),
        }
        return {**told, "image": base64.b64encode(png(self.picture.frame)).decode()} if image else told

    def rows(self) -> list[str]:
        """Return the map: the symbols of the legend, ``@`` where you are, a digit or capital for another subject."""
        grid = self.legend.read(self.picture.frame)
        for i in self._order():
            x, y = self.picture.states.cells[i].tolist()
            if self.picture.states.alive[i] and 0 <= y < len(grid) and 0 <= x < len(grid[0]):
                grid[y][x] = symbol_of(i, self.you)
        return ["".join(row) for row in grid]

    def _order(self) -> list[int]:
        """All subjects, you last and so on top."""
        return sorted(range(len(self.picture.actions)), key=lambda i: i == self.you)

    def subjects(self) -> list[dict[str, Any]]:
        """Return who is where; positions of those who are gone are their last ones."""
        cells = self.picture.states.cells
        return [
            {
                "subject": i,
                "symbol": symbol_of(i, self.you),
                "x": int(cells[i, 0]),
                "y": int(cells[i, 1]),
                "facing": FACINGS[int(self.picture.states.facing[i]) % 4],
                "alive": bool(self.picture.states.alive[i]),
                "played_by": self._player(i),
                "action": self._last_action(i),
                "reward": round(float(self.rewards[i]), 3) if i < len(self.rewards) else 0.0,
            }
            for i in range(len(self.picture.actions))
        ]

    def _player(self, i: int) -> str:
        seats: list[Seat] = self.room.table.seats
        if i >= len(seats):
            return "nobody"
        return seats[i].name if seats[i].kind == "human" else seats[i].kind

    def _last_action(self, i: int) -> str | None:
        action, names = int(self.picture.actions[i]), self.room.spec.actions
        return names[action] if 0 <= action < len(names) else None

    def around(self) -> dict[str, str] | None:
        """Return the symbols of the four cells next to you, as you face; None for who is not in the world."""
        if self.you is None or not self.picture.states.alive[self.you]:
            return None
        rows = self.rows()
        x, y = self.picture.states.cells[self.you].tolist()
        facing = int(self.picture.states.facing[self.you])
        found = {}
        for turn, side in enumerate(_SIDES):
            dx, dy = FACING_STEPS[(facing + turn) % 4].tolist()
            found[side] = rows[y + dy][x + dx] if 0 <= y + dy < len(rows) and 0 <= x + dx < len(rows[0]) else "#"
        return found

    def _kinds(self, rows: list[str]) -> list[Any]:
        seen = set("".join(rows))
        return [kind for symbol, kind in self.legend.kinds.items() if symbol in seen]

    def _text(self, rows: list[str], subjects: list[dict[str, Any]]) -> str:
        lines = [f"{self.room.world}, room {self.room.name}, step {self.picture.step}. {self._about_you()}"]
        if self.room.paused:
            lines.append("The room is paused: nothing moves until somebody resumes it.")
        lines += ["", *numbered(rows), ""]
        lines.append("Legend: " + "; ".join(kind.text for kind in self._kinds(rows)) + ".")
        lines.append("Subjects: " + "; ".join(_subject_text(each, self.you) for each in subjects) + ".")
        if around := self.around():
            lines.append("Next to you: " + ", ".join(f"{side} {symbol}" for side, symbol in around.items()) + ".")
        lines.append("Since your last look: " + ("; ".join(self.events) if self.events else "no rewards") + ".")
        lines.append("Actions: " + ", ".join(self.room.spec.actions) + ".")
        return "\n".join(lines)

    def _about_you(self) -> str:
        if self.you is None:
            return "You watch."
        x, y = self.picture.states.cells[self.you].tolist()
        if not self.picture.states.alive[self.you]:
            return f"You are subject {self.you}, out of the world for now."
        facing = FACINGS[int(self.picture.states.facing[self.you])]
        return f"You are subject {self.you}, {YOU} on the map, at x={x} y={y}, facing {facing}."


def symbol_of(subject: int, you: int | None) -> str:
    """Return how a subject stands on the map."""
    return YOU if subject == you else _SUBJECTS[subject] if subject < len(_SUBJECTS) else "&"


def numbered(rows: list[str]) -> list[str]:
    """Return the map with the numbers of its columns above (tens, then units) and of its rows before it."""
    columns = range(len(rows[0]))
    tens = "".join(str(x // 10) if x % 10 == 0 else " " for x in columns)
    units = "".join(str(x % 10) for x in columns)
    return [f"   {tens}", f"   {units}", *(f"{y:2d} {row}" for y, row in enumerate(rows))]


def _subject_text(each: dict[str, Any], you: int | None) -> str:
    who = "you" if each["subject"] == you else f"played by {each['played_by']}"
    where = f"({each['x']}, {each['y']}) facing {each['facing']}" if each["alive"] else "gone"
    return f"{each['symbol']} = {each['subject']}, {who}, {where}"


def png(frame: Frame, long_side: int | None = None) -> bytes:
    """Return a frame as a PNG; with ``long_side`` enlarged by a whole factor to at most so many pixels."""
    factor = max(1, long_side // max(frame.shape[:2])) if long_side else 1
    sink = io.BytesIO()
    Image.fromarray(np.kron(frame, np.ones((factor, factor, 1), np.uint8)) if factor > 1 else frame).save(sink, "PNG")
    return sink.getvalue()
