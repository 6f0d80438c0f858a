"""The tools of agents in this process: seats without connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interfaces.play.stage import OTHER, SPEC, WORLD, make_engine

from actionparty.config import RolloutConfig
from actionparty.errors import ActionPartyError, InvalidInputError
from actionparty.interfaces.agents import eyes as eyes_module
from actionparty.interfaces.agents import guests as guests_module
from actionparty.interfaces.agents.eyes import Eyes
from actionparty.interfaces.agents.guests import Guests
from actionparty.interfaces.agents.tools import Answer, Tools
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.hub import Hub
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.services import Services


class House:
    """A hub, its tools, and no server."""

    def __init__(self, hub: Hub, silent_seconds: float) -> None:
        self.hub = hub
        self.guests = Guests(hub, hub.desk, silent_seconds)
        self.tools = Tools(self.guests)

    async def do(self, name: str, /, **arguments: Any) -> Answer:
        return await self.tools.call(name, arguments)

    async def room(self, world: str = WORLD) -> str:
        return str((await self.do("open_room", world=world, seed=3)).data["room"])

    async def seat(self, room: str, **more: Any) -> str:
        return str((await self.do("take_seat", room=room, **more)).data["seat"])

    async def refusal(self, name: str, /, **arguments: Any) -> str:
        with pytest.raises(ActionPartyError) as told:
            await self.do(name, **arguments)
        return str(told.value)


@pytest.fixture
def house(folder: Path) -> Callable[..., None]:
    """Runs a test's coroutine in a house of its own."""

    def run(story: Callable[[House], Awaitable[None]], silent_seconds: float = 60) -> None:
        async def lived() -> None:
            menu, engine = ShippedMenu(folder), make_engine(folder)
            hub = Hub(menu, engine, Services(menu, RolloutConfig(), exact=True))
            made = House(hub, silent_seconds)
            try:
                await story(made)
            finally:
                made.guests.close()
                await hub.close()
                engine.close()

        asyncio.run(asyncio.wait_for(lived(), 60))

    return run


