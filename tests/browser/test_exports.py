"""What was played, taken away through the page and opened again: a film shows the frames that were on the screen."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from actionparty.interfaces.drawing import Shot, fit_scale, scene_picture
from actionparty.interfaces.play.films import WIDTH
from actionparty.types import CELL, NO_ACTION, Frame, SubjectStates, WorldSpec

pytest.importorskip("pydantic", reason="needs the server: pip install 'actionparty[serve]'")
from tests.browser.serving import PATIENCE, OpenPage, Watched, open_room

pytestmark = pytest.mark.slow
COINS, HZ = "coins", 8
NEAR = 3.0
"""Mean difference of two pictures (of 255) that only a palette or a film's compression tells apart."""


def spec_of(base: str, world: str) -> WorldSpec:
    """Return what the server says of a world."""
    with urllib.request.urlopen(f"{base}/api/worlds", timeout=PATIENCE) as answer:
        card = next(each for each in json.load(answer) if each["name"] == world)
    return WorldSpec(world, card["subjects"], tuple(card["grid"]), tuple(card["actions"]))


class Layout:
    """Where on a picture of a film the world is."""

    def __init__(self, spec: WorldSpec, kind: str) -> None:
        self.scale = fit_scale(spec, WIDTH[kind])
        n, (h, w) = spec.subjects, spec.grid
        gone = SubjectStates(np.zeros((n, 2), np.float32), np.zeros(n, np.int64), np.zeros(n, np.bool_))
        black, white = (
            scene_picture(
                [("", Shot(np.full((h * CELL, w * CELL, 3), level, np.uint8), gone, np.full(n, NO_ACTION)))],
                *(spec, [(0, 0, 0)] * n, self.scale, ""),
            )
            for level in (0, 255)
        )
        self.size = black.size
        rows, columns = np.nonzero((np.asarray(black) != np.asarray(white)).any(-1))
        self._top, self._left = int(rows.min()), int(columns.min())
        self._height, self._width = h * CELL, w * CELL

    def world(self, picture: Image.Image) -> Frame:
        """Return the world's pixels, each from the middle of its square."""
        middle = self.scale // 2
        y = self._top + middle + self.scale * np.arange(self._height)
        x = self._left + middle + self.scale * np.arange(self._width)
        return np.asarray(picture.convert("RGB"))[y[:, None], x]


def undrawn(spec: WorldSpec, watched: Watched, key: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(H, W) where a film draws nothing over the frame: no ring and no icon of a subject."""
    h, w = spec.grid
    free = np.ones((h, w), np.bool_)
    for x, y, _, alive, *_ in watched.frames[key].subjects:
        if alive:
            free[max(0, y - 1) : y + 2, max(0, x - 1) : x + 3] = False
    return free.repeat(CELL, 0).repeat(CELL, 1)


def read_mp4(path: Path) -> list[Image.Image]:
    av = pytest.importorskip("av", reason="reads films: pip install 'actionparty[video]'")
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == HZ
        return [frame.to_image() for frame in film.decode(video=0)]


def read_gif(path: Path) -> list[Image.Image]:
    with Image.open(path) as film:
        pictures = []
        for picture in ImageSequence.Iterator(film):
            assert picture.info["duration"] in (120, 130), "a GIF counts in hundredths"
            pictures.append(picture.convert("RGB"))
        return pictures


def taken_away(who: Watched, item: str, path: Path) -> str:
    """Click an item of the export menu, keep the file, return its suggested name."""
    who.page.get_by_role("button", name="Export what was played").click()
    with who.page.expect_download() as taken:
        who.page.get_by_role("menuitem", name=item).click()
    taken.value.save_as(path)
    return str(taken.value.suggested_filename)


def played(base: str, who: Watched, steps: int) -> None:
    """Turn round and round in a room of one's own, then pause."""
    who.enter(base, open_room(base, COINS))
    who.take(0)
    who.page.keyboard.down("KeyE")
    who.wait_for_step(steps)
    who.page.keyboard.up("KeyE")
    who.pause()


def difference(a: Frame, b: Frame) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    ("kind", "item", "read"), [("mp4", "Video (MP4)", read_mp4), ("gif", "Picture (GIF)", read_gif)]
)
def test_a_film_shows_what_was_on_the_screen(
    base: str, open_page: OpenPage, tmp_path: Path, kind: str, item: str, read: Callable[[Path], list[Image.Image]]
) -> None:
    ada, spec = open_page(), spec_of(base, COINS)
    played(base, ada, 8)
    branch, newest = ada.shown()
    name = taken_away(ada, item, tmp_path / f"played.{kind}")
    assert name == f"{COINS}-step-{newest}.{kind}"

    layout, pictures = Layout(spec, kind), read(tmp_path / f"played.{kind}")
    assert len(pictures) == newest + 1
    assert {picture.size for picture in pictures} == {layout.size}
    seen = {step: decoded.frame for (_, step), decoded in ada.frames.items()}
    assert len(seen) >= 8
    assert len({frame.tobytes() for frame in seen.values()}) >= 5, "nothing moved"
    for step, frame in seen.items():
        filmed, free = layout.world(pictures[step]), undrawn(spec, ada, (branch, step))
        assert difference(filmed[free], frame[free]) < NEAR
        nearest = min(seen, key=lambda other: difference(filmed, seen[other]))
        np.testing.assert_array_equal(seen[nearest], frame, f"the picture of step {step} shows step {nearest}")


def test_a_film_ends_at_the_step_that_is_shown(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    ada = open_page()
    played(base, ada, 6)
    ada.page.locator("#timeline").fill("3")
    ada.wait_for("() => document.querySelector('#world').dataset.step === '3'")
    assert taken_away(ada, "Picture (GIF)", tmp_path / "short.gif").endswith("step-3.gif")
    assert len(read_gif(tmp_path / "short.gif")) == 4


def test_a_replay_file_can_be_taken_away(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    ada = open_page()
    played(base, ada, 4)
    assert taken_away(ada, "Replay file", tmp_path / "played.replay").endswith(".replay")
    assert (tmp_path / "played.replay").stat().st_size > 500
