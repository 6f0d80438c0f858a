from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.interfaces.play.stage import OTHER, SPEC, WORLD
from tests.interfaces.play.test_server import Viewer, open_room, serving, viewing

from actionparty.interfaces.play.check import FIRST_ROWS, Beside, Opening, has_simulator
from actionparty.interfaces.play.wire import SIMULATOR_DELTA, SIMULATOR_KEY, Decoded, decode
from actionparty.types import NO_ACTION
from actionparty.worlds.arena import ArenaWorld


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with serving(folder) as made:
        yield made


def test_the_real_world_runs_beside_as_it_would_alone() -> None:
    beside, alone = Beside(WORLD), ArenaWorld(SPEC.subjects)
    opening: Opening = beside.start(5).result()
    idle = np.zeros(SPEC.subjects, np.int64)
    seen = [alone.reset(seed=5), *(alone.step(idle) for _ in range(FIRST_ROWS - 1))]
    assert all(np.array_equal(a.frame, b.frame) for a, b in zip(opening.seen, seen, strict=True))
    scene = opening.scene(2)
    assert np.array_equal(scene.frames[-1], seen[-1].frame)
    assert (scene.actions[0] == NO_ACTION).all()
    assert (scene.actions[1:] == 0).all()
    for step in range(6):
        actions = np.random.default_rng(step).integers(0, len(SPEC.actions), SPEC.subjects)
        assert np.array_equal(beside.step(actions).result().frame, alone.step(actions).frame)
    beside.close()


def test_only_real_worlds_have_a_simulator() -> None:
    assert has_simulator(WORLD)
    assert not has_simulator(OTHER)


class Watcher(Viewer):
    """A page that watches both streams."""

    def __init__(self, viewer: Viewer) -> None:
        self.__dict__.update(viewer.__dict__)
        self.both: dict[int, list[Decoded]] = {}
        self.real: Decoded | None = None

    def next(self) -> None:
        event = self.socket.receive()
        if event.get("bytes") is None:
            self.texts.append(json.loads(event["text"]))
            return
        simulated = event["bytes"][0] in (SIMULATOR_KEY, SIMULATOR_DELTA)
        before = (self.real.frame if self.real else None) if simulated else self.frame
        told = decode(event["bytes"], before)
        if simulated:
            self.real = told
        else:
            self.frame, self.step = told.frame, told.step
        self.both.setdefault(told.step, []).append(told)


def test_both_streams_start_alike_and_get_the_same_actions(client: TestClient) -> None:
    with viewing(client, open_room(client)) as viewer, viewing(client, open_room(client)) as other:
        ann = Watcher(viewer)
        assert ann.wait_for("welcome")["simulator"]
        ann.say(type="check", on=True)
        ann.until(lambda: ann.real is not None)
        ann.both.clear()
        ann.until(lambda: ann.real is not None and ann.real.step >= 4)
        pairs = {step: shown for step, shown in ann.both.items() if len(shown) == 2 and step > 0}
        assert len(pairs) >= 3
        for generated, real in pairs.values():
            assert [s[4] for s in generated.subjects] == [s[4] for s in real.subjects]
        other.until(lambda: other.step >= 2)
        assert not {SIMULATOR_KEY, SIMULATOR_DELTA} & set(other.kinds), "only those who want it get it"
        ann.say(type="reset")
        ann.until(lambda: any("reality check is over" in str(t.get("message")) for t in ann.texts))


def test_where_there_is_no_simulator_it_is_said(client: TestClient) -> None:
    with viewing(client, open_room(client, OTHER)) as ann:
        assert ann.wait_for("welcome")["simulator"] is False
        ann.say(type="check", on=True)
        assert "not installed" in ann.wait_for("error")["message"]


@pytest.mark.meltingpot
def test_melting_pot_runs_beside() -> None:
    beside = Beside("collaborative_cooking__circuit")
    opening = beside.start(1).result()
    assert opening.spec.subjects == 2
    assert opening.scene(2).frames.shape == (2, 40, 72, 3)
    assert beside.step(np.zeros(2, np.int64)).result().frame.shape == (40, 72, 3)
    beside.close()
