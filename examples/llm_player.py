"""Let language models play: each seat is driven by an OpenAI-compatible chat endpoint that reads the text map.

actionparty play --no-browser                                   # in one terminal
export OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=... OPENAI_API_KEY=...
python examples/llm_player.py --world coins --seats 0 1         # in another

Any server with /chat/completions will do, local ones too. The steps of the room wait for the models, at most
--seconds; who is late, or answers nonsense, plays noop in that turn. Join in the browser: the page lists the room.
A seat that can't be played (somebody has it, the server is gone) is told at the end, with exit code 1.
"""

import argparse
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from websockets.sync.client import connect

RULES = """You play one subject, @, in a grid world with others. Find out what gives rewards and collect them.
Moves are relative to your facing: forward goes where you face; turn_left and turn_right turn you by a quarter.
x grows to the east (E), y to the south (S). Answer with JSON only: {"actions": ["forward", ...]}, at most 8 actions
from the list, which are played one after another before you see the world again."""
MOST_ACTIONS = 8
NO_ANSWER = (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError)


class Refused(Exception):
    """What the playground said no to."""


def post(address, body, headers, timeout):
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


def complete(messages, seconds):
    """What the model answers to a conversation."""
    key = os.environ.get("OPENAI_API_KEY")
    body = {"model": os.environ["OPENAI_MODEL"], "messages": messages, "max_tokens": 200}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = post(os.environ["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions", body, headers, seconds)
    return answer["choices"][0]["message"]["content"]


def chosen(text, names):
    """The actions in a model's answer, noop where there are none that this world knows."""
    found = re.search(r"\{.*\}", text or "", re.DOTALL)
    try:
        wanted = json.loads(found[0])["actions"] if found else []
    except (ValueError, KeyError, TypeError):
        wanted = []
    known = [name for name in wanted if name in names] if isinstance(wanted, list) else []
    return known[:MOST_ACTIONS] or ["noop"]


def prompt(seen, image):
    if not image:
        return seen["text"]
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{seen['image']}"}}
    return [{"type": "text", "text": seen["text"]}, picture]


def play(link, room, seat, options):
    """Drive one seat for some turns."""
    address = f"{link.scheme.replace('http', 'ws')}://{link.netloc}/ws/{room}?{link.query}"
    with connect(address, max_size=None) as socket:

        def ask(**message):
            socket.send(json.dumps({**message, "image": options.image}))
            while (answer := json.loads(socket.recv()))["type"] not in ("observation", "error"):
                pass
            if answer["type"] == "error":
                raise Refused(answer["message"])
            return answer

        name = f"{os.environ['OPENAI_MODEL']} {seat}"[-24:]
        socket.send(json.dumps({"type": "hello", "name": name, "agent": True, "frames": False}))
        socket.send(json.dumps({"type": "take", "subject": seat}))
        socket.send(json.dumps({"type": "wait", "seconds": options.seconds}))
        seen, total = ask(type="observe"), 0.0
        for turn in range(options.turns):
            conversation = [
                {"role": "system", "content": RULES},
                {"role": "user", "content": prompt(seen, options.image)},
            ]
            try:
                actions = chosen(complete(conversation, options.seconds), seen["actions"])
            except NO_ANSWER as error:
                print(f"seat {seat}: no answer in turn {turn} ({error})", file=sys.stderr, flush=True)
                actions = ["noop"]
            seen = ask(type="plan", actions=actions)
            total += seen["reward"]
            print(f"seat {seat}, turn {turn}: {seen['played']} steps, reward {seen['reward']:+g}", flush=True)
        print(f"seat {seat}: {total:+g} in {options.turns} turns", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="http://localhost:8765/", help="link of the playground")
    parser.add_argument("--world", default="coins")
    parser.add_argument("--room", help="join this room instead of opening one")
    parser.add_argument("--seats", type=int, nargs="+", default=[0])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit of a turn, at most 30")
    parser.add_argument("--image", action="store_true", help="send the frame too, for models that see")
    options = parser.parse_args()
    missing = [name for name in ("OPENAI_BASE_URL", "OPENAI_MODEL") if not os.environ.get(name)]
    if missing:
        sys.exit(f"set {' and '.join(missing)}: the address of an OpenAI-compatible server (.../v1) and its model")
    link = urlsplit(options.url)
    room = options.room
    if room is None:
        address = f"{link.scheme}://{link.netloc}/api/rooms?{link.query}"
        try:
            room = post(address, {"world": options.world, "seed": 1}, {}, 30)["room"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{options.url} opened no room: {error.read().decode(errors='replace')}")
        except NO_ANSWER as error:
            sys.exit(
                f"no playground answers at {options.url} ({error}): start one with `actionparty play --no-browser`"
            )
    print(f"room {room}: {link.scheme}://{link.netloc}/?room={room}", flush=True)
    with ThreadPoolExecutor(len(options.seats)) as threads:
        played = [(seat, threads.submit(play, link, room, seat, options)) for seat in options.seats]
    failed = [
        f"seat {seat}: {type(error).__name__}: {error}" for seat, future in played if (error := future.exception())
    ]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
