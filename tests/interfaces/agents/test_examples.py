"""The examples for agents as users start them, against a real playground; the language model is a local fake server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.interfaces.agents.serving import ENVIRONMENT, ROOT, Playground, example

Answer = Callable[[dict[str, Any]], Any]


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    surroundings = {**ENVIRONMENT, **environment}
    return subprocess.run(line, capture_output=True, text=True, env=surroundings, timeout=60)


def rewards(told: str) -> list[float]:
    return [float(each) for each in re.findall(r"reward ([+-][\d.]+)", told)]


def test_the_short_client_walks_to_coins_and_gets_rewards(coins: Playground) -> None:
    done = run("agent_client", coins.link)
    assert done.returncode == 0, done.stderr
    assert len(rewards(done.stdout)) == 12
    assert sum(reward > 0.5 for reward in rewards(done.stdout)) >= 3


class FakeModel:
    """An OpenAI-compatible server on this machine, which answers by a script and remembers what it was asked."""

    def __init__(self, answer: Answer, missing: int = 0) -> None:
        """Each reply breaks off ``missing`` bytes before its end."""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.keys.append(self.headers.get("authorization"))
                fake.asked.append({"path": self.path, **body})
                text = answer(body)
                raw = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
                try:
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(raw) + missing))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    return  # who asked did not wait

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    @contextmanager
    def running(self) -> Iterator[FakeModel]:
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


def seen_in(prompt: str) -> dict[str, Any]:
    """What the text map of a prompt says, in the form of an observation."""
    here = re.search(r"You are subject (\d+), @ on the map, at x=(\d+) y=(\d+), facing ([NESW])", prompt)
    assert here, prompt
    rows = [row for _, row in re.findall(r"^( \d|\d\d) (\S+)$", prompt, re.MULTILINE)]
    legend = re.search(r"^Legend: (.*)\.$", prompt, re.MULTILINE)
    assert legend
    kinds = [{"symbol": each[0], "enter": each.endswith("can be entered")} for each in legend[1].split("; ")]
    me = {"x": int(here[2]), "y": int(here[3]), "facing": here[4]}
    return {"you": 0, "subjects": [me], "map": rows, "legend": kinds}


def reads_the_map(body: dict[str, Any]) -> str:
    """A model that can play: walks to the nearest thing, and says so in the way of chat models."""
    way = example("agent_client").route(seen_in(body["messages"][-1]["content"]))
    return f"I see something nearby.\n```json\n{json.dumps({'actions': way[:8]})}\n```"


def play(coins: Playground, model: FakeModel, *more: str, key: str = "secret") -> subprocess.CompletedProcess[str]:
    room = coins.room()
    return run(
        "llm_player",
        *("--url", coins.link, "--room", room, *more),
        OPENAI_BASE_URL=model.address,
        OPENAI_MODEL="fake-1",
        OPENAI_API_KEY=key,
    )


def test_a_model_that_reads_the_map_collects_coins(coins: Playground) -> None:
    with FakeModel(reads_the_map).running() as model:
        done = play(coins, model, "--turns", "4")
    assert done.returncode == 0, done.stderr
    assert sum(reward > 0.5 for reward in rewards(done.stdout)) >= 2, done.stdout
    assert model.keys == ["Bearer secret"] * 4
    assert {(each["path"], each["model"]) for each in model.asked} == {("/v1/chat/completions", "fake-1")}
    assert "secret" not in done.stdout + done.stderr


def test_several_seats_are_driven_at_once(coins: Playground) -> None:
    with FakeModel(reads_the_map).running() as model:
        done = play(coins, model, "--turns", "2", "--seats", "0", "1")
    assert done.returncode == 0, done.stderr
    assert len(model.asked) == 4
    for seat in (0, 1):
        assert f"seat {seat}, turn 1" in done.stdout


@pytest.mark.parametrize(
    "nonsense",
    ["", "I would rather not.", '{"actions": "forward"}', '{"actions": ["fly", 7, null]}', "{broken", '{"moves": []}'],
)
def test_nonsense_becomes_noop(nonsense: str) -> None:
    assert example("llm_player").chosen(nonsense, ["noop", "forward"]) == ["noop"]


def test_a_model_that_answers_nonsense_or_too_late_plays_noop_and_the_game_goes_on(coins: Playground) -> None:
    def late_then_silly(body: dict[str, Any]) -> str:
        if len(model.asked) == 1:
            time.sleep(1.5)
        return "what?"

    with FakeModel(late_then_silly).running() as model:
        done = play(coins, model, "--turns", "3", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert "no answer in turn 0" in done.stderr
    assert re.findall(r"turn \d: (\d+) steps", done.stdout) == ["1", "1", "1"]


@pytest.mark.parametrize(("text", "missing"), [([{"type": "text", "text": "{}"}], 0), (7, 0), ("{}", 9)])
def test_what_is_no_answer_of_a_model_is_noop_too(coins: Playground, text: Any, missing: int) -> None:
    with FakeModel(lambda body: text, missing).running() as model:
        done = play(coins, model, "--turns", "2")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"no answer in turn (\d)", done.stderr) == ["0", "1"]
    assert re.findall(r"turn \d: (\d+) steps", done.stdout) == ["1", "1"]


def test_a_seat_that_is_taken_is_told_and_the_others_play(coins: Playground) -> None:
    with FakeModel(lambda body: '{"actions": ["noop"]}').running() as model:
        done = play(coins, model, "--turns", "2", "--seats", "0", "0", "30")
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert [line[:8] for line in said] == ["seat 0: ", "seat 30:"]
    assert "plays subject 0" in said[0]
    assert "no subject 30" in said[1]
    assert len(re.findall(r"seat 0: .* in 2 turns", done.stdout)) == 1


def test_the_picture_goes_along_where_it_is_wanted(coins: Playground) -> None:
    with FakeModel(lambda body: '{"actions": ["noop"]}').running() as model:
        done = play(coins, model, "--turns", "1", "--image")
    assert done.returncode == 0, done.stderr
    text, picture = model.asked[0]["messages"][1]["content"]
    assert "Legend: ." in text["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_without_an_address_it_says_what_to_set() -> None:
    done = run("llm_player", OPENAI_BASE_URL="", OPENAI_MODEL="")
    assert done.returncode == 1
    assert "OPENAI_BASE_URL and OPENAI_MODEL" in done.stderr


def test_without_a_playground_or_a_world_it_says_so(coins: Playground) -> None:
    said = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "fake-1"}
    gone = run("llm_player", "--url", "http://127.0.0.1:1/", **said)
    assert gone.returncode == 1
    assert gone.stderr.startswith("no playground answers at http://127.0.0.1:1/"), gone.stderr
    refused = run("llm_player", "--url", coins.link, "--world", "coinz", **said)
    assert refused.returncode == 1
    assert "opened no room" in refused.stderr
    assert "coinz" in refused.stderr
    assert "Traceback" not in gone.stderr + refused.stderr
