"""A whole agent: opens a room, takes a seat, walks to what lies around, and tells what it got for it.

actionparty play --no-browser       # in one terminal
python examples/agent_client.py     # in another; the page shows the room that it opens
"""

import argparse
import json
import sys
import urllib.request
from collections import deque
from urllib.parse import urlsplit

from websockets.sync.client import connect

WORLD, SCENE, TURNS = "coins", 2, 12
STEPS = {"N": (0, -1), "E": (1, 0), "S": (0, 1), "W": (-1, 0)}


def route(seen):
    """The way to the nearest cell that can be entered and is not plain floor, as actions."""
    enter = {kind["symbol"]: kind["enter"] for kind in seen["legend"]}
    me = seen["subjects"][seen["you"]]
    waiting, known = deque([((me["x"], me["y"]), [])]), set()
    while waiting:
        (x, y), way = waiting.popleft()
        symbol = seen["map"][y][x] if 0 <= y < len(seen["map"]) and 0 <= x < len(seen["map"][0]) else "#"
        if (x, y) in known or (symbol != "@" and not enter.get(symbol)):
            continue
        known.add((x, y))
        if symbol not in ".@":
            return walk(me["facing"], way)
        waiting.extend(((x + dx, y + dy), [*way, facing]) for facing, (dx, dy) in STEPS.items())
    return ["forward", "forward", "turn_left"]  # nothing in sight: look around


def walk(facing, way):
    """Steps towards N, E, S, W as moves relative to the facing."""
    moves = ("forward", "step_right", "backward", "step_left")
    return [moves[("NESW".index(step) - "NESW".index(facing)) % 4] for step in way]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("link", nargs="?", default="http://localhost:8765/", help="of the playground, with its key")
    link = urlsplit(options.parse_args().link)
    body = json.dumps({"world": WORLD, "scene": SCENE, "seed": 1}).encode()
    address = f"{link.scheme}://{link.netloc}/api/rooms?{link.query}"
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    room = json.load(urllib.request.urlopen(request))["room"]
    with connect(f"{link.scheme.replace('http', 'ws')}://{link.netloc}/ws/{room}?{link.query}") as socket:

        def ask(**message):
            socket.send(json.dumps(message))
            while (answer := json.loads(socket.recv()))["type"] not in ("observation", "error"):
                pass
            return answer if answer["type"] == "observation" else sys.exit(answer["message"])

        socket.send(json.dumps({"type": "hello", "name": "walker", "agent": True, "frames": False}))
        socket.send(json.dumps({"type": "take", "subject": 0}))
        socket.send(json.dumps({"type": "wait", "seconds": 2}))  # steps wait for us, at most two seconds
        seen = ask(type="observe")
        for turn in range(TURNS):
            seen = ask(type="plan", actions=route(seen)[:8])
            print(f"turn {turn}: {seen['played']} steps, reward {seen['reward']:+g}", *seen["events"], sep="; ")


if __name__ == "__main__":
    main()
