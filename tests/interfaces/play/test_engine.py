from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.interfaces.play.stage import OTHER, SCENES, SPEC, WORLD, make_engine

from actionparty.checkpoints import CONFIG, QUALITY, WEIGHTS, fingerprint, read_json, write_json
from actionparty.errors import CheckpointError, InvalidInputError, UnknownNameError
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.fair import LATE_SECONDS, Owner
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import Snapshot, Stepped
from actionparty.training.checkpoint import load_network, load_tensors, save_tensors
from actionparty.types import Frame, Ints

STEPS = 12


def choices(room: int) -> Ints:
    return np.random.default_rng(room).integers(0, len(SPEC.actions), (STEPS, SPEC.subjects))


def alone(engine: Engine, menu: ShippedMenu, room: int) -> list[Frame]:
    """The frames of a plain rollout in this thread."""
    rollout = BatchRollout(engine.network(WORLD))
    rollout.reset([menu.scene(WORLD, room % SCENES)], [room])
    return [rollout.step(row[None]).frames[0] for row in choices(room)]


def together(engine: Engine, menu: ShippedMenu, rooms: int) -> list[list[Frame]]:
    """The frames of several rooms that are stepped at the same time."""
    now = [engine.begin(menu.scene(WORLD, room % SCENES), room).result() for room in range(rooms)]
    frames: list[list[Frame]] = [[] for _ in now]
    for step in range(STEPS):
        pending = [engine.step(snapshot, choices(room)[step]) for room, snapshot in enumerate(now)]
        now = [future.result().snapshot for future in pending]
        for room, snapshot in enumerate(now):
            frames[room].append(snapshot.frame)
    return frames


def test_rooms_that_play_at_once_are_exactly_as_if_alone(engine: Engine, folder: Path) -> None:
    torch.set_num_threads(1)
    menu = ShippedMenu(folder)
    for room, frames in enumerate(together(engine, menu, 5)):
        for one, many in zip(alone(engine, menu, room), frames, strict=True):
            assert np.array_equal(one, many)


def test_one_batch_equals_single_steps_but_for_rounding(folder: Path) -> None:
    """Sums may differ in their last bits: from the same moment no state does, and no pixel by more than a level."""
    engine, menu = make_engine(folder, joint=True), ShippedMenu(folder)
    snapshots = [engine.begin(menu.scene(WORLD, room % SCENES), room).result() for room in range(5)]
    rows = np.stack([choices(room)[0] for room in range(5)])
    batch = engine.run(snapshots, rows)
    for room, stepped in enumerate(batch):
        single = engine.run([snapshots[room]], rows[room : room + 1])[0]
        assert np.array_equal(single.snapshot.states.position, stepped.snapshot.states.position)
        assert np.array_equal(single.snapshot.states.facing, stepped.snapshot.states.facing)
        assert np.abs(single.snapshot.frame.astype(int) - stepped.snapshot.frame.astype(int)).max() <= 1
        assert np.allclose(single.rewards, stepped.rewards, atol=1e-5)
        assert torch.equal(single.snapshot.table["seed"], stepped.snapshot.table["seed"])
    engine.close()


