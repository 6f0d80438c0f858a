from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actionparty.errors import InvalidInputError
from actionparty.interfaces.commands_play import room_key
from actionparty.interfaces.play.limits import BURST, RATE, Bucket, Door, Limits, household

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}


def test_a_bucket_lets_bursts_through_and_then_the_rate() -> None:
    bucket = Bucket(0.0)
    assert sum(bucket.take(0.0) for _ in range(500)) == BURST
    assert bucket.refused == 500 - BURST
    assert sum(bucket.take(i / 1000) for i in range(1, 1001)) == pytest.approx(RATE, abs=1)
    assert sum(bucket.take(1000.0) for _ in range(500)) == BURST
    assert sum(bucket.take(999.0) for _ in range(5)) == 0, "a clock that goes back gives nothing"


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST"])
def test_without_a_key_only_this_machine_is_served(host: str) -> None:
    assert Door().host_allowed(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[bad", "10.0.0.1", "evil@localhost:x"],
)
def test_other_names_are_refused(host: str) -> None:
    assert not Door().host_allowed(host)
    assert Door("key").host_allowed(host)


def test_origins() -> None:
    door = Door()
    assert door.origin_allowed({"host": "localhost:1"})
    assert door.origin_allowed({"host": "localhost:1", "origin": "http://localhost:1"})
    assert door.origin_allowed({"host": "A.example", "origin": "https://a.example"})
    for origin in ("http://localhost:2", "http://localhost", "null", "file://", "ftp://localhost:1", "http://[bad", ""):
        assert not door.origin_allowed({"host": "localhost:1", "origin": origin})


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("127.0.0.1", "local"),
        ("127.8.8.8", "local"),
        ("::1", "local"),
        ("::ffff:127.0.0.1", "local"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_whoever_has_many_addresses_counts_once(host: str | None, counted: str) -> None:
    assert household(host) == counted


def test_limits_leave_room_for_others() -> None:
    usual = Limits()
    assert usual.rooms_each * 3 < usual.rooms
    assert usual.people_each < usual.people
    with pytest.raises(InvalidInputError, match="at least one"):
        Limits(rooms_each=0)


def test_keys() -> None:
    assert Door().key_fits(None)
    assert Door("abc").key_fits("abc")
    for wrong in (None, "", "ab", "abcd", "äbc"):
        assert not Door("abc").key_fits(wrong)
    assert room_key("127.0.0.1", None) is None
    made = room_key("0.0.0.0", None)
    assert made
    assert len(made) >= 16
    assert made != room_key("0.0.0.0", None)
    assert room_key("127.0.0.1", "my-own-key") == "my-own-key"
    for bad in ("short", "with space", "naïve-key"):
        with pytest.raises(InvalidInputError, match="at least 8"):
            room_key("0.0.0.0", bad)


def test_the_command_line_starts_without_the_web_server() -> None:
    script = "import sys, actionparty.interfaces.cli; print([*sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENV).stdout
    assert not {"starlette", "uvicorn", "websockets", "pydantic", "torch"} & set(ast.literal_eval(loaded))


def test_films_are_drawn_without_torch() -> None:
    script = "import sys, actionparty.interfaces.play.films, actionparty.interfaces.play.check; print([*sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENV).stdout
    assert "torch" not in ast.literal_eval(loaded)
