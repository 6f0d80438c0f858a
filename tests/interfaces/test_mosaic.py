from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from benchmarks.scaling import lively_network, synthetic_scene
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from actionparty.config import MODEL_PRESETS
from actionparty.errors import InvalidInputError
from actionparty.interfaces import mosaic
from actionparty.interfaces.cli import app
from actionparty.interfaces.demo import run_demo
from actionparty.interfaces.drawing import PAPER
from actionparty.interfaces.mosaic import Layout, Stage, Troupe, box_scale, choose_worlds, family, film_mosaic
from actionparty.rollout.scenes import save_scene
from actionparty.training.checkpoint import load_network, save_weights
from actionparty.types import CELL, Scene, WorldSpec

WORLDS = {
    "kitchen__ring": ((5, 9), 2),
    "kitchen__crowded": ((9, 13), 9),
    "field__open": ((23, 39), 7),
    "race": ((38, 26), 6),
    "chicken_in_the_matrix__arena": ((24, 25), 8),
    "stag_hunt_in_the_matrix__repeated": ((15, 23), 2),
}
"""Grids (h, w) and casts that differ a lot."""
ORDER = ["kitchen__crowded", "chicken_in_the_matrix__arena", "field__open", "race"]
"""One of each family, large casts first."""
SECONDS = ["kitchen__ring", "stag_hunt_in_the_matrix__repeated"]


def scene(name: str) -> Scene:
    grid, subjects = WORLDS[name]
    made = synthetic_scene(grid, subjects)
    return replace(made, world=replace(made.world, name=name))


def make_checkpoint(folder: Path, names: Sequence[str]) -> Path:
    """Write a tiny network of random weights in which everybody moves, and a scene of each world."""
    network = lively_network(replace(MODEL_PRESETS["tiny"], worlds=tuple(names)))
    save_weights(folder, network.config, network.state_dict(), {})
    for name in names:
        save_scene(folder / "scenes" / name / "0.npz", scene(name))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("mosaic") / "weights", sorted(WORLDS))


def spec(name: str, subjects: int = 2, grid: tuple[int, int] = (9, 13)) -> WorldSpec:
    return WorldSpec(name, subjects, grid, ("noop",))


def specs() -> list[WorldSpec]:
    return [spec(name, subjects, grid) for name, (grid, subjects) in WORLDS.items()]


def test_every_family_is_shown_before_a_second_of_any_and_large_casts_first() -> None:
    for limit in range(len(WORLDS) + 3):
        for given in (specs(), specs()[::-1]):
            assert [found.name for found in choose_worlds(given, limit)] == (ORDER + SECONDS)[:limit]
    same = [spec(f"same__{letter}", 3) for letter in "cab"]
    assert [found.name for found in choose_worlds(same, 2)] == ["same__a", "same__b"]


def test_all_matrix_games_are_one_family_and_variants_of_others_too() -> None:
    assert family("stag_hunt_in_the_matrix__arena") == family("chicken_in_the_matrix__repeated")
    assert family("territory__open") == family("territory__rooms") != family("paintball__open")
    assert family("coins") == "coins"


@pytest.mark.parametrize("count", [2, 3, 5, 6, 16, 17, 49])
def test_boxes_are_equal_lie_apart_and_hold_every_picture_unbent(count: int) -> None:
    shown = [spec(f"w{k}", 2, grid) for k, (grid, _) in zip(range(count), list(WORLDS.values()) * 9, strict=False)]
    layout = Layout.of(shown)
    blank = [Image.new("RGB", _drawn(s, f), (255, 0, 255)) for s, f in zip(shown, layout.scales, strict=True)]
    page = np.asarray(layout.draw(blank, 3))
    assert page.shape[0] % 2 == page.shape[1] % 2 == 0
    assert page.shape[1] < 2400
    marked = (page == (255, 0, 255)).all(-1)
    assert marked.sum() == sum(picture.width * picture.height for picture in blank), "no picture is cut or covered"
    boxes = [(*layout.place(k), *layout.box) for k in range(count)]
    for (x, y, w, h), (x2, y2, _, _) in combinations(boxes, 2):
        assert abs(x - x2) >= w or abs(y - y2) >= h
    assert layout.columns**2 >= count > (layout.columns - 1) * (layout.columns - 2)


