from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.interfaces.play.stage import OTHER, SPEC, WORLD
from tests.rollout.samples import ARENA

from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.history import History
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.records import KEY_EVERY
from actionparty.rollout.snapshot import Snapshot, from_bytes, go_on, reseeded, take, unpack
from actionparty.types import SCENE_ROWS, Ints, Scene


def same(a: Snapshot, b: Snapshot) -> bool:
    return a.spec == b.spec and all(torch.equal(a.table[name], b.table[name]) for name in a.table)


def choices(steps: int, seed: int = 0) -> Ints:
    return np.random.default_rng(seed).integers(0, len(SPEC.actions), (steps, SPEC.subjects))


@pytest.fixture(scope="module")
def scene(folder: object, menu: ShippedMenu) -> Scene:
    return menu.scene(WORLD, 0)


@pytest.fixture(scope="module")
def menu(request: pytest.FixtureRequest) -> ShippedMenu:
    return ShippedMenu(request.getfixturevalue("folder"))


def played(engine: Engine, scene: Scene, steps: int, limit: int = 1000) -> tuple[History, list[Snapshot]]:
    history, snapshots = History(ARENA.context, limit), [engine.begin(scene, 3).result()]
    history.begin(scene, snapshots[0])
    for row in choices(steps):
        stepped = engine.step(snapshots[-1], row).result()
        snapshots.append(stepped.snapshot)
        history.append(stepped.snapshot, row, stepped.rewards)
    return history, snapshots


def play_on(engine: Engine, history: History, rows: Ints) -> None:
    for row in rows:
        stepped = engine.step(history.snapshot(history.last), row).result()
        history.append(stepped.snapshot, row, stepped.rewards)


def test_every_step_comes_back_exactly(engine: Engine, scene: Scene) -> None:
    history, snapshots = played(engine, scene, 2 * KEY_EVERY + 5)
    for step, snapshot in enumerate(snapshots):
        assert same(history.snapshot(step), snapshot)
        assert np.array_equal(history[step].frame, snapshot.frame)


def test_what_drops_out_leaves_the_rest_exact(engine: Engine, scene: Scene) -> None:
    history, snapshots = played(engine, scene, 60, limit=20)
    assert (history.first, history.last) == (40, 60)
    assert len(history) == 20 + ARENA.context
    for step in range(40, 61):
        assert same(history.snapshot(step), snapshots[step])
    with pytest.raises(InvalidInputError, match="40 to 60"):
        history.snapshot(39)


def test_a_step_takes_little_room(engine: Engine, scene: Scene) -> None:
    history, snapshots = played(engine, scene, 40)
    raw = sum(value.numel() * value.element_size() for value in snapshots[0].table.values())
    assert history.size() / len(history) < raw / 2, "though a third of all cells is drawn as noise in every step"


def test_a_fork_goes_on_as_before(engine: Engine, scene: Scene) -> None:
    history, snapshots = played(engine, scene, 30)
    history.fork(11)
    assert history.last == 11
    play_on(engine, history, choices(30)[11:])
    for step in range(31):
        assert same(history.snapshot(step), snapshots[step])


def test_a_stretch_starts_where_its_scene_was_begun(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 6)
    assert [r.step for r in history.stretch(6)] == list(range(7))
    history.begin(scene, engine.begin(scene, 9).result(), keep=True)
    assert history.last == 7
    assert [r.step for r in history.stretch(7)] == [7]
    assert [r.step for r in history.stretch(5)] == list(range(6))
    assert [r.step for r in history.upto(7)] == list(range(8))


def test_a_step_as_a_scene_knows_its_past(engine: Engine, scene: Scene) -> None:
    history, snapshots = played(engine, scene, 12)
    again = history.scene(12)
    assert len(again.actions) == SCENE_ROWS
    assert np.array_equal(again.frames[-1], snapshots[12].frame)
    assert np.array_equal(again.frames[-2], snapshots[11].frame)
    assert np.array_equal(again.actions[-12:], choices(12))
    assert np.array_equal(again.actions[-13], scene.actions[-1])
    assert np.array_equal(again.states.position[-13], scene.states.position[-1])
    assert np.array_equal(again.identities, scene.identities)
    fresh = engine.begin(history.scene(12), 1).result()
    for name in ("context", "position", "facing", "alive", "past_action", "identity"):
        assert torch.equal(fresh.table[name], snapshots[12].table[name]), name
    assert np.array_equal(history.scene(0).actions, scene.actions)


def test_snapshots_survive_bytes_and_packing(engine: Engine, scene: Scene) -> None:
    _, (*_, last) = played(engine, scene, 3)
    assert same(from_bytes(last.to_bytes()), last)
    assert same(unpack(last.spec, last.pack(), last.cells), last)
    for damaged in (b"", b"x" * 100, last.to_bytes()[:-10], last.to_bytes().replace(b"identity", b"identitx")):
        with pytest.raises(CheckpointError):
            from_bytes(damaged)


def test_a_batch_goes_on_from_snapshots_of_one_world_only(engine: Engine, scene: Scene, menu: ShippedMenu) -> None:
    one, other = engine.begin(scene, 0).result(), engine.begin(menu.scene(OTHER, 0), 0).result()
    rollout = engine._rollout(one.spec.name)
    with pytest.raises(InvalidInputError, match="one world"):
        go_on(rollout, [one, other])
    go_on(rollout, [one, reseeded(one, 5)])
    first, second = take(rollout)
    assert same(first, one)
    assert not torch.equal(first.table["seed"], second.table["seed"])
    assert torch.equal(first.table["context"], second.table["context"])
