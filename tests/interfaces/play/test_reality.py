"""The reality check through `actionparty play`: a real simulator in its own process, seen over a real connection."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interfaces.play.stage import WORLD, Stage
from tests.interfaces.play.test_live_server import Server
from websockets.sync.client import ClientConnection

from actionparty.checkpoints import find_checkpoint
from actionparty.evaluation.labels import TileLabels
from actionparty.interfaces.play import reality as reality_module
from actionparty.interfaces.play.check import FIRST_ROWS
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.reality import Reality
from actionparty.interfaces.play.wire import SIMULATOR_DELTA, SIMULATOR_KEY, Decoded, decode
from actionparty.rollout.scenes import LABELS
from actionparty.rollout.table import to_cells
from actionparty.types import FACING_STEPS, Frame, Ints, WorldSpec
from actionparty.worlds.arena import ArenaWorld

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the simulator's process in /proc")
Row = tuple[int, int, int, bool, int, float]
KITCHEN, SEED = "collaborative_cooking__circuit", 5


class Page:
    """A connection that watches the generated world and the simulator's."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.texts: list[dict[str, Any]] = []
        self.generated: dict[int, Decoded] = {}
        self.real: dict[int, Decoded] = {}
        self._before: dict[bool, Frame | None] = {False: None, True: None}

    def say(self, **fields: Any) -> None:
        self.connection.send(json.dumps(fields))

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end, f"it never came; last: {self.texts[-3:]}"
            self._take(self.connection.recv(timeout=60))

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.texts.append(json.loads(message))
            if self.texts[-1]["type"] == "welcome":
                self.generated.clear()
                self._before = {False: None, True: None}
            return
        simulated = message[0] in (SIMULATOR_KEY, SIMULATOR_DELTA)
        told = decode(message, self._before[simulated])
        self._before[simulated] = told.frame
        (self.real if simulated else self.generated)[told.step] = told

    def heard(self, words: str) -> bool:
        return any(words in str(text.get("message")) for text in self.texts)

    def both(self) -> list[int]:
        """Steps that were seen of both worlds."""
        return sorted(self.real.keys() & self.generated.keys())


def actions(decoded: Decoded) -> Ints:
    return np.array([row[4] for row in decoded.subjects], np.int64)


def differing(a: Frame, b: Frame) -> float:
    """Share of cells that are not the same."""
    h, w = a.shape[0] // 8, a.shape[1] // 8
    return float((a != b).reshape(h, 8, w, 8, 3).any((1, 3, 4)).mean())


def check_start_and_actions(page: Page) -> None:
    """Both worlds begin with the simulator's frame and get the same actions."""
    np.testing.assert_array_equal(page.generated[0].frame, page.real[0].frame)
    assert sorted(page.real) == list(range(max(page.real) + 1)), "a frame of the simulator is missing"
    assert len(page.both()) > 3
    for step in page.both()[1:]:
        np.testing.assert_array_equal(actions(page.generated[step]), actions(page.real[step]))


def check_arena(page: Page) -> None:
    """The arena is repeatable: what the page saw is what the same world does in this process."""
    world = ArenaWorld()
    idle = np.full(world.spec.subjects, world.spec.actions.index("noop"))
    seen = [world.reset(seed=SEED), *(world.step(idle) for _ in range(FIRST_ROWS - 1))][-1]
    np.testing.assert_array_equal(page.real[0].frame, seen.frame)
    for step in range(1, max(page.real) + 1):
        real, seen = page.real[step], world.step(actions(page.real[step]))
        np.testing.assert_array_equal(real.frame, seen.frame, f"step {step} is none of the simulator's")
        assert [row[:2] for row in real.subjects] == [tuple(cell) for cell in seen.states.cells.tolist()]


def check_rules(page: Page, spec: WorldSpec, labels: TileLabels) -> None:
    """Melting Pot is not, but its frames have recorded tiles only, and its subjects keep its rules exactly."""
    known = {tile.tobytes(): int(look) for tile, look in zip(labels.tiles, labels.look, strict=True)}
    for step, real in page.real.items():
        cells = to_cells(real.frame)
        assert all(cell.tobytes() in known for cell in cells), f"step {step} has a tile that was never recorded"
        for i, (x, y, *_) in enumerate(real.subjects):
            assert known[cells[y * spec.grid[1] + x].tobytes()] == i, f"step {step}: subject {i} is not at ({x}, {y})"
    for step in range(1, max(page.real) + 1):
        for old, new in zip(page.real[step - 1].subjects, page.real[step].subjects, strict=True):
            check_rule(spec.actions[new[4]], old, new)


def check_rule(action: str, old: Row, new: Row) -> None:
    turned = {"turn_left": -1, "turn_right": 1}.get(action, 0)
    way = {"forward": 0, "step_right": 1, "backward": 2, "step_left": 3}.get(action)
    assert new[2] == (old[2] + turned) % 4, action
    moved = (new[0] - old[0], new[1] - old[1])
    assert moved == (0, 0) or (way is not None and moved == tuple(FACING_STEPS[(old[2] + way) % 4])), action