def _drawn(world: WorldSpec, scale: float) -> tuple[int, int]:
    return round(world.grid[1] * CELL * scale), round(world.grid[0] * CELL * scale)


def test_frames_are_enlarged_by_whole_factors_and_by_halves_only_where_they_are_large() -> None:
    assert box_scale((31, 31), 496) == 2
    assert box_scale((25, 24), 496) == 2
    assert box_scale((5, 9), 496) == 6
    assert box_scale((23, 39), 496) == 1.5
    assert box_scale((64, 64), 200) == 0.5, "never smaller"


def test_captions_say_name_and_subjects_and_stay_in_their_column() -> None:
    long = spec("a_very_long_name_of_a_world_" * 3 + "__and_a_variant_" * 6, 9, (20, 20))
    layout = Layout.of([long] * 16)
    page = np.asarray(layout.draw([Image.new("RGB", (320, 320))] * 16, 0)).astype(int)
    (left, top), (right, _) = layout.place(0), layout.place(1)
    band = page[top - round(2.7 * layout.text) : top]
    inked = (np.abs(band - np.array(PAPER)).sum(-1) > 30).any(0)
    assert inked[left : left + layout.box[0]].any()
    assert not inked[left + layout.box[0] + 1 : right].any()
    one, two = (_captions([spec("coins", n), spec("daycare")]) for n in (1, 3))
    assert (one != two).any()
    assert (_captions([spec("coins"), spec("daycare")]) != _captions([spec("daycare"), spec("coins")])).any()


def _captions(shown: Sequence[WorldSpec]) -> NDArray[np.uint8]:
    layout = Layout.of(shown)
    top = layout.place(0)[1]
    return np.asarray(layout.draw([], 0))[top - round(2.7 * layout.text) : top]


def test_all_worlds_go_on_in_every_step_as_they_do_alone(checkpoint: Path) -> None:
    network = load_network(checkpoint)
    troupe = Troupe([Stage(network, scene(name), 4) for name in ORDER])
    pages = troupe.pages(3)
    assert next(pages).getpixel((0, 0)) == PAPER
    assert troupe.seconds == 0
    before = [stage.shot for stage in troupe.stages]
    assert len(list(pages)) == 3
    assert troupe.seconds > 0
    for stage, shot, name in zip(troupe.stages, before, ORDER, strict=True):
        assert (stage.shot.states.position != shot.states.position).any()
        alone = Stage(network, scene(name), 4)
        for _ in range(3):
            alone.step()
        np.testing.assert_array_equal(alone.shot.actions, stage.shot.actions)
        np.testing.assert_array_equal(alone.shot.states.cells, stage.shot.states.cells)


