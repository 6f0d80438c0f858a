from __future__ import annotations

import base64
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.interfaces.play.stage import OTHER, SPEC, WORLD, Stage, kinds, refused, say
from tests.rollout.samples import ARENA

from actionparty.checkpoints import find_checkpoint
from actionparty.errors import InvalidInputError
from actionparty.interfaces.play import scene_files
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.messages import Edit
from actionparty.interfaces.play.sandbox import MOST_SUBJECTS, Palette, apply
from actionparty.interfaces.play.scene_files import read_scene, scene_bytes
from actionparty.types import CELL, Scene


@pytest.fixture(scope="module")
def starter() -> ShippedMenu:
    return ShippedMenu(find_checkpoint("starter"))


def edit(scene: Scene, palette: Palette, *ops: dict[str, Any]) -> Scene:
    message = say(type="edit", ops=list(ops))
    assert isinstance(message, Edit)
    return apply(scene, message.ops, palette)


def tile(scene: Scene, x: int, y: int, frame: int = -1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shown = scene.frames[frame]
    found: np.ndarray[Any, np.dtype[np.uint8]] = shown[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]
    return found


def free_cells(scene: Scene, palette: Palette) -> list[tuple[int, int]]:
    h, w = scene.world.grid
    taken = {tuple(c) for c in scene.states[-1].cells.tolist()}
    floor = [(x, y) for y in range(h) for x in range(w) if np.array_equal(tile(scene, x, y), palette.floor)]
    return [cell for cell in floor if cell not in taken]


def test_a_moved_subject_stands_there_in_its_picture_and_leaves_floor(starter: ShippedMenu) -> None:
    scene, palette = starter.scene("commons_harvest__open", 0), starter.palette("commons_harvest__open")
    x, y = free_cells(scene, palette)[0]
    old_x, old_y = scene.states[-1].cells[0].tolist()
    before = tile(scene, old_x, old_y).copy()
    moved = edit(scene, palette, {"op": "move", "subject": 0, "x": x, "y": y})
    assert np.array_equal(tile(moved, x, y), before)
    assert np.array_equal(tile(moved, old_x, old_y), palette.floor)
    assert (moved.states.cells[:, 0] == (x, y)).all(), "as if it had always stood there"
    assert np.array_equal(tile(moved, x, y, 0), before)
    assert np.array_equal(moved.states.position[:, 1:], scene.states.position[:, 1:])
    changed = (moved.frames[-1] != scene.frames[-1]).any(-1).sum()
    assert changed <= 2 * CELL * CELL
    assert tile(scene, old_x, old_y).tolist() == before.tolist(), "the scene that was given stays as it was"


def test_a_turned_subject_is_drawn_as_recorded_subjects_are(starter: ShippedMenu) -> None:
    scene, palette = starter.scene("commons_harvest__open", 0), starter.palette("commons_harvest__open")
    for facing in range(4):
        turned = edit(scene, palette, {"op": "face", "subject": 2, "facing": facing})
        x, y = turned.states[-1].cells[2].tolist()
        match = (palette.worn == tile(turned, x, y)).all((1, 2, 3))
        assert int(palette.facing[match][0]) == facing
        assert turned.states.facing[-1, 2] == facing


def test_subjects_are_added_up_to_sixteen_and_look_different(starter: ShippedMenu) -> None:
    scene, palette = starter.scene("commons_harvest__open", 0), starter.palette("commons_harvest__open")
    for x, y in free_cells(scene, palette)[: MOST_SUBJECTS - scene.world.subjects]:
        scene = edit(scene, palette, {"op": "add", "x": x, "y": y})
    assert scene.world.subjects == MOST_SUBJECTS
    assert len({identity.tobytes() for identity in scene.identities}) >= 14
    assert scene.states.alive[:, 7:].all()
    x, y = free_cells(scene, palette)[0]
    with pytest.raises(InvalidInputError, match="at most 16"):
        edit(scene, palette, {"op": "add", "x": x, "y": y})


def test_a_removed_subject_leaves_nothing_behind(starter: ShippedMenu) -> None:
    world = "collaborative_cooking__circuit"
    scene, palette = starter.scene(world, 0), starter.palette(world)
    x, y = scene.states[-1].cells[0].tolist()
    left = edit(scene, palette, {"op": "remove", "subject": 0})
    assert left.world.subjects == 1
    assert np.array_equal(tile(left, x, y), palette.floor)
    assert np.array_equal(left.states.position[:, 0], scene.states.position[:, 1])
    assert np.array_equal(left.identities[0], scene.identities[1])
    with pytest.raises(InvalidInputError, match="last subject"):
        edit(left, palette, {"op": "remove", "subject": 0})


def test_tiles_are_painted_from_the_palette_of_the_world(starter: ShippedMenu) -> None:
    scene, palette = starter.scene("coins", 0), starter.palette("coins")
    (x, y), (u, v) = free_cells(scene, palette)[:2]
    ops = ({"op": "paint", "x": x, "y": y, "tile": 1}, {"op": "paint", "x": u, "y": v, "tile": 2})
    painted = edit(scene, palette, *ops)
    assert np.array_equal(tile(painted, x, y), palette.scenery[1])
    assert np.array_equal(tile(painted, u, v, 0), palette.scenery[2])
    strip = np.asarray(Image.open(io.BytesIO(palette.png())))
    assert np.array_equal(strip[:, CELL : 2 * CELL], palette.scenery[1])
    assert strip.shape == (CELL, CELL * len(palette.scenery), 3)


def test_what_cannot_be_is_refused_and_changes_nothing(stage: Stage) -> None:
    scene, palette = stage.menu.scene(WORLD, 0), stage.menu.palette(WORLD)
    x, y = scene.states[-1].cells[1].tolist()
    before = scene.frames.copy()
    for op, why in (
        ({"op": "move", "subject": 0, "x": x, "y": y}, "stands at"),
        ({"op": "move", "subject": 9, "x": 1, "y": 1}, "no subject 9"),
        ({"op": "add", "x": 200, "y": 0}, "outside"),
        ({"op": "paint", "x": 1, "y": 1, "tile": 5000}, "no tile"),
        ({"op": "remove", "subject": 60}, "no subject"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            edit(scene, palette, {"op": "face", "subject": 0, "facing": 1}, op)
    assert np.array_equal(scene.frames, before)


def test_added_and_removed_in_one_edit(stage: Stage) -> None:
    stage.join(1)
    stage.settle()
    stage.do(1, type="pause")
    x, y = free_cells(stage.menu.scene(WORLD, 0), stage.menu.palette(WORLD))[0]
    ops = [{"op": "add", "x": x, "y": y}, {"op": "remove", "subject": SPEC.subjects}, {"op": "remove", "subject": 0}]
    stage.do(1, type="edit", ops=ops)
    stage.settle()
    assert len(stage.room.table.seats) == stage.room.spec.subjects == SPEC.subjects - 1
    assert [seat.subject for seat in stage.room.table.seats] == list(range(SPEC.subjects - 1))


def test_two_edits_at_once_both_count(stage: Stage) -> None:
    stage.join(1)
    stage.settle()
    stage.do(1, type="pause")
    cells = free_cells(stage.menu.scene(WORLD, 0), stage.menu.palette(WORLD))
    for x, y in cells[:2]:
        stage.do(1, type="edit", ops=[{"op": "add", "x": x, "y": y}])
    said = stage.once()
    assert said is not None
    assert kinds(said) == ["welcome"]
    assert stage.room.spec.subjects == SPEC.subjects + 2


def test_a_scene_file_comes_back_as_it_was(stage: Stage) -> None:
    scene = stage.menu.scene(WORLD, 0)
    data = base64.b64encode(scene_bytes(scene)).decode()
    again = read_scene(data, SPEC, ARENA.context)
    assert again.world == scene.world
    for name in ("frames", "actions", "identities"):
        assert np.array_equal(getattr(again, name), getattr(scene, name))
    assert np.array_equal(again.states.position, scene.states.position)


def changed(scene: Scene, **fields: Any) -> str:
    """A scene file with arrays of our choice."""
    source = io.BytesIO(scene_bytes(scene))
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=True, **{**arrays, **fields})
    return base64.b64encode(sink.getvalue()).decode()


def test_a_scene_file_from_anywhere_is_checked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage.menu.scene(WORLD, 0)
    good = base64.b64encode(scene_bytes(scene)).decode()
    t, n = scene.actions.shape
    far = np.where(np.arange(n)[:, None] == 0, 1e9, scene.states.position).astype(np.float32)
    other = base64.b64encode(scene_bytes(stage.menu.scene(OTHER, 0))).decode()
    bad = {
        "no base64": "%%%",
        "no file": base64.b64encode(b"PK\x03\x04 nothing").decode(),
        "cut off": good[: len(good) // 2 // 4 * 4],
        "another world": other,
        "far outside": changed(scene, position=far, alive=np.zeros((t, n), np.bool_)),
        "two on one cell": changed(scene, position=np.full((t, n, 2), 2, np.float32), alive=np.ones((t, n), np.bool_)),
        "unknown action": changed(scene, actions=np.full((t, n), 77, np.int16)),
        "not finite": changed(scene, position=np.full((t, n, 2), np.nan, np.float32)),
        "objects": changed(scene, frames=np.array([{"a": 1}], object)),
        "wrong shape": changed(scene, frames=np.zeros((2, 8, 8, 3), np.uint8)),
        "no arrays": changed(scene, about=np.zeros(0, np.uint8)),
    }
    for name, data in bad.items():
        with pytest.raises(InvalidInputError) as caught:
            read_scene(data, SPEC, ARENA.context)
        assert "/" not in str(caught.value).replace("n/a", ""), f"{name}: no path of this machine is told"
    monkeypatch.setattr(scene_files, "MOST_UNPACKED", 1000)
    with pytest.raises(InvalidInputError, match="too large"):
        read_scene(good, SPEC, ARENA.context)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", b"\0" * 40_000_000)
    assert len(sink.getvalue()) < 100_000
    with pytest.raises(InvalidInputError, match="too large"):
        read_scene(base64.b64encode(sink.getvalue()).decode(), SPEC, 2)


def test_a_room_starts_from_a_scene_that_was_saved(stage: Stage, tmp_path: Path) -> None:
    stage.join(1)
    stage.run(5)
    record = stage.room.shown
    assert record is not None
    data = base64.b64encode(scene_bytes(stage.room.history.scene(record.step))).decode()
    frame = record.frame
    stage.run(3)
    stage.room.load(1, read_scene(data, SPEC, ARENA.context))
    stage.settle()
    assert stage.room.history.last == 0
    assert np.array_equal(stage.frame, frame)
    stage.join(2)
    stage.do(1, type="take", subject=0)
    with pytest.raises(InvalidInputError, match="take a seat"):
        stage.room.load(2, read_scene(data, SPEC, ARENA.context))
    assert refused(stage.do(2, type="pause"))


def test_a_world_without_labels_has_a_palette_of_what_it_shows(stage: Stage) -> None:
    palette = stage.menu.palette(WORLD)
    assert len(palette.worn) == 0
    shown = {tile(stage.menu.scene(WORLD, 0), x, y).tobytes() for x in range(11) for y in range(9)}
    assert {t.tobytes() for t in palette.scenery} <= shown
    assert replace(palette).floor.tobytes() == palette.scenery[0].tobytes()
