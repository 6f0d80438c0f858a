"""Whatever a client sends is understood or refused: nothing crashes, and nobody moves anybody else's subject."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tests.interfaces.play.stage import SPEC, Stage

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.messages import parse, parse_room

GOOD: list[dict[str, Any]] = [
    {"type": "hello", "name": "Ann", "token": None},
    {"type": "take", "subject": 2},
    {"type": "leave"},
    {"type": "seat", "subject": 3, "kind": "random"},
    {"type": "act", "action": "forward", "hold": True},
    {"type": "act", "action": "turn_left", "hold": False},
    {"type": "release"},
    {"type": "hello", "name": "Bot", "agent": True, "frames": False},
    {"type": "plan", "actions": ["forward", "turn_left"], "image": True},
    {"type": "observe", "image": False},
    {"type": "wait", "seconds": 2},
    {"type": "wait", "seconds": None},
    {"type": "pause"},
    {"type": "resume"},
    {"type": "step"},
    {"type": "reset", "scene": 1, "seed": 5},
    {"type": "reset", "scene": None, "seed": None},
    {"type": "world", "world": "pond", "scene": 0},
    {"type": "speed", "hz": 4},
    {"type": "speed", "hz": 2.5},
    {"type": "scrub", "step": 3},
    {"type": "fork", "step": 2},
    {"type": "branch", "branch": 1},
    {"type": "branch", "branch": 2},
    {"type": "export", "format": "gif"},
    {"type": "edit", "ops": [{"op": "move", "subject": 0, "x": 1, "y": 2}, {"op": "paint", "x": 3, "y": 3, "tile": 0}]},
    {"type": "edit", "ops": [{"op": "add", "x": 4, "y": 4}]},
    {"type": "edit", "ops": [{"op": "face", "subject": 1, "facing": 3}, {"op": "remove", "subject": 1}]},
    {"type": "save_scene"},
    {"type": "load_scene", "data": "AAAA"},
    {"type": "palette"},
    {"type": "overlay", "on": True},
    {"type": "check", "on": False},
    {"type": "ping", "t": 12.5},
]
WEIRD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 255, 2**31, 2**63, -(2**70), 0.5, 1e308, "", "a", "forward", "🦀" * 30, "\u0000"),
    *("../../etc/passwd", "<script>", [], [[]], {}, {"type": "act"}, ["forward"] * 5, "x" * 300),
]


@pytest.mark.parametrize("message", GOOD, ids=[json.dumps(g)[9:40] for g in GOOD])
def test_every_message_of_the_contract_is_understood(message: dict[str, Any]) -> None:
    assert parse(json.dumps(message)).type == message["type"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "3", "{", '{"type":"fly"}', '{"type":"act","action":3}', '{"type":"take","subject":"1"}'),
        *('{"type":"take","subject":true}', '{"type":"take","subject":-1}', '{"type":"take","subject":1,"more":1}'),
        *('{"type":"speed","hz":NaN}', '{"type":"speed","hz":Infinity}', '{"type":"speed","hz":0}'),
        *('{"type":"ping","t":1e999}', '{"type":"hello","name":"' + "a" * 25 + '"}', "[" * 100_000),
        *('{"type":"edit","ops":[]}', '{"type":"edit","ops":[{"op":"add","x":300,"y":0}]}'),
        *('{"type":"branch","branch":0}', '{"type":"branch","branch":65536}', '{"type":"branch","branch":"1"}'),
        *('{"type":"branch"}', '{"type":"branch","branch":1,"step":2}'),
        *('{"type":"seat","subject":0,"kind":"human"}', '{"type":"load_scene","data":"' + "A" * 200_001 + '"}'),
        '{"type":"hello","name":"' + " " * 70_000 + '"}',
        '{"type":"pause"' + " " * 70_000 + "}",
    ],
)
def test_everything_else_is_refused_in_a_few_words(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert len(str(caught.value)) < 300
    assert "Traceback" not in str(caught.value)


def test_a_room_is_opened_by_a_whole_request_only() -> None:
    assert parse_room(b'{"world":"coins"}') == m.NewRoom(world="coins")
    for body in (b"", b"{}", b"[1]", b"\xff\xfe", b'{"world":"coins","scene":-1}', b'{"world":"coins","path":"/"}'):
        with pytest.raises(InvalidInputError):
            parse_room(body)


def mutated(rng: random.Random) -> str:
    """A random message: valid, with values or keys exchanged, cut, spliced, or no JSON at all."""
    message = json.loads(json.dumps(rng.choice(GOOD)))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        change = rng.randrange(4)
        if change == 0 and message:
            message[rng.choice(list(message))] = rng.choice(WEIRD)
        elif change == 1:
            message[rng.choice(("subject", "x", "token", "type", "on", "hold", "__class__"))] = rng.choice(WEIRD)
        elif change == 2 and len(message) > 1:
            del message[rng.choice(list(message))]
        else:
            message |= rng.choice(GOOD)
    text = json.dumps(message)
    if rng.random() < 0.15:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(("", '"', "}", "\\", "é", "0", text)) + text[at + rng.randrange(3) :]
    return text


def test_ten_thousand_messages_of_a_bad_client_move_nobody_else(stage: Stage) -> None:
    """Member 2 sends anything; member 1 holds subject 0, which only ever does what member 1 said."""
    rng = random.Random(5)
    stage.join(1, "Ann")
    stage.join(2, "Mallory")
    stage.do(1, type="take", subject=0)
    stage.do(1, type="act", action="turn_right", hold=True)
    stage.run(1)
    turn, noop = SPEC.actions.index("turn_right"), SPEC.actions.index("noop")
    understood = longest = 0
    for i in range(10_000):
        text = mutated(rng)
        try:
            message = parse(text)
        except InvalidInputError as error:
            longest = max(longest, len(str(error)))
            continue
        if isinstance(message, m.Hello | m.Ping | m.Export | m.LoadScene | m.Switch):
            continue  # not for the room
        understood += 1
        for said in stage.room.handle(2, message, stage.now):
            assert "Traceback" not in json.dumps(said.fields)
            assert said.type != "error" or said.to == 2
        seat = stage.room.table.seats[0]
        assert (seat.kind, seat.member, seat.name) == ("human", 1, "Ann")
        if i % 100 == 0:
            stage.settle()
            seat.act(turn, hold=True)
            stage.do(1, type="resume")
            stage.run(1)
            shown = stage.room.shown
            assert shown is not None
            assert int(shown.actions[0]) in (turn, noop)
            assert stage.room.message is None
    assert understood > 2000
    assert 0 < longest < 300
