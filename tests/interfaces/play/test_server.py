"""The server in this process, spoken to as by a page."""

from __future__ import annotations

import base64
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from tests.interfaces.play.stage import OTHER, SCENES, SPEC, WORLD, make_engine
from tests.interfaces.play.test_messages import mutated

from actionparty.interfaces.play import hub as hub_module
from actionparty.interfaces.play import live as live_module
from actionparty.interfaces.play import previews
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.limits import Bucket, Door, Limits
from actionparty.interfaces.play.live import LiveRoom
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.replay import read
from actionparty.interfaces.play.server import CSP, Page, make_app
from actionparty.interfaces.play.wire import decode
from actionparty.types import Frame

BASE, WS = "http://localhost", "ws://localhost"
ELSEWHERE = {"x-from": "192.0.2.9"}
Client = TestClient


class Viewer:
    """A page: what it was told and what it sees."""

    def __init__(self, socket: WebSocketTestSession, name: str = "Ann", token: str | None = None) -> None:
        self.socket = socket
        self.texts: list[dict[str, Any]] = []
        self.frame: Frame | None = None
        self.step = -1
        self.kinds: list[int] = []
        self.say(type="hello", name=name, token=token)

    def say(self, **fields: Any) -> None:
        self.socket.send_text(json.dumps(fields))

    def next(self) -> None:
        event = self.socket.receive()
        if event["type"] == "websocket.close":
            raise WebSocketDisconnect(event["code"], event.get("reason"))
        if event.get("bytes") is not None:
            told = decode(event["bytes"], self.frame if event["bytes"][0] < 3 else None)
            self.frame, self.step = told.frame, told.step
            self.kinds.append(told.kind)
        else:
            self.texts.append(json.loads(event["text"]))

    def until(self, wanted: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < end, f"it never came; last: {self.texts[-3:]}, step {self.step}"
            self.next()

    def wait_for(self, kind: str) -> dict[str, Any]:
        start = len(self.texts)
        self.until(lambda: any(text["type"] == kind for text in self.texts[start:]))
        return next(text for text in self.texts[start:] if text["type"] == kind)


@contextmanager
def serving(
    folder: Path, key: str | None = None, engine: Engine | None = None, limits: Limits | None = None
) -> Iterator[TestClient]:
    made = engine or make_engine(folder)
    app = make_app(ShippedMenu(folder), made, door=Door(key), limits=limits)
    with TestClient(from_where(app), base_url=BASE) as client:
        yield client
    made.close()


def from_where(app: ASGIApp) -> ASGIApp:
    """Let a header of the test say from which address a request comes."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        if address := dict(scope.get("headers", ())).get(b"x-from"):
            scope["client"] = (address.decode(), 1)
        await app(scope, receive, send)

    return told


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with serving(folder) as made:
        yield made


def open_room(client: TestClient, world: str = WORLD, **more: Any) -> str:
    answer = client.post("/api/rooms", json={"world": world, "scene": 0, "seed": 3, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["room"])


@contextmanager
def viewing(
    client: TestClient, room: str, name: str = "Ann", token: str | None = None, headers: dict[str, str] | None = None
) -> Iterator[Viewer]:
    with client.websocket_connect(f"{WS}/ws/{room}", headers=headers or {}) as socket:
        yield Viewer(socket, name, token)


def test_the_gallery_lists_what_can_be_played(client: TestClient) -> None:
    arena, pond = client.get("/api/worlds").json()
    assert (arena["name"], arena["scenes"], arena["actions"]) == (WORLD, SCENES, list(SPEC.actions))
    assert (pond["name"], pond["grid"], pond["subjects"]) == (OTHER, [6, 7], 2)
    picture = client.get(f"/api/worlds/{WORLD}/1.png")
    assert picture.headers["content-type"] == "image/png"
    for path in (f"/api/worlds/{WORLD}/99.png", "/api/worlds/nothing/0.png", "/api/worlds/..%2f..%2fetc/0.png"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "message" in answer.json()


def test_a_room_that_is_played_has_a_live_picture(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "STILL_SECONDS", 0.0)
    room = open_room(client)

    def still() -> Frame:
        answer = client.get(f"/api/rooms/{room}.png")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"
        return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))

    with viewing(client, room) as ann:
        ann.until(lambda: ann.step >= 1)
        first = still()
        ann.until(lambda: ann.step >= 6)
        ann.say(type="pause")
        ann.until(lambda: ann.texts[-1].get("paused") is True)
        assert np.array_equal(still(), ann.frame)  # type: ignore[arg-type]
        assert not np.array_equal(still(), first)
        ann.say(type="scrub", step=2)
        ann.until(lambda: ann.step == 2)
        assert np.array_equal(still(), ann.frame), "it is what everybody sees"  # type: ignore[arg-type]
        monkeypatch.setattr(live_module, "STILL_SECONDS", 3600.0)
        kept = still()
        ann.say(type="scrub", step=5)
        ann.until(lambda: ann.step == 5)
        assert np.array_equal(still(), kept), "however many ask, it is made once in a while"
    monkeypatch.setattr(LiveRoom, "still", lambda self: None)
    assert client.get(f"/api/rooms/{room}.png").status_code == 204, "before there is any"
    assert client.get("/api/rooms/nothing.png").status_code == 404
    assert client.get("/api/rooms/..%2fnothing.png").status_code == 404


def wait_for_film(client: TestClient, world: str) -> Any:
    end = time.monotonic() + 20
    while (answer := client.get(f"/api/worlds/{world}/film.png")).status_code == 202:
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer


def test_films_of_worlds_are_generated_once_while_nobody_plays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "QUIET_SECONDS", 0.02)
    counting = Counting(make_engine(folder).network(WORLD), workers=2)
    with serving(folder, engine=counting) as client:
        assert client.get("/api/worlds/nothing/film.png").status_code == 404
        with viewing(client, open_room(client)) as ann:
            ann.until(lambda: ann.step >= 1)
            answers = {client.get(f"/api/worlds/{OTHER}/film.png").status_code for _ in range(5)}
            ann.until(lambda: ann.step >= 5)
            assert answers == {202}
            assert counting.steps[OTHER] == 0, "not while somebody plays"
        answer = wait_for_film(client, OTHER)
        strip = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
        assert strip.shape == (8 * 6, 8 * 7 * previews.FRAMES, 3)
        first = np.asarray(Image.open(io.BytesIO(client.get(f"/api/worlds/{OTHER}/0.png").content)).convert("RGB"))
        frames = np.split(strip, previews.FRAMES, 1)
        assert np.array_equal(frames[0], first), "it begins as the scene does"
        assert len({frame.tobytes() for frame in frames}) > 3
        assert wait_for_film(client, OTHER).content == answer.content
        assert counting.steps[OTHER] == previews.FRAMES - 1, "what one film costs, once"


def test_a_world_whose_film_fails_has_none(folder: Path) -> None:
    breaking = Breaking(make_engine(folder).network(WORLD), workers=2)
    with serving(folder, engine=breaking) as client:
        assert wait_for_film(client, OTHER).status_code == 204
        assert wait_for_film(client, WORLD).status_code == 200


class Counting(Engine):
    """Counts the steps of each world."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.steps = Counter[str]()

    def run(self, snapshots: Any, actions: Any) -> Any:
        self.steps[snapshots[0].spec.name] += len(snapshots)
        return super().run(snapshots, actions)


def test_the_first_frame_comes_at_once_and_then_deltas(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.until(lambda: ann.step >= 3)
        assert ann.texts[0]["type"] == "welcome"
        assert ann.kinds[0] == 1
        assert ann.frame is not None
        assert ann.frame.shape == (8 * SPEC.grid[0], 8 * SPEC.grid[1], 3)


def test_a_late_spectator_sees_the_frame_of_a_paused_room(client: TestClient) -> None:
    room = open_room(client)
    with viewing(client, room) as ann:
        ann.until(lambda: ann.step >= 2)
        ann.say(type="pause")
        ann.until(lambda: ann.texts[-1].get("paused") is True)
        with viewing(client, room, "Bob") as bob:
            bob.until(lambda: bob.frame is not None)
            assert bob.texts[0]["step"] == bob.step == ann.step
            assert np.array_equal(bob.frame, ann.frame)  # type: ignore[arg-type]
            assert bob.texts[0]["people"] == 2
    assert client.get("/api/rooms").json() == [{"room": room, "world": WORLD, "people": 0, "seats_free": SPEC.subjects}]


def test_who_comes_back_gets_the_seat_again(client: TestClient) -> None:
    room = open_room(client)
    with viewing(client, room, "Zoe") as zoe:
        zoe.wait_for("welcome")
        with viewing(client, room) as ann:
            ann.say(type="take", subject=2)
            token = ann.wait_for("welcome")["token"]
            ann.wait_for("seats")
        zoe.until(lambda: any(t["type"] == "seats" and t["seats"][2]["held"] for t in zoe.texts))
        with viewing(client, room, "Ann", token) as again:
            seats = again.wait_for("welcome")["seats"]
            assert seats[2] == {
                "subject": 2,
                "kind": "human",
                "name": "Ann",
                "mine": True,
                "held": False,
                "agent": False,
            }


def test_pause_scrub_fork_reach_everybody(client: TestClient) -> None:
    room = open_room(client)
    with viewing(client, room) as ann, viewing(client, room, "Bob") as bob:
        ann.until(lambda: ann.step >= 5)
        ann.say(type="pause")
        ann.until(lambda: ann.texts[-1].get("paused") is True)
        ann.say(type="scrub", step=2)
        ann.until(lambda: ann.step == 2)
        bob.until(lambda: bob.step == 2 and len(bob.texts) > 2)
        assert np.array_equal(bob.frame, ann.frame)  # type: ignore[arg-type]
        ann.say(type="fork", step=2)
        bob.until(lambda: bob.step == 3)
        assert bob.texts[-1]["branch"] == 2


def test_exports_are_taken_once(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.until(lambda: ann.step >= 4)
        ann.say(type="pause")
        ann.until(lambda: ann.texts[-1].get("paused") is True)
        for kind, magic in (("replay", b"checksums"), ("gif", b"GIF8"), ("mp4", b"ftyp")):
            ann.say(type="export", format=kind)
            told = ann.wait_for("exported")
            assert told["name"].endswith(f".{kind}")
            file = client.get(told["url"])
            assert magic in file.content[:2000]
            assert file.headers["content-disposition"] == f'attachment; filename="{told["name"]}"'
            assert client.get(told["url"]).status_code == 404
            if kind == "replay":
                assert len(read(file.content).actions) == ann.step
    assert client.get("/api/exports/../../etc/passwd").status_code == 404


def test_a_scene_is_saved_loaded_and_shared(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.until(lambda: ann.step >= 2)
        ann.say(type="pause")
        ann.until(lambda: ann.texts[-1].get("paused") is True)
        frame = ann.frame
        ann.say(type="save_scene")
        told = ann.wait_for("exported")
        data = base64.b64encode(client.get(told["url"]).content).decode()
        ann.say(type="reset", scene=1)
        ann.wait_for("welcome")
        ann.say(type="load_scene", data=data)
        ann.wait_for("welcome")
        ann.step = -1
        ann.until(lambda: ann.step == 0)
        assert np.array_equal(ann.frame, frame)  # type: ignore[arg-type]
        ann.say(type="load_scene", data="AAAA")
        assert "scene file" in ann.wait_for("error")["message"]
    with viewing(client, open_room(client, saved=told["saved"])) as bob:
        bob.until(lambda: bob.step >= 0)
        assert bob.step > 0 or np.array_equal(bob.frame, frame)  # type: ignore[arg-type]
    answer = client.post("/api/rooms", json={"world": OTHER, "saved": told["saved"]})
    assert answer.status_code == 400


def test_palette_overlay_ping(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.say(type="palette")
        told = ann.wait_for("palette")
        assert base64.b64decode(told["png"]).startswith(b"\x89PNG")
        ann.say(type="overlay", on=True)
        subjects = ann.wait_for("overlay")["subjects"]
        assert len(subjects) == SPEC.subjects
        assert len(subjects[0]["attention"]) == SPEC.grid[0] * SPEC.grid[1]
        ann.say(type="ping", t=4.5)
        assert ann.wait_for("pong")["t"] == 4.5


def test_requests_from_other_pages_are_refused(client: TestClient) -> None:
    room = open_room(client)
    evil = {"origin": "http://evil.example"}
    body = {"world": WORLD}
    assert client.post("/api/rooms", json=body, headers=evil).status_code == 403
    assert client.post("/api/rooms", json=body, headers={"origin": "null"}).status_code == 403
    assert client.post("/api/rooms", json=body, headers={"origin": BASE}).status_code == 201
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"host": "localhost.evil.example:80"}).status_code == 403
    assert client.post("/api/rooms", content=json.dumps(body)).status_code == 415
    for headers in (evil, {"host": "evil.example"}, {"origin": "http://localhost:1"}):
        with (
            pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
            client.websocket_connect(f"{WS}/ws/{room}", headers=headers),
        ):
            pass
    with client.websocket_connect(f"{WS}/ws/{room}", headers={"origin": BASE}) as socket:
        Viewer(socket).wait_for("welcome")


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/api/worlds", "/nothing", "/api/rooms"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == CSP
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "evil.example"}).headers["content-security-policy"] == CSP


def test_an_open_server_wants_its_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actionparty.interfaces.play.server.WRONG_KEY_SECONDS", 0.0)
    with serving(folder, key="right-key-123") as client:
        body = {"world": WORLD}
        for query in ("", "?key=", "?key=wrong", "?key=right-key-1234", "?key=%F0%9F%A6%80"):
            assert client.post(f"/api/rooms{query}", json=body).status_code == 403
            assert client.get(f"/api/rooms{query}").status_code == 403
        room = client.post("/api/rooms?key=right-key-123", json=body).json()["room"]
        assert client.get(f"/api/rooms/{room}.png").status_code == 403
        assert client.get(f"/api/worlds/{WORLD}/film.png").status_code == 403
        assert client.get(f"/api/rooms/{room}.png?key=wrong").status_code == 403
        for query in ("", "?key=wrong"):
            with (
                pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
                client.websocket_connect(f"{WS}/ws/{room}{query}"),
            ):
                pass
        with client.websocket_connect(f"{WS}/ws/{room}?key=right-key-123", headers={"host": "192.0.2.7"}) as socket:
            Viewer(socket).wait_for("welcome")


def test_bad_requests_for_rooms(client: TestClient) -> None:
    assert "Did you mean" in client.post("/api/rooms", json={"world": "aren"}).json()["message"]
    assert client.post("/api/rooms", json={"world": WORLD, "scene": 99}).status_code == 400
    assert client.post("/api/rooms", json={"world": WORLD, "file": "x"}).status_code == 400
    huge = client.post("/api/rooms", content=b" " * 100_000, headers={"content-type": "application/json"})
    assert huge.status_code == 413
    with viewing(client, "nothing") as ann:
        assert ann.wait_for("error")["code"] == "no_room"
        assert ann.wait_for("closed")
    answer = client.post("/api/rooms", json={"world": "coins"})
    assert answer.status_code == 404
    assert "have it: --checkpoint" in answer.json()["message"]


def rooms_of(client: TestClient) -> list[str]:
    return [room["room"] for room in client.get("/api/rooms").json()]


def visit(client: TestClient, room: str) -> None:
    """Come and go."""
    with viewing(client, room) as ann:
        ann.wait_for("welcome")


@pytest.mark.parametrize("limits", [Limits(rooms=2), Limits(rooms_each=2)])
def test_an_empty_room_makes_place_and_a_new_one_waits_for_its_people(
    folder: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder, limits=limits) as client:
        first = open_room(client)
        with viewing(client, first) as ann:
            ann.wait_for("welcome")
            second = open_room(client)
            answer = client.post("/api/rooms", json={"world": WORLD})
            assert answer.status_code == 400, "nobody came yet, but somebody is about to"
            assert "join" in answer.json()["message"]
            assert rooms_of(client) == [first, second]
            visit(client, second)
            answer = client.post("/api/rooms", json={"world": "nothing"})
            assert rooms_of(client) == [first, second], "a bad request costs nobody's room"
            third = open_room(client)
            assert rooms_of(client) == [first, third]
            monkeypatch.setattr(hub_module, "ARRIVAL_SECONDS", 0.0)
            fourth = open_room(client)
            assert rooms_of(client) == [first, fourth]


def test_one_address_takes_neither_all_rooms_nor_all_connections(folder: Path) -> None:
    limits = Limits(rooms=4, people=4, rooms_each=2, people_each=2)
    with serving(folder, limits=limits) as client:
        mine = [open_room(client), open_room(client)]
        answer = client.post("/api/rooms", json={"world": WORLD})
        assert answer.status_code == 400
        assert "2 rooms of your address are open" in answer.json()["message"]
        answer = client.post("/api/rooms", json={"world": WORLD}, headers=ELSEWHERE)
        assert answer.status_code == 201
        theirs = answer.json()["room"]
        assert rooms_of(client) == [*mine, theirs]
        with viewing(client, mine[0]) as ann, viewing(client, theirs) as bob:
            ann.wait_for("welcome")
            bob.wait_for("welcome")
            with viewing(client, mine[1]) as third:
                assert third.wait_for("error")["code"] == "full"
                assert "from your address" in third.wait_for("closed")["reason"]
            with viewing(client, mine[0], headers=ELSEWHERE) as eve:
                eve.wait_for("welcome")
        with viewing(client, mine[1]) as again:
            assert again.wait_for("welcome"), "who leaves makes place"


def test_a_server_of_many_addresses_is_full_at_last(folder: Path) -> None:
    with serving(folder, limits=Limits(people=1)) as client:
        room = open_room(client)
        with viewing(client, room) as ann:
            ann.wait_for("welcome")
            with viewing(client, room, headers=ELSEWHERE) as bob:
                assert "server is full" in bob.wait_for("closed")["reason"]


def test_a_client_that_talks_too_much_loses_messages_and_then_the_line(client: TestClient) -> None:
    with viewing(client, open_room(client)) as ann:
        ann.wait_for("welcome")
        for _ in range(1500):
            ann.socket.send_text('{"type":"release"}')
        with pytest.raises(WebSocketDisconnect):
            ann.until(lambda: False)
        assert any(text.get("code") == "rate" for text in ann.texts)
        assert sum(text.get("code") == "rate" for text in ann.texts) < 20


def test_before_hello_nothing_goes(client: TestClient) -> None:
    with client.websocket_connect(f"{WS}/ws/{open_room(client)}") as socket:
        socket.send_text('{"type":"pause"}')
        assert json.loads(socket.receive_text())["code"] == "hello"
        socket.send_bytes(b"\x00\x01")
        assert json.loads(socket.receive_text())["code"] == "invalid"
        Viewer(socket).wait_for("welcome")
        socket.send_text('{"type":"hello","name":"again"}')


def test_a_connection_sends_anything_and_the_others_play_on(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "Bucket", lambda now: Bucket(now, 1e9, 1e9))
    rng = random.Random(11)
    room = open_room(client)

    def seats_of(viewer: Viewer) -> Any:
        return [text for text in viewer.texts if text["type"] in ("seats", "welcome")][-1]["seats"]

    with viewing(client, room) as ann, viewing(client, room, "Mallory") as mallory:
        ann.say(type="take", subject=0)
        ann.say(type="speed", hz=30)
        ann.wait_for("seats")
        ann.until(lambda: seats_of(ann)[0]["mine"])
        for _ in range(400):
            text = mutated(rng)
            mallory.socket.send_text(text[:60_000])
        ann.say(type="resume")
        before = ann.step
        ann.until(lambda: ann.step >= before + 5 or ann.step in (1, 2, 3))
        seats = seats_of(ann)
        assert seats[0]["mine"]
        assert seats[0]["kind"] == "human"
        told = json.dumps(ann.texts)
        assert "Traceback" not in told
        assert '"code": "internal"' not in told


class Breaking(Engine):
    """Fails in one world from some step on."""

    def run(self, snapshots: Any, actions: Any) -> Any:
        if snapshots[0].spec.name == OTHER:
            raise ZeroDivisionError("a secret of the model")
        return super().run(snapshots, actions)


def test_a_model_that_fails_stops_its_room_only(folder: Path) -> None:
    breaking = Breaking(make_engine(folder).network(WORLD), workers=2)
    with (
        serving(folder, engine=breaking) as client,
        viewing(client, open_room(client, OTHER)) as ann,
        viewing(client, open_room(client)) as bob,
    ):
        ann.until(lambda: any(text.get("message") for text in ann.texts))
        told = next(text for text in ann.texts if text.get("message"))
        assert "The model failed" in told["message"]
        assert "secret" not in json.dumps(ann.texts)
        step = bob.step
        bob.until(lambda: bob.step >= step + 5)
        ann.say(type="world", world=WORLD)
        ann.until(lambda: ann.step >= 3)


def test_the_page_is_a_fixed_table(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<p>page</p>")
    (tmp_path / "assets" / "main-1a2b.js").write_text("1")
    page, engine = Page.read(tmp_path), make_engine(folder)
    app = make_app(ShippedMenu(folder), engine, page=page)
    (tmp_path / "later.txt").write_text("secret")
    with TestClient(app, base_url=BASE) as client:
        assert client.get("/").text == "<p>page</p>"
        script = client.get("/assets/main-1a2b.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        for path in ("/later.txt", "/assets/../later.txt", "/%2e%2e/later.txt", "/assets/", "//etc/passwd", "/..%5c"):
            assert client.get(path).status_code == 404
    engine.close()
    empty = Page.read(tmp_path / "nothing")
    assert b"npm run build" in empty.files["/"].content
