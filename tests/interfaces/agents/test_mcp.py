"""MCP as agents speak it: the SDK's own client, real servers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interfaces.agents.serving import COMMAND, ENVIRONMENT, ROOT, Playground, example
from tests.interfaces.play.stage import WORLD
from tests.interfaces.play.test_live_server import watch

from actionparty.interfaces.agents.stdio import endpoint

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters

Call = Callable[..., Awaitable[Any]]
TOOLS = {"list_worlds", "list_rooms", "open_room", "take_seat", "look", "act", "wait_for_agents", "reset", "leave"}


def with_client(server: Any, story: Callable[[Client, Call], Awaitable[None]], mode: str = "auto") -> None:
    """Run ``story`` with a connected client and a way to call tools that fails where a tool does."""

    async def told() -> None:
        async with Client(server, mode=mode) as client:

            async def call(name: str, /, **arguments: Any) -> Any:
                answer = await client.call_tool(name, arguments)
                assert not answer.is_error, answer.content
                return answer.structured_content

            await story(client, call)

    asyncio.run(asyncio.wait_for(told(), 60))


def stdio(*more: str) -> StdioServerParameters:
    return StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "mcp", *more], env=ENVIRONMENT)


async def collect(call: Call, room: str, subject: int = 0) -> tuple[float, list[str]]:
    """Walk to what lies around until it gave a reward; returns it and the events."""
    seen = await call("take_seat", room=room, subject=subject, name="Claude", wait_seconds=20)
    seat, got, events = seen["seat"], 0.0, list(seen["events"])
    for _ in range(8):
        seen = await call("act", seat=seat, actions=example("agent_client").route(seen))
        got += max(0.0, seen["reward"])
        events += seen["events"]
        if got > 0.5:
            break
    await call("leave", seat=seat)
    return got, events


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_takes_a_seat_and_collects_a_coin(coins: Playground, mode: str) -> None:
    async def story(client: Client, call: Call) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        room = (await call("open_room", world="coins", scene=2, seed=1))["room"]
        assert room in [each["room"] for each in coins.get("/api/rooms")]
        got, events = await collect(call, room)
        assert got > 0.5
        assert any("you received" in event for event in events)

    with_client(coins.mcp, story, mode)


def test_a_client_over_stdio_plays_in_the_rooms_of_a_running_playground(coins: Playground) -> None:
    room = coins.room()

    async def story(client: Client, call: Call) -> None:
        got, _ = await collect(call, room)
        assert got > 0.5
        answer = await client.call_tool("act", {"seat": "nonsense", "actions": ["forward"]})
        assert answer.is_error
        assert "take a seat" in answer.content[0].text  # type: ignore[union-attr]

    with_client(stdio("--url", coins.link), story)


def test_stdio_without_a_playground_starts_one_that_people_can_join() -> None:
    async def story(client: Client, call: Call) -> None:
        room = (await call("open_room", world="coins", scene=2, seed=1))["room"]
        got, _ = await collect(call, room)
        assert got > 0.5

    with_client(stdio("--world", "coins", "--checkpoint", "starter"), story)


def test_what_comes_is_text_a_picture_and_data(coins: Playground) -> None:
    async def story(client: Client, call: Call) -> None:
        seat = (await call("take_seat", room=coins.room()))["seat"]
        answer = await client.call_tool("look", {"seat": seat})
        text, picture = answer.content
        assert "Legend: ." in text.text  # type: ignore[union-attr]
        assert picture.mime_type == "image/png"  # type: ignore[union-attr]
        assert answer.structured_content is not None
        assert answer.structured_content["map"][3] in text.text  # type: ignore[union-attr]
        await call("leave", seat=seat)

    with_client(coins.mcp, story)


def test_people_see_the_agent_and_who_goes_silent_stops_nobody(coins: Playground) -> None:
    """An agent sits down and is never heard of again; the person beside it plays on, and sees it stand still."""
    room = coins.room()

    async def story(client: Client, call: Call) -> None:
        await call("take_seat", room=room, subject=1, name="Sleepy")

    with coins.watching(room) as ann:
        ann.send('{"type":"take","subject":0}')
        with_client(coins.mcp, story)
        steps = max(watch(ann, 1))
        seen = watch(ann, steps + 8)
        noop = 0
        assert [seen[step].subjects[1][4] for step in sorted(seen)[-6:]] == [noop] * 6
        listed = [each for each in coins.get("/api/rooms") if each["room"] == room]
        assert listed[0]["seats_free"] == 0


def test_a_wrong_key_is_refused_and_the_right_one_opens(folder: Path) -> None:
    with Playground("--checkpoint", str(folder), key="opensesame").running() as closed:
        bare = f"http://127.0.0.1:{closed.port}/mcp"
        for address, headers, status in (
            (bare, {}, 403),
            (f"{bare}?key=opensesamo", {}, 403),
            (bare, {"authorization": "Bearer opensesamo"}, 403),
            (closed.mcp, {"origin": "http://elsewhere.example"}, 403),
            (closed.mcp, {}, 400),
            (bare, {"authorization": "Bearer opensesame"}, 400),
        ):
            assert status_of(address, {**headers, "content-type": "application/json"}) == status, (address, headers)

        async def story(client: Client, call: Call) -> None:
            assert (await call("list_worlds"))["worlds"][0]["name"] == WORLD

        with_client(closed.mcp, story)
        told = subprocess.run(
            [*COMMAND, "mcp", "--url", f"{closed.link}x"], capture_output=True, text=True, env=ENVIRONMENT, input=""
        )
        assert (told.returncode, "wrong key" in told.stderr) == (2, True), told.stderr


def test_a_request_under_another_name_or_that_is_no_post_is_refused(coins: Playground) -> None:
    assert status_of(coins.mcp, {"host": "evil.example"}) == 403
    assert status_of(coins.mcp, {}, method="GET") == 405
    assert status_of(coins.mcp, {"content-type": "application/json"}, body=b"x" * 100_000) == 413


def status_of(address: str, headers: dict[str, str], method: str = "POST", body: bytes = b'{"nonsense') -> int:
    accept = {"accept": "application/json, text/event-stream"}
    request = urllib.request.Request(address, body if method == "POST" else None, {**accept, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_nonsense_over_http_leaves_the_server_as_it_was(coins: Playground) -> None:
    for body in (b"", b"[]", b"null", b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":7}', b"\xff\xfe"):
        assert 400 <= status_of(coins.mcp, {"content-type": "application/json"}, body=body) < 500

    async def story(client: Client, call: Call) -> None:
        for name, arguments, part in (
            ("act", {"seat": 7, "actions": {}}, "seat"),
            ("act", {}, "Field required"),
            ("take_seat", {"room": "x" * 60}, "no room"),
            ("take_seat", {"room": "x" * 9000}, "room"),
            ("fly", {}, "unknown tool"),
        ):
            answer = await client.call_tool(name, arguments)
            assert answer.is_error
            assert part in answer.content[0].text  # type: ignore[union-attr]
        assert (await call("list_worlds"))["worlds"]

    with_client(coins.mcp, story)


@pytest.mark.parametrize(
    ("link", "key", "address"),
    [
        ("http://localhost:8765/", None, "http://localhost:8765/mcp"),
        ("localhost:8765", None, "http://localhost:8765/mcp"),
        ("http://10.0.0.7:8765/?key=open-sesame", None, "http://10.0.0.7:8765/mcp?key=open-sesame"),
        ("https://play.example/?room=abc&key=k1", None, "https://play.example/mcp?key=k1"),
        ("http://[::1]:8765/mcp", "other", "http://[::1]:8765/mcp?key=other"),
    ],
)
def test_every_link_that_a_playground_prints_leads_to_its_endpoint(link: str, key: str | None, address: str) -> None:
    assert endpoint(link, key) == address


@pytest.mark.parametrize(
    ("url", "part"), [("http://127.0.0.1:1/", "no playground answers"), ("gopher://x", "no address of a playground")]
)
def test_a_link_that_leads_nowhere_is_one_clear_line(url: str, part: str) -> None:
    told = subprocess.run([*COMMAND, "mcp", "--url", url], capture_output=True, text=True, env=ENVIRONMENT, input="")
    assert told.returncode == 2
    assert part in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""


def test_without_the_sdk_the_playground_runs_and_says_how_to_install_it(folder: Path) -> None:
    """A Python in which `mcp` can't be imported: the rest works, /mcp and the command name the extra."""
    script = (
        "import sys; sys.modules['mcp'] = None\n"
        "from pathlib import Path\n"
        "from starlette.testclient import TestClient\n"
        "from tests.interfaces.play.test_server import serving\n"
        f"with serving(Path({str(folder)!r})) as client:\n"
        "    assert client.get('/api/worlds').status_code == 200\n"
        "    answer = client.post('/mcp', json={})\n"
        "    print(answer.status_code, answer.json()['message'])\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert told.stdout.startswith("501"), told.stderr
    assert "pip install 'actionparty[agents]'" in told.stdout


def test_the_tools_say_what_their_arguments_are(coins: Playground) -> None:
    async def story(client: Client, call: Call) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["act"].input_schema["properties"]["actions"]["type"] == "array"
        assert tools["act"].input_schema["required"] == ["seat", "actions"]
        assert all(tool.description for tool in tools.values())
        assert len(json.dumps([tool.input_schema for tool in tools.values()])) < 6000

    with_client(coins.mcp, story)
