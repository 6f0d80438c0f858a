from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.environment.stage import SCENES
from tests.rollout.samples import ARENA, model

import actionparty
from actionparty.environment.make import env, open_worlds, tensor_env, vector_env
from actionparty.environment.vector import VectorRollout
from actionparty.errors import CheckpointError, InvalidInputError, MissingDependencyError, UnknownNameError
from actionparty.rollout.scenes import SCENES as FOLDER
from actionparty.rollout.scenes import best_checkpoints, save_scene
from actionparty.training.checkpoint import save_weights
from actionparty.worlds.views import View


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_weights(tmp_path, ARENA, model().state_dict(), {})
    for k, scene in enumerate(SCENES):
        save_scene(tmp_path / FOLDER / "arena" / f"{k}.npz", scene)
    return tmp_path


def test_the_package_offers_them() -> None:
    assert actionparty.env is env
    assert actionparty.vector_env is vector_env
    assert actionparty.tensor_env is tensor_env
    assert actionparty.VectorRollout is VectorRollout


def test_a_world_of_a_checkpoint_starts_from_its_scenes(checkpoint: Path) -> None:
    going = vector_env("arena", 3, checkpoint=checkpoint, observe="frame")
    told = going.reset(0)
    for row, scene in enumerate(SCENES):
        np.testing.assert_array_equal(told["frame"][row, 0], scene.frames[-1])
    assert env("arena", checkpoint=checkpoint, max_steps=7).spec == SCENES[0].world


def test_worlds_that_stay_on_a_device_start_from_the_scenes_of_a_checkpoint(checkpoint: Path) -> None:
    going = tensor_env("arena", 20, checkpoint=checkpoint)
    shown = {frame.numpy().tobytes() for frame in going.reset(range(20))}
    assert shown == {scene.frames[-1].tobytes() for scene in SCENES}
    assert tensor_env("arena", 1, 2, checkpoint).reset([5]).numpy().tobytes() == SCENES[2].frames[-1].tobytes()
    with pytest.raises(InvalidInputError, match="engine torch or torch-bf16, not auto"):
        tensor_env("arena", 1, checkpoint=checkpoint, engine="auto")
    with pytest.raises(InvalidInputError, match="device 'abacus'"):
        tensor_env("arena", 1, checkpoint=checkpoint, device="abacus")


@pytest.mark.parametrize("which", [2, "2", SCENES[2]])
def test_a_scene_can_be_chosen(checkpoint: Path, which: Any) -> None:
    made = env("arena", which, checkpoint)
    made.reset(seed=0)
    np.testing.assert_array_equal(made.render(), SCENES[2].frames[-1])
    again = env("arena", checkpoint / FOLDER / "arena" / "2.npz", checkpoint)
    again.reset(seed=5)
    np.testing.assert_array_equal(again.render(), SCENES[2].frames[-1])


def test_episodes_start_from_the_scenes_that_were_given(checkpoint: Path) -> None:
    going = vector_env("arena", 3, [SCENES[1], SCENES[0]], checkpoint, observe="frame")
    told = going.reset(4)  # scene number seed % 2
    for row, scene in enumerate((SCENES[1], SCENES[0], SCENES[1])):
        np.testing.assert_array_equal(told["frame"][row, 0], scene.frames[-1])


def test_the_weights_that_do_a_world_best_are_taken(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    from actionparty.checkpoints import find_checkpoint, shipped_names

    taken: list[str] = []

    def note(folder: Path, *others: Any) -> Any:
        taken.append(folder.name)
        raise InvalidInputError("enough")

    monkeypatch.setattr("actionparty.rollout.generated_world.load_rollout", note)
    best = best_checkpoints([find_checkpoint(name) for name in shipped_names()])
    for world in ("coins", "clean_up"):
        with pytest.raises(InvalidInputError, match="enough"):
            open_worlds(world, 1)
    assert taken == [best["coins"].name, best["clean_up"].name]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"world": "coinz"}, UnknownNameError, "Did you mean coins"),
        ({"world": "coinz", "backend": "meltingpot"}, UnknownNameError, "Did you mean coins"),
        ({"world": "coins", "backend": "melting"}, UnknownNameError, "Did you mean meltingpot"),
        ({"world": "coins", "checkpoint": "startr"}, UnknownNameError, "Did you mean starter"),
        ({"world": "coins", "scene": "100"}, UnknownNameError, "scene of coins"),
        ({"world": "coins", "scene": SCENES[0]}, InvalidInputError, "one of arena, not of coins"),
        ({"world": "coins", "scene": [SCENES[0]]}, InvalidInputError, "one of arena, not of coins"),
        ({"world": "coins", "scene": []}, InvalidInputError, "coins: no scene to start from"),
        ({"world": "clean_up", "checkpoint": "starter"}, UnknownNameError, "world with scenes"),
        ({"world": "arena"}, CheckpointError, "no weights for arena"),
        ({"world": "arena", "backend": "meltingpot"}, InvalidInputError, "its real backend is 'arena'"),
        ({"world": "coins", "backend": "arena"}, InvalidInputError, "its real backend is 'meltingpot'"),
        ({"world": "arena", "backend": "arena", "scene": 1}, InvalidInputError, "scene: only for generated"),
        ({"world": "arena", "backend": "arena", "checkpoint": "all"}, InvalidInputError, "checkpoint: only"),
        ({"world": "arena", "backend": "arena", "observe": ("views",)}, UnknownNameError, "Did you mean view"),
        ({"world": "arena", "backend": "arena", "max_steps": 0}, InvalidInputError, "max_steps"),
        ({"world": "arena", "backend": "arena", "max_steps": "9"}, InvalidInputError, "max_steps .* but is '9'"),
        ({"world": "coins", "device": "toaster"}, InvalidInputError, "device 'toaster'"),
    ],
)
def test_what_cannot_be_made_says_why(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        env(**options)


@pytest.mark.parametrize("backend", ["arena", "generated"])
@pytest.mark.parametrize("size", [0, -1, 2.5, "2", None])
def test_a_vector_has_worlds(size: Any, backend: str) -> None:
    with pytest.raises(InvalidInputError, match="number of worlds must be a whole number of at least 1, but is"):
        vector_env("arena", size, backend=backend)


def test_a_vector_has_as_many_worlds_as_numpy_says() -> None:
    assert vector_env("arena", np.int64(2), backend="arena").size == 2  # type: ignore[arg-type]


def test_without_pettingzoo_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "actionparty.environment.parallel", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install 'pettingzoo"):
        env("arena", backend="arena")
    assert vector_env("arena", 2, backend="arena").size == 2


def test_real_worlds_need_no_torch_and_the_package_nothing() -> None:
    script = (
        "import sys, actionparty; assert not {'torch', 'pettingzoo', 'gymnasium'} & set(sys.modules)\n"
        "e = actionparty.env('arena', backend='arena'); e.reset(seed=0)\n"
        "e.step(dict.fromkeys(e.agents, 0)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_view_can_be_another_one() -> None:
    made = vector_env("arena", 1, backend="arena", view=View(1, 1, 1, 1))
    assert made.reset(0)["view"].shape == (1, 4, 24, 24, 3)