def simulators(server: Server) -> list[int]:
    """Return the processes that the server started for simulators."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def survives(server: Server, page: Page) -> None:
    """Kill the simulator: the room goes on by itself, says so, and can be checked again."""
    (simulator,) = simulators(server)
    os.kill(simulator, signal.SIGKILL)
    page.until(lambda: page.heard("reality check is over: the simulator failed"))
    step, newest = max(page.generated), max(page.real)
    page.until(lambda: max(page.generated) >= step + 5)
    assert max(page.real) == newest
    status = [text for text in page.texts if text["type"] == "status"][-1]
    assert not status["paused"]
    assert not page.heard("The model failed")
    page.real.clear()
    page.say(type="check", on=True)
    page.until(lambda: 3 in page.real and 3 in page.generated)
    np.testing.assert_array_equal(page.real[0].frame, page.generated[0].frame)


@pytest.fixture
def arena_server(folder: Path) -> Iterator[Server]:
    made = Server(folder)
    yield made
    _, told = made.stop()
    assert "Traceback" not in told


def open_room(server: Server, world: str) -> str:
    return str(server.get("/api/rooms", {"world": world, "scene": 0, "seed": SEED})["room"])


def test_a_room_goes_on_when_its_simulator_dies(arena_server: Server) -> None:
    with arena_server.join(open_room(arena_server, WORLD), "Ann") as connection:
        page = Page(connection)
        page.say(type="check", on=True)
        page.until(lambda: 4 in page.real and 4 in page.generated)
        check_start_and_actions(page)
        check_arena(page)
        survives(arena_server, page)
        page.say(type="check", on=False)
        page.until(lambda: not simulators(arena_server))


def test_a_room_goes_on_when_its_simulator_died_while_it_stood_still(arena_server: Server) -> None:
    with arena_server.join(open_room(arena_server, WORLD), "Ann") as connection:
        page = Page(connection)
        page.say(type="check", on=True)
        page.until(lambda: 2 in page.real and 2 in page.generated)
        page.say(type="pause")
        page.until(lambda: page.texts[-1].get("paused") is True)
        (simulator,) = simulators(arena_server)
        os.kill(simulator, signal.SIGKILL)
        time.sleep(0.3)
        step = max(page.generated)
        page.say(type="resume")
        page.until(lambda: page.heard("the simulator failed") and max(page.generated) >= step + 5)
        assert not page.heard("The model failed")


def test_another_branch_ends_the_check_at_once(arena_server: Server) -> None:
    with arena_server.join(open_room(arena_server, WORLD), "Ann") as connection:
        page = Page(connection)
        page.say(type="check", on=True)
        page.until(lambda: 3 in page.real)
        page.say(type="pause")
        page.say(type="fork", step=1)
        page.until(lambda: page.heard("another way"))
        page.until(lambda: not simulators(arena_server))


class Silent:
    """A simulator that never answers."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_simulator_that_does_not_answer_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reality_module, "SIMULATOR_SECONDS", 0.05)
    told: list[Said] = []
    reality, silent = Reality(stage.room, {}, told.extend), Silent()
    reality._beside = silent  # type: ignore[assignment]

    async def wait() -> object:
        return await reality.seen(asyncio.get_running_loop().create_future())

    assert asyncio.run(wait()) is None
    assert silent.closed
    assert "the simulator failed" in told[0].fields["message"]


@pytest.mark.meltingpot
@pytest.mark.slow
def test_melting_pot_runs_beside_a_shipped_world() -> None:
    """Real weights beside the real simulator: alike at first, apart where the model errs or chance decides."""
    labels = TileLabels.load(find_checkpoint("starter") / LABELS / f"{KITCHEN}.npz")
    server = Server(Path("starter"))
    try:
        with server.join(open_room(server, KITCHEN), "Ann") as connection:
            page = Page(connection)
            page.until(lambda: bool(page.texts))
            world = page.texts[0]["world"]
            assert page.texts[0]["simulator"]
            page.say(type="take", subject=0)
            page.say(type="seat", subject=1, kind="random")
            page.say(type="check", on=True)
            page.until(lambda: 0 in page.real)
            page.say(type="act", action="turn_left", hold=True)
            page.until(lambda: 16 in page.real and 16 in page.generated)
            spec = WorldSpec(world["name"], world["subjects"], tuple(world["grid"]), tuple(world["actions"]))
            check_start_and_actions(page)
            check_rules(page, spec, labels)
            assert len({decoded.frame.tobytes() for decoded in page.real.values()}) > 4, "nothing moved"
            apart = [differing(page.generated[step].frame, page.real[step].frame) for step in page.both()]
            assert apart[0] == 0.0
            assert np.mean(apart[:8]) < 0.2, "from the same start and actions a few steps stay alike"
            survives(server, page)
    finally:
        _, told = server.stop()
    assert "Traceback" not in told
