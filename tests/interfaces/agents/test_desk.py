"""Agents over the playground's own WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.interfaces.play.stage import OTHER, SPEC
from tests.interfaces.play.test_server import WS, Viewer, open_room, serving, viewing


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with serving(folder) as made:
        yield made


class Agent(Viewer):
    """A program that reads text."""

    def __init__(self, socket: Any, subject: int | None = 0, **hello: Any) -> None:
        super().__init__(socket)
        self.texts.clear()
        self.subject = subject

    def say(self, **fields: Any) -> None:
        more = {"agent": True, "frames": False} if fields["type"] == "hello" else {}
        super().say(**fields, **more)
        if fields["type"] == "hello":
            super().say(type="take", subject=0)

    def ask(self, **fields: Any) -> dict[str, Any]:
        self.say(**fields)
        return self.wait_for("observation")


def test_an_agent_sees_the_world_as_text_and_gets_no_frames(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        seen = agent.ask(type="observe")
        assert (seen["you"], seen["played"], seen["world"]) == (0, None, "arena")
        assert seen["map"][seen["subjects"][0]["y"]][seen["subjects"][0]["x"]] == "@"
        assert "image" not in seen
        assert agent.ask(type="observe", image=True)["image"].startswith("iVBOR")
        later = agent.ask(type="plan", actions=["turn_left", "turn_left", "noop"])
        assert agent.kinds == []
        assert later["played"] == 3
        assert later["step"] >= seen["step"] + 3


def test_the_answer_to_a_plan_shows_exactly_what_its_last_action_led_to(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        agent.say(type="wait", seconds=20)
        step = agent.ask(type="plan", actions=["noop"])["step"]
        for actions in (["turn_left"], ["turn_right", "forward"], ["forward", "noop", "turn_left"]):
            seen = agent.ask(type="plan", actions=actions)
            assert (seen["step"], seen["subjects"][0]["action"]) == (step + len(actions), actions[-1])
            step = seen["step"]


def test_people_and_agents_share_a_room(client: TestClient) -> None:
    room = open_room(client)
    with viewing(client, room) as ann, client.websocket_connect(f"{WS}/ws/{room}") as socket:
        ann.say(type="take", subject=1)
        agent = Agent(socket)
        seen = agent.ask(type="plan", actions=["turn_left"] * 3)
        assert seen["subjects"][1]["played_by"] == "Ann"
        ann.until(lambda: ann.step >= seen["step"])
        ann.until(lambda: any(text.get("seats", [{}])[0].get("agent") for text in ann.texts))


def test_who_is_no_agent_is_told_how_to_become_one(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.say(type="observe")
        assert '"agent": true' in ann.wait_for("error")["message"]


def test_nonsense_is_refused_in_words_and_the_room_goes_on(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        for fields, code, part in (
            ({"type": "plan", "actions": ["fly"]}, "refused", "unknown action"),
            ({"type": "plan", "actions": []}, "invalid", "actions"),
            ({"type": "plan", "actions": "forward"}, "invalid", "actions"),
            ({"type": "plan", "actions": ["noop"] * 65}, "invalid", "actions"),
            ({"type": "plan", "actions": ["noop"], "speed": 9}, "invalid", "speed"),
            ({"type": "wait", "seconds": 1e9}, "invalid", "seconds"),
        ):
            agent.say(**fields)
            told = agent.wait_for("error")
            assert (told["code"], part in told["message"]) == (code, True), told
        assert agent.ask(type="plan", actions=["noop"])["played"] == 1


def test_without_a_seat_one_can_look_but_not_act(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        agent.say(type="leave")
        assert agent.ask(type="observe")["you"] is None
        agent.say(type="plan", actions=["noop"])
        assert "no seat" in agent.wait_for("error")["message"]


def test_a_second_plan_waits_for_the_answer_to_the_first(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        agent.say(type="plan", actions=["turn_left"] * 6)
        agent.say(type="plan", actions=["turn_left"])
        assert "still being played" in agent.wait_for("error")["message"]
        assert agent.wait_for("observation")["played"] == 6


def test_a_plan_ends_when_the_room_starts_anew_or_changes_its_world(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        agent = Agent(socket)
        agent.ask(type="observe")
        agent.say(type="plan", actions=["noop"] * 64)
        agent.say(type="world", world=OTHER, scene=0)
        seen = agent.wait_for("observation")
        assert seen["world"] == OTHER
        assert len(seen["subjects"]) == 2 != SPEC.subjects
        assert any("started anew" in event for event in seen["events"])
        assert agent.ask(type="plan", actions=["noop"])["played"] == 1