class Counting(Engine):
    """Notes how large each batch was; the first one waits until it may go on."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.network(WORLD), joint=True)
        self.sizes: list[int] = []
        self.gate = threading.Event()

    def run(self, snapshots: list[Snapshot], actions: Ints) -> list[Stepped]:
        self.gate.wait(20)
        self.sizes.append(len(snapshots))
        return super().run(snapshots, actions)


def test_what_is_due_together_becomes_one_batch_per_world(engine: Engine, folder: Path) -> None:
    menu, counting = ShippedMenu(folder), Counting(engine)
    arena = [engine.begin(menu.scene(WORLD, 0), i).result() for i in range(4)]
    pond = [engine.begin(menu.scene(OTHER, 0), i).result() for i in range(2)]
    order = (arena[0], arena[1], pond[0], arena[2], pond[1], arena[3])
    pending = [
        counting.step(snapshot, np.zeros(snapshot.spec.subjects, np.int64), Owner("A", f"room {i}"))
        for i, snapshot in enumerate(order)
    ]
    counting.gate.set()
    done = [future.result() for future in pending]
    assert [each.snapshot.spec.name for each in done] == [WORLD, WORLD, OTHER, WORLD, OTHER, WORLD]
    assert sum(counting.sizes) == 6
    assert sorted(counting.sizes) in ([1, 2, 3], [2, 4])
    counting.close()


@pytest.mark.parametrize("joint", [False, True])
def test_a_step_that_fails_fails_alone(folder: Path, joint: bool) -> None:
    engine, menu = make_engine(folder, joint=joint), ShippedMenu(folder)
    start = engine.begin(menu.scene(WORLD, 0), 0).result()
    good, bad = np.zeros(SPEC.subjects, np.int64), np.full(SPEC.subjects, 99)
    pending = [engine.step(start, row) for row in (good, bad, good)]
    assert pending[0].result().snapshot.frame.shape == start.frame.shape
    with pytest.raises(InvalidInputError):
        pending[1].result()
    assert np.array_equal(pending[2].result().snapshot.frame.shape, start.frame.shape)
    engine.close()


@pytest.mark.parametrize("joint", [False, True])
def test_the_room_of_another_opener_does_not_wait_for_all_of_ones_own(folder: Path, joint: bool) -> None:
    """What is really done, in its order: one worker, and a gate until everything waits."""
    clock = iter(np.arange(0, 1000, 0.01))
    engine = Engine(load_network(folder), workers=1, joint=joint, clock=lambda: float(next(clock)))
    gate, served = threading.Event(), list[str]()

    def serve(name: str) -> bool:
        served.append(name)
        return True

    pending = [engine.submit(lambda: gate.wait(20))]
    for owner in (*(Owner("Mallory", f"m{i}") for i in range(15)), Owner("Bob", "b0"), Owner("Bob", "b1")):
        pending += [engine.submit(partial(serve, owner.room), owner)]
    assert not engine.behind
    gate.set()
    assert all(future.result(20) for future in pending)
    assert served.index("b0") <= 2
    assert served.index("b1") <= 4
    assert sorted(served) == sorted([*(f"m{i}" for i in range(15)), "b0", "b1"])
    assert engine.behind, f"the last waited longer than {LATE_SECONDS} s"
    engine.close()


def test_an_engine_that_ends_cancels_what_waits(folder: Path) -> None:
    engine = Engine(load_network(folder), workers=1)
    gate, started = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return gate.wait(20)

    running = engine.submit(work)
    waiting = [engine.submit(lambda: None, Owner("A", str(i))) for i in range(3)]
    assert started.wait(20)
    threading.Timer(0.1, gate.set).start()
    engine.close()
    assert running.result(0)
    assert all(future.cancelled() for future in waiting)


@pytest.fixture
def better(folder: Path, tmp_path: Path) -> Path:
    """Another checkpoint with other weights, measured to be better than ``folder`` in one of its two worlds."""
    shutil.copytree(folder, tmp_path / "better")
    torch.manual_seed(99)
    tensors = {name: torch.randn_like(value.float()) for name, value in load_tensors(folder / WEIGHTS).items()}
    save_tensors(tmp_path / "better" / WEIGHTS, {name: value.to(torch.bfloat16) for name, value in tensors.items()})
    worlds = {WORLD: {"ma1": 0.9}, OTHER: {"ma1": 0.0}}
    write_json(tmp_path / "better" / QUALITY, {"worlds": worlds})
    return tmp_path / "better"


def test_each_world_is_generated_by_the_checkpoint_that_does_it_best(folder: Path, better: Path) -> None:
    torch.set_num_threads(1)
    menu = ShippedMenu(folder, better)
    assert menu.homes == {WORLD: better, OTHER: folder}
    assert menu.fingerprint(WORLD) == fingerprint(better) != menu.fingerprint(OTHER)
    assert [card["experimental"] for card in menu.cards()] == [True, False]
    engine = Engine.from_checkpoints(menu.homes, workers=1)
    for world, source in menu.homes.items():
        scene = menu.scene(world, 0)
        own = BatchRollout(load_network(source))
        own.reset([scene], [3])
        actions = np.zeros(scene.world.subjects, np.int64)
        stepped = engine.step(engine.begin(scene, 3).result(), actions).result()
        assert np.array_equal(stepped.snapshot.frame, own.step(actions[None]).frames[0])
    engine.close()


def test_checkpoints_that_see_different_numbers_of_frames_are_not_played_together(folder: Path, better: Path) -> None:
    values = read_json(better / CONFIG)
    values["model"]["context"] += 1
    write_json(better / CONFIG, values)
    with pytest.raises(InvalidInputError, match="different numbers of frames"):
        ShippedMenu(folder, better)
    with pytest.raises(UnknownNameError, match="arena"):
        ShippedMenu(folder, only=["aren"])


def test_a_world_without_weights_is_not_called_unknown(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine" / "scenes" / WORLD)
    with pytest.raises(CheckpointError, match="no weights for arena come with the package: train some"):
        ShippedMenu(tmp_path / "mine", only=[WORLD])
    menu = ShippedMenu(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="no weights for arena come with the package: train some"):
        menu.scene(WORLD, 0)
    with pytest.raises(UnknownNameError, match=r"shipped weights '.*' have it: --checkpoint "):
        menu.scene("coins", 0)
    with pytest.raises(UnknownNameError, match=r"unknown world with weights here 'ponds'\. Did you mean pond"):
        menu.scene("ponds", 0)
    with pytest.raises(UnknownNameError, match="started for pond only, not for arena"):
        ShippedMenu(folder, only=[OTHER]).scene(WORLD, 0)