def test_rooms_and_seats_are_listed_as_they_are_taken(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        assert "open_room" in (await h.do("list_rooms")).text
        worlds = (await h.do("list_worlds")).data["worlds"]
        assert [w["name"] for w in worlds] == [WORLD, OTHER]
        room = await h.room()
        await h.seat(room, name="Claude", subject=1)
        (listed,) = (await h.do("list_rooms")).data["rooms"]
        assert listed["free"] == [0, *range(2, SPEC.subjects)]
        assert listed["seats"][1] == {"subject": 1, "kind": "human", "name": "Claude", "agent": True}

    house(story)


def test_acting_moves_the_own_subject_and_answers_after_the_last_step(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        seat = await h.seat(await h.room(), wait_seconds=20)
        done = await h.do("act", seat=seat, actions=["turn_left", "noop"], repeat=3, image=True)
        assert (done.data["played"], done.data["step"], done.data["subjects"][0]["action"]) == (6, 6, "noop")
        assert done.text.startswith("6 of 6 steps played.")
        assert done.picture is not None
        assert done.picture.startswith(b"\x89PNG")
        assert (await h.do("look", seat=seat, image=False)).picture is None

    house(story)


def test_a_list_that_a_model_wrote_as_text_is_understood(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        seat = await h.seat(await h.room(), wait_seconds=20)
        for written in ('["turn_left", "noop"]', "turn_left, noop", "turn_left noop"):
            assert (await h.do("act", seat=seat, actions=written)).data["played"] == 2

    house(story)


def test_a_silent_agent_plays_noop_then_loses_its_seat_and_the_room_goes_on(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        room = await h.room()
        live = h.hub.rooms[room]
        watcher = Client(h.hub.new_number())
        live.join(watcher, m.Hello(type="hello", name="Ann"))
        seat = await h.seat(room, wait_seconds=0.1)
        assert live.room.table.seats[0].kind == "human"
        before = live.ticks
        while live.room.table.seats[0].kind == "human":
            await asyncio.sleep(0.02)
        assert live.ticks - before >= 3
        played = live.room.history[live.room.history.last - 1].actions[0]
        assert SPEC.actions[int(played)] == "noop"
        assert live.room.table.seats[0].kind == "policy"
        after = live.ticks
        while live.ticks < after + 3:
            await asyncio.sleep(0.02)
        assert "silence" in await h.refusal("act", seat=seat, actions=["forward"])
        assert len(h.guests) == 0

    house(story, silent_seconds=1.0)


def test_an_agent_that_is_at_it_is_not_silent(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        seat = await h.seat(await h.room())
        done = await h.do("act", seat=seat, actions=["noop"] * 10)
        assert done.data["played"] == 10
        assert (await h.do("look", seat=seat)).data["you"] == 0

    house(story, silent_seconds=0.6)


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("act", {"seat": "?", "actions": ["fly"]}, "unknown action"),
        ("act", {"seat": "?", "actions": []}, "actions"),
        ("act", {"seat": "?", "actions": 7}, "actions"),
        ("act", {"seat": "?", "actions": ["noop"], "repeat": 0}, "repeat"),
        ("act", {"seat": "?", "actions": ["noop"] * 10, "repeat": 10}, "at most 64"),
        ("act", {"actions": ["noop"]}, "seat"),
        ("act", {"seat": "nobody", "actions": ["noop"]}, "take a seat"),
        ("look", {"seat": "?", "zoom": 3}, "zoom"),
        ("take_seat", {"room": "nowhere"}, "no room"),
        ("take_seat", {"room": "?", "subject": 40}, "no subject 40"),
        ("take_seat", {"room": "?", "subject": 0}, "agent plays subject 0"),
        ("take_seat", {"room": "?", "wait_seconds": 4000}, "wait_seconds"),
        ("open_room", {"world": "arenaa"}, "arena"),
        ("open_room", {"world": WORLD, "scene": 77}, "scenes 0 to"),
        ("wait_for_agents", {"seat": "?", "seconds": "long"}, "seconds"),
        ("fly", {}, "unknown tool"),
    ],
)
def test_nonsense_is_answered_in_words_and_the_room_goes_on(
    house: Callable[..., None], name: str, arguments: dict[str, Any], part: str
) -> None:
    async def story(h: House) -> None:
        room = await h.room()
        seat = await h.seat(room)
        known = {"seat": seat, "room": room}
        filled = {key: known[key] if value == "?" else value for key, value in arguments.items()}
        assert part in await h.refusal(name, **filled)
        assert (await h.do("act", seat=seat, actions=["noop"])).data["played"] == 1
        assert len(h.guests) == 1

    house(story)


def test_a_paused_room_says_so_and_what_was_planned_is_given_up(
    house: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(h: House) -> None:
        room = await h.room()
        seat = await h.seat(room)
        live = h.hub.rooms[room]
        eyes = h.guests._guests[seat].eyes
        eyes.ask(m.Plain(type="pause"))
        assert await eyes.play(["forward"], seconds=0.3) == 0
        told = await h.do("look", seat=seat)
        assert "given up" in told.text
        assert "The room is paused" in told.text
        assert not live.room.table.seats[0].plan

    house(story)


def test_leaving_frees_the_seat_and_the_token_is_void(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        room = await h.room()
        seat = await h.seat(room)
        await h.do("leave", seat=seat)
        assert h.hub.rooms[room].room.table.seats[0].kind == "policy"
        assert h.hub.listing()[0]["people"] == 0
        assert "you left" in await h.refusal("look", seat=seat)
        await h.seat(room, subject=0)

    house(story)


@pytest.mark.parametrize("breaks_off", [False, True])
def test_a_seat_whose_first_look_fails_is_free_at_once(
    house: Callable[..., None], monkeypatch: pytest.MonkeyPatch, breaks_off: bool
) -> None:
    async def story(h: House) -> None:
        room = await h.room()
        seat = h.hub.rooms[room].room.table.seats[0]
        with monkeypatch.context() as blind:
            blind.setattr(Eyes, "see", lambda *_: None)
            blind.setattr(eyes_module, "FIRST_SECONDS", 30 if breaks_off else 0.2)
            asked = asyncio.create_task(h.do("take_seat", room=room, subject=0))
            while seat.kind != "human":
                await asyncio.sleep(0.01)
            if breaks_off:
                asked.cancel()
            with pytest.raises(asyncio.CancelledError if breaks_off else InvalidInputError):
                await asked
        assert (len(h.guests), h.hub.listing()[0]["people"], seat.kind) == (0, 0, "policy")
        await h.seat(room, subject=0)

    house(story)


def test_a_closed_room_is_told_and_seats_and_agents_are_limited(
    house: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(h: House) -> None:
        room = await h.room(OTHER)
        first, second = await h.seat(room), await h.seat(room)
        assert "all seats" in await h.refusal("take_seat", room=room)
        monkeypatch.setattr(guests_module, "MOST_GUESTS", 2)
        assert "agents are here already" in await h.refusal("take_seat", room=room)
        await h.hub.drop(room, "the server is tired")
        for seat in (first, second):
            assert "the server is tired" in await h.refusal("look", seat=seat)
        assert len(h.guests) == 0

    house(story)


def test_too_many_calls_are_refused_for_a_while(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        seat = await h.seat(await h.room())
        calls = [h.do("look", seat=seat, image=False) for _ in range(200)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, ActionPartyError)]
        assert 100 < len(refused) < 200
        assert all("too many calls" in str(each) for each in refused)
        await asyncio.sleep(0.2)
        await h.do("look", seat=seat, image=False)

    house(story)


def test_reset_starts_another_scene_and_the_seat_stays(house: Callable[..., None]) -> None:
    async def story(h: House) -> None:
        seat = await h.seat(await h.room(), wait_seconds=20)
        await h.do("act", seat=seat, actions=["noop"] * 3)
        again = await h.do("reset", seat=seat, scene=1, seed=5)
        assert (again.data["step"], again.data["you"]) == (0, 0)
        assert (await h.do("act", seat=seat, actions=["noop"])).data["step"] == 1

    house(story)
