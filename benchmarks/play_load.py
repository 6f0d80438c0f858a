"""Measure the playground: key-to-frame latency, bandwidth of a viewer, and what a crowd does to ticks and memory.

Starts its own server. Prints one JSON object. Latency is from sending a key to having the decoded frame in which the
subject did it: the wait for the tick, the model, the wire. Linux only (memory is read from /proc).

python benchmarks/play_load.py                     # 2 people, 7 subjects; then 50 + 8 people in 4 rooms for 5 minutes
python benchmarks/play_load.py --warm-up 10 --seconds 30 --keys 40
python benchmarks/play_load.py --checkpoint all --viewers all --keys 0 --seconds 0   # bandwidth of a viewer, each world
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from actionparty.interfaces.play.wire import decode
from actionparty.types import Frame

HZ = 8.0
WARM_UP = 150.0
"""Seconds: at 8 Hz the time machines of the rooms are full after 125."""
SPECTATORS, PLAYERS, ROOMS = 50, 8, 4


@dataclass
class Viewer:
    """One connection: what came, and when the awaited action was seen."""

    url: str
    subject: int | None = None
    full: bool = False
    """Decode every frame, as a page does; otherwise only the head is read."""
    bytes_in: int = 0
    frames: int = 0
    steps: list[int] = field(default_factory=list)
    awaited: int | None = None
    seen_at: asyncio.Event = field(default_factory=asyncio.Event)
    actions: list[str] = field(default_factory=list)
    socket: Any = None
    slow: bool = False
    _frame: Frame | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        async with connect(self.url, max_size=None, compression=None) as self.socket:
            await self.say(type="hello", name="load", token=None)
            if self.subject is not None:
                await self.say(type="take", subject=self.subject)
            async for message in self.socket:
                self.bytes_in += len(message)
                self._take(message)

    async def say(self, **fields: Any) -> None:
        """Send a message."""
        await self.socket.send(json.dumps(fields))

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            told = json.loads(message)
            if told["type"] == "welcome":
                self.actions = told["world"]["actions"]
            self.slow = self.slow or bool(told.get("slow"))
            return
        self.frames += 1
        self.steps.append(int.from_bytes(message[1:5], "little"))
        if not self.full:
            return
        told_frame = decode(message, self._frame)
        self._frame = told_frame.frame
        if self.subject is not None and told_frame.subjects[self.subject][4] == self.awaited:
            self.awaited = None
            self.seen_at.set()

    async def key(self, action: str) -> float:
        """Press a key; return the seconds until its frame is there."""
        self.seen_at.clear()
        self.awaited = self.actions.index(action)
        began = time.perf_counter()
        await self.say(type="act", action=action, hold=False)
        await asyncio.wait_for(self.seen_at.wait(), 10)
        return time.perf_counter() - began


class Server:
    """`actionparty play` as a process."""

    def __init__(self, checkpoint: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        line = [sys.executable, "-m", "actionparty.interfaces.cli", "play", "--no-browser", "--port", str(self.port)]
        began = time.perf_counter()
        self.process = subprocess.Popen([*line, "--checkpoint", checkpoint], stdout=subprocess.DEVNULL)
        while not self._answers():
            time.sleep(0.02)
        self.seconds_to_start = time.perf_counter() - began

    def _answers(self) -> bool:
        try:
            self.get("/api/worlds")
        except OSError:
            return False
        return True

    def get(self, path: str, body: Any = None) -> Any:
        """Ask for JSON."""
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(address, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def room(self, world: str) -> str:
        """Open a room; return its address."""
        room = self.get("/api/rooms", {"world": world, "scene": 0, "seed": 1})["room"]
        return f"ws://127.0.0.1:{self.port}/ws/{room}"

    def memory_mb(self) -> float:
        """Return the resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def cpu_seconds(self) -> float:
        """Return the processor time used so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def latency(server: Server, world: str, keys: int) -> dict[str, Any]:
    """Let two people press ``keys`` keys each, at random moments."""
    began = time.perf_counter()
    url = server.room(world)
    people = [Viewer(url, subject, full=True) for subject in (0, 1)]
    tasks = [asyncio.create_task(person.run()) for person in people]
    while not all(person.frames for person in people):
        await asyncio.sleep(0.005)
    first_frame = time.perf_counter() - began
    await asyncio.sleep(2)
    start, bytes_before = time.perf_counter(), [p.bytes_in for p in people]
    steps_before = people[0].steps[-1]
    seconds = await asyncio.gather(*(press(person, keys, i) for i, person in enumerate(people)))
    passed = time.perf_counter() - start
    for task in tasks:
        task.cancel()
    taken = [s for each in seconds for s in each]
    return {
        "world": world,
        "people": 2,
        "keys": len(taken),
        "first_frame_s": round(first_frame, 2),
        "key_to_frame_ms_p50": round(float(np.percentile(taken, 50)) * 1e3),
        "key_to_frame_ms_p95": round(float(np.percentile(taken, 95)) * 1e3),
        "hz": round((people[0].steps[-1] - steps_before) / passed, 2),
        "kB_per_s_per_viewer": round((people[0].bytes_in - bytes_before[0]) / passed / 1e3, 1),
    }


async def press(person: Viewer, keys: int, seed: int) -> list[float]:
    """Turn left and right at random moments."""
    rng = random.Random(seed)
    seconds = []
    for i in range(keys):
        await asyncio.sleep(rng.uniform(0.25, 0.75))
        seconds.append(await person.key(("turn_left", "turn_right")[i % 2]))
    return seconds


async def bandwidth(server: Server, worlds: list[str], seconds: float) -> dict[str, Any]:
    """Watch each world alone, policies in all seats; what a step took is told for ``HZ`` steps a second."""
    known = [card["name"] for card in server.get("/api/worlds")]
    taken = {world: await watched(server, world, seconds) for world in (known if worlds == ["all"] else worlds)}
    worst = sorted(taken, key=lambda world: -taken[world])
    return {
        "seconds_each": seconds,
        "kB_per_s_per_viewer_at_8_hz": {world: round(taken[world], 1) for world in worst},
        "mean": round(float(np.mean(list(taken.values()))), 1),
        "worst": worst[0],
    }


async def watched(server: Server, world: str, seconds: float) -> float:
    """Return the kB/s of one viewer of a room at ``HZ``, without what comes once at the beginning."""
    viewer = Viewer(server.room(world))
    task = asyncio.create_task(viewer.run())
    while len(viewer.steps) < 3:
        await asyncio.sleep(0.02)
    bytes_before, first = viewer.bytes_in, viewer.steps[-1]
    await asyncio.sleep(seconds)
    steps = viewer.steps[-1] - first
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return (viewer.bytes_in - bytes_before) / steps * HZ / 1e3


async def crowd(server: Server, worlds: list[str], warm_up: float, seconds: float) -> dict[str, Any]:
    """Fill four rooms with 8 players and 50 spectators; measure when they have played for ``warm_up`` seconds."""
    urls = [server.room(worlds[i % len(worlds)]) for i in range(ROOMS)]
    players = [Viewer(urls[i % ROOMS], i // ROOMS) for i in range(PLAYERS)]
    watchers = [Viewer(urls[i % ROOMS]) for i in range(SPECTATORS)]
    everybody = [*players, *watchers]
    tasks = [asyncio.create_task(each.run()) for each in everybody]
    while not all(each.frames for each in everybody):
        await asyncio.sleep(0.02)
    playing = [asyncio.create_task(press_for_ever(player, i)) for i, player in enumerate(players)]
    await asyncio.sleep(warm_up)
    memory, start, cpu = [server.memory_mb()], time.perf_counter(), server.cpu_seconds()
    at_start = [each.steps[-1] for each in everybody]
    seen_before, bytes_before = [len(each.steps) for each in everybody], sum(each.bytes_in for each in everybody)
    while (passed := time.perf_counter() - start) < seconds:
        await asyncio.sleep(min(2.0, seconds - passed))
        memory.append(server.memory_mb())
    ticks = [each.steps[-1] - before for each, before in zip(everybody, at_start, strict=True)]
    seen = [len(each.steps) - before for each, before in zip(everybody, seen_before, strict=True)]
    for task in (*tasks, *playing):
        task.cancel()
    return {
        "worlds": worlds,
        "spectators": SPECTATORS,
        "players": PLAYERS,
        "rooms": ROOMS,
        "warm_up_s": warm_up,
        "seconds": round(passed, 1),
        "hz_of_rooms": [round(ticks[i] / passed, 2) for i in range(ROOMS)],
        "missed_ticks_share": round(1 - float(np.mean(ticks[:ROOMS])) / (passed * HZ), 4),
        "frames_lost_on_the_way_share": round(1 - sum(seen) / sum(ticks), 5),
        "kB_per_s_all": round((sum(each.bytes_in for each in everybody) - bytes_before) / passed / 1e3, 1),
        "server_cpu_cores": round((server.cpu_seconds() - cpu) / passed, 2),
        "memory_mb": [round(memory[0]), round(max(memory)), round(memory[-1])],
        "memory_growth_share": round(memory[-1] / memory[0] - 1, 4),
        "said_slow": any(each.slow for each in everybody),
    }


async def press_for_ever(player: Viewer, seed: int) -> None:
    """Walk about."""
    rng = random.Random(seed)
    while True:
        await player.say(type="act", action=rng.choice(["forward", "turn_left", "turn_right"]), hold=False)
        await asyncio.sleep(rng.uniform(0.1, 0.4))


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="starter")
    parser.add_argument("--world", default="commons_harvest__open", help="of the latency measurement")
    parser.add_argument("--keys", type=int, default=100, help="of each of the two people; 0 leaves the latency out")
    parser.add_argument("--viewers", action="append", help="a world whose bandwidth is measured too; `all`: each one")
    parser.add_argument("--viewer-seconds", type=float, default=10.0, help="for which each of those is watched")
    parser.add_argument("--load-world", action="append", help="of the four rooms; default: the crowded kitchen")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the load; 0 leaves it out")
    parser.add_argument("--warm-up", type=float, default=WARM_UP, help="of the load, before anything is measured")
    options = parser.parse_args()
    server = Server(options.checkpoint)
    try:
        result: dict[str, Any] = {
            "server_starts_s": round(server.seconds_to_start, 2),
            "cores": os.cpu_count(),
            "load_average_before": round(os.getloadavg()[0], 1),
        }
        if options.keys:
            result["latency"] = asyncio.run(latency(server, options.world, options.keys))
        if options.viewers:
            result["bandwidth"] = asyncio.run(bandwidth(server, options.viewers, options.viewer_seconds))
        if options.seconds:
            worlds = options.load_world or ["collaborative_cooking__crowded"]
            result["load"] = asyncio.run(crowd(server, worlds, options.warm_up, options.seconds))
        result["load_average_after"] = round(os.getloadavg()[0], 1)
    finally:
        server.process.terminate()
        server.process.wait()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
