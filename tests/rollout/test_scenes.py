from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.rollout.samples import SUBJECTS, scene

from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.rollout.scenes import SCENES, find_scene, load_scene, save_scene, scene_paths, scene_worlds
from actionparty.types import Scene, SubjectStates, WorldSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_scene(tmp_path / "some" / "start.npz", scene())
    return tmp_path / "some" / "start.npz"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    for world in ("arena", "coins"):
        for name in ("corner", "fight"):
            save_scene(tmp_path / SCENES / world / f"{name}.npz", scene())
    return tmp_path


def test_a_scene_survives_its_file(path: Path) -> None:
    before, after = scene(), load_scene(path)
    assert after.world == before.world
    assert after.source == before.source == "arena seed 0 step 10"
    for name in ("frames", "actions", "identities"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    for name in ("position", "facing", "alive"):
        a, b = getattr(after.states, name), getattr(before.states, name)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert [p.name for p in path.parent.iterdir()] == ["start.npz"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_scene_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInputError, match=r"start.npz: not a readable scene file"):
        load_scene(path)


def test_no_flipped_byte_is_ever_a_traceback(path: Path) -> None:
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            load_scene(path)
        except InvalidInputError:
            refused += 1
    assert refused > 100


def test_files_that_are_no_scenes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(InvalidInputError, match=r"no such scene file"):
        load_scene(path)
    path.write_text("hello")
    with pytest.raises(InvalidInputError, match=r"not a readable scene"):
        load_scene(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"not a readable scene"):
        load_scene(path)
    np.savez(path, frames=np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"not a readable scene"):
        load_scene(path)
    np.savez(path, frames=np.array([{"pickled": 1}], object))
    with pytest.raises(InvalidInputError, match=r"not a readable scene"):
        load_scene(path)


def rewrite(path: Path, about: dict[str, object] | None = None, **arrays: np.ndarray) -> None:
    with np.load(path) as file:
        values = {name: file[name] for name in file.files} | arrays
    text = json.loads(values["about"].tobytes()) | (about or {})
    values["about"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **values)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"format": 2}, "scene format 2, but this version reads 1"),
        ({"grid": [6]}, "not a readable scene"),
        ({"grid": [6, 8]}, "frames have shape"),
        ({"actions": None}, "not a readable scene"),
    ],
)
def test_a_scene_of_another_version_or_meaning_is_refused(path: Path, about: dict[str, object], expected: str) -> None:
    rewrite(path, about)
    with pytest.raises(InvalidInputError, match=expected):
        load_scene(path)


def test_a_facing_that_does_not_exist_is_refused(path: Path) -> None:
    facing = scene().states.facing.copy()
    facing[-1, 0] = 4
    rewrite(path, facing=facing)
    with pytest.raises(InvalidInputError, match=r"facing"):
        load_scene(path)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("actions", 9, "an action must be -1"),
        ("actions", -2, "an action must be -1"),
        ("position", np.nan, "finite"),
        ("position", np.inf, "finite"),
    ],
)
def test_a_value_that_no_scene_can_have_is_refused(path: Path, field: str, value: float, expected: str) -> None:
    assert len(scene().world.actions) == 9
    actions, position = scene().actions.copy(), scene().states.position.copy()
    (actions if field == "actions" else position)[-1, 0] = value
    rewrite(path, actions=actions, position=position)
    with pytest.raises(InvalidInputError, match=expected):
        load_scene(path)


def test_pictures_that_are_no_bytes_are_refused(path: Path) -> None:
    rewrite(path, frames=scene().frames.astype(np.float32))
    with pytest.raises(InvalidInputError, match=r"uint8"):
        load_scene(path)


def test_a_subject_outside_the_frame_is_refused(path: Path) -> None:
    position = scene().states.position.copy()
    position[-1, 1] = 7, 2
    alive = np.ones_like(scene().states.alive)
    rewrite(path, position=position, alive=alive)
    with pytest.raises(InvalidInputError, match=r"subject 1 is outside the 7x6 frame"):
        load_scene(path)


@pytest.mark.parametrize("count", [0, 65])
def test_zero_or_sixty_five_subjects_are_refused(count: int) -> None:
    start = scene()
    with pytest.raises(InvalidInputError, match=rf"{count} subjects; a world has 1 to 64"):
        replace(start, world=WorldSpec("arena", count, start.world.grid, start.world.actions))


def test_a_scene_file_with_sixty_five_subjects_is_refused(path: Path) -> None:
    many = np.arange(65) % SUBJECTS
    start = scene()
    rewrite(
        path,
        position=start.states.position[:, many],
        facing=start.states.facing[:, many],
        alive=start.states.alive[:, many],
        actions=start.actions[:, many],
        identities=start.identities[many],
    )
    with pytest.raises(InvalidInputError, match=r"65 subjects"):
        load_scene(path)


def test_parts_that_do_not_fit_are_refused() -> None:
    start = scene()
    states = SubjectStates(start.states.position[1:], start.states.facing, start.states.alive)
    with pytest.raises(InvalidInputError, match=r"positions have shape"):
        replace(start, states=states)
    with pytest.raises(InvalidInputError, match=r"identities"):
        replace(start, identities=start.identities[1:])
    with pytest.raises(InvalidInputError, match=r"0 frames"):
        replace(start, frames=start.frames[:0])
    assert isinstance(start, Scene)


def test_scenes_of_a_checkpoint_are_listed_and_found(shipped: Path) -> None:
    assert scene_worlds(shipped) == ["arena", "coins"]
    paths = scene_paths(shipped, "coins")
    assert [p.stem for p in paths] == ["corner", "fight"]
    assert find_scene(shipped, "coins", "fight") == find_scene(shipped, "coins", "1") == paths[1]
    assert find_scene(shipped, "coins", str(paths[0])) == paths[0]


def test_unknown_scenes_and_worlds_are_answered_with_the_nearest(shipped: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown scene of coins 'fihgt'.*Did you mean fight"):
        find_scene(shipped, "coins", "fihgt")
    with pytest.raises(UnknownNameError, match=r"unknown scene of coins '2'"):
        find_scene(shipped, "coins", "2")
    with pytest.raises(UnknownNameError, match=r"Did you mean coins"):
        scene_paths(shipped, "coin")


def test_a_checkpoint_without_scenes_says_where_else_to_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no scenes come with this checkpoint.*--data"):
        scene_paths(tmp_path, "coins")


def test_a_scene_file_that_does_not_exist_is_named(shipped: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.npz: no such scene file"):
        load_scene(find_scene(shipped, "coins", "missing.npz"))


def test_a_full_disk_leaves_the_old_scene(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InvalidInputError, match=r"disk full"):
        save_scene(path, scene(11))
    assert load_scene(path).source == "arena seed 0 step 10"
    assert [p.name for p in path.parent.iterdir()] == ["start.npz"]