def test_film_gif_and_still_show_every_step(checkpoint: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    said: list[str] = []
    made = film_mosaic(load_network(checkpoint), checkpoint, tmp_path, 4, 5, 1, 6.0, said.append)
    assert made is not None
    assert list(made.worlds) == ORDER
    assert [path.name for path in made.files] == ["mosaic.mp4", "mosaic.gif", "mosaic.png"]
    assert sorted(made.files) == sorted(tmp_path.iterdir())
    assert made.frames_per_second > 0
    assert "5 steps of 4 worlds, 30 subjects" in said[-1]
    assert "world frames/s" in said[-1]
    film, gif, still = made.files
    last = np.asarray(Image.open(still).convert("RGB")).astype(int)
    with av.open(str(film)) as container:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(shown) == 6
    assert shown[0].shape == last.shape
    assert np.argmin([np.abs(frame - last).mean() for frame in shown]) == 5
    with Image.open(gif) as picture:
        assert getattr(picture, "n_frames") == 6  # noqa: B009 - not in Pillow's stubs
        assert picture.size == (last.shape[1] // 2, last.shape[0] // 2)
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(picture)]
    assert all((a != b).any() for a, b in combinations(frames, 2))
    assert np.abs(frames[-1] - np.asarray(Image.open(still).convert("RGB").reduce(2)).astype(int)).mean() < 12


def test_without_pyav_the_gif_and_the_still_are_there_and_always_the_same(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    said: list[str] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made = film_mosaic(load_network(checkpoint), checkpoint, tmp_path / name, 2, 2, echo=said.append)
        assert made is not None
        assert [path.name for path in made.files] == ["mosaic.gif", "mosaic.png"]
    assert "actionparty[video]" in said[0]
    for name in ("mosaic.gif", "mosaic.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_gif_too_large_is_written_with_fewer_steps(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic, "GIF_STEPS", 6)
    film_mosaic(load_network(checkpoint), checkpoint, tmp_path, 2, 8)
    whole = (tmp_path / "mosaic.gif").stat().st_size
    with Image.open(tmp_path / "mosaic.gif") as picture:
        assert getattr(picture, "n_frames") == 7  # noqa: B009
    monkeypatch.setattr(mosaic, "GIF_BYTES", whole - 1)
    film_mosaic(load_network(checkpoint), checkpoint, tmp_path, 2, 8)
    assert (tmp_path / "mosaic.gif").stat().st_size < whole
    with Image.open(tmp_path / "mosaic.gif") as picture:
        assert 2 <= getattr(picture, "n_frames") < 7  # noqa: B009


def test_a_mosaic_of_one_world_is_left_out_and_said_to_be(checkpoint: Path, tmp_path: Path) -> None:
    alone = make_checkpoint(tmp_path / "weights", ["race"])
    said: list[str] = []
    demo = run_demo(tmp_path / "out", alone, steps=1, echo=said.append, measure=False)
    assert demo.mosaic is None
    assert any("no mosaic" in line and "this checkpoint" in line for line in said)
    demo = run_demo(tmp_path / "one", checkpoint, ["race"], 1, echo=said.append, measure=False, mosaic=1)
    assert demo.mosaic is None
    assert "--mosaic" in next(line for line in reversed(said) if "no mosaic" in line)
    for folder in ("out", "one"):
        assert not list((tmp_path / folder).glob("mosaic.*"))


def test_the_command_lists_the_mosaic_and_leaves_it_out_when_told(checkpoint: Path, tmp_path: Path) -> None:
    line = ["demo", "--checkpoint", str(checkpoint), "--world", "race", "--steps", "1", "--no-metrics"]
    result = _run([*line, "--mosaic", "3", "--out", str(tmp_path / "a"), "--json"])
    found = json.loads(result)["mosaic"]
    assert found["worlds"] == ORDER[:3]
    assert found["frames_per_second"] > 0
    assert {Path(path).name for path in found["files"]} == {p.name for p in (tmp_path / "a").glob("mosaic.*")} != set()
    assert json.loads(_run([*line, "--mosaic", "0", "--out", str(tmp_path / "b"), "--json"]))["mosaic"] is None
    assert not list((tmp_path / "b").glob("mosaic.*"))
    told = _run([*line, "--mosaic", "2", "--out", str(tmp_path / "c")])
    assert str(tmp_path / "c" / "mosaic.gif") in told
    assert "world frames/s" in told


def _run(line: Sequence[str]) -> str:
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_negative_number_of_worlds_is_refused_before_anything_is_written(checkpoint: Path, tmp_path: Path) -> None:
    line = ["demo", "--checkpoint", str(checkpoint), "--mosaic", "-1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2
    assert "--mosaic" in result.output
    with pytest.raises(InvalidInputError, match="mosaic"):
        run_demo(tmp_path / "out", checkpoint, mosaic=-1)
    assert not (tmp_path / "out").exists()
