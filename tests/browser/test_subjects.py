"""Who is who on the screen, and keys that stay pressed while the world or the connection begins anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from actionparty.checkpoints import find_checkpoint
from actionparty.rollout.scenes import best_checkpoints, load_scene, scene_paths

pytest.importorskip("pydantic", reason="needs the server: pip install 'actionparty[serve]'")
from tests.browser.serving import CANVAS, Cable, OpenPage, Watched, open_room, rgba

from actionparty.interfaces.play.rings import ring_colours

pytestmark = pytest.mark.slow
COINS, CROWDED, ALIKE = "coins", "collaborative_cooking__crowded", "prisoners_dilemma_in_the_matrix__repeated"
WHITE = (255, 255, 255)


@pytest.fixture
def cable(base: str) -> Iterator[Cable]:
    laid = Cable(base)
    yield laid
    laid.close()


def expected(world: str) -> list[tuple[int, ...]]:
    """Return the colours that the first scene of a world asks for."""
    folder = best_checkpoints([find_checkpoint(name) for name in ("all", "starter")])[world]
    return [tuple(bytes.fromhex(c[1:])) for c in ring_colours(load_scene(scene_paths(folder, world)[0]).identities)]


def dots(who: Watched) -> list[tuple[int, ...]]:
    """Return the colour of each subject in the list of seats."""
    texts = who.page.locator(".seat-dot").evaluate_all("all => all.map(e => getComputedStyle(e).backgroundColor)")
    return [tuple(map(int, text.removeprefix("rgb(").removesuffix(")").split(","))) for text in texts]


def marks(who: Watched) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return what is drawn above the picture, (pixels, RGBA)."""
    return rgba(who.page.locator(".generated .marks").evaluate(CANVAS)).reshape(-1, 4)


def drawn(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: tuple[int, ...]) -> int:
    """Return how many opaque pixels have a colour."""
    return int(((pixels[:, :3] == colour).all(1) & (pixels[:, 3] == 255)).sum())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rings_and_rows_have_the_colours_of_the_subjects(base: str, open_page: OpenPage, scheme: str) -> None:
    me = open_page(color_scheme=scheme)
    me.enter(base, open_room(base, CROWDED))
    me.pause()
    colours = expected(CROWDED)
    assert len(set(colours)) > 7
    assert dots(me) == colours
    pixels = marks(me)
    for row, colour in zip(me.state().subjects, colours, strict=True):
        assert drawn(pixels, colour) > 30 or not row[3], "a living subject without a ring of its colour"


def test_subjects_that_look_alike_are_told_apart_by_numbers(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.enter(base, open_room(base, ALIKE))
    me.take(1)
    me.pause()
    assert expected(ALIKE) == []
    assert dots(me) == [WHITE, WHITE]
    assert me.page.locator(".seat-dot").all_inner_texts() == ["1", "2"]
    assert drawn(marks(me), WHITE) > 60


def holding(who: Watched, subject: int) -> None:
    """Wait until a subject turns in the newest steps."""
    turns = f"() => document.querySelector(`.seat[data-subject='{subject}']`).dataset.action === 'turn_right'"
    who.wait_for(turns)
    who.wait_for_step(who.shown()[1] + 2)
    who.wait_for(turns)


def test_a_key_that_stays_down_goes_on_when_the_world_begins_anew(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.enter(base, open_room(base, COINS))
    me.page.keyboard.down("KeyE")  # takes the first seat
    holding(me, 0)
    _, step = me.shown()
    me.page.keyboard.press("KeyR")
    me.wait_for("step => Number(document.querySelector('#world').dataset.step) < step", step)
    me.wait_for_step(2)
    holding(me, 0)
    me.page.keyboard.up("KeyE")
    me.wait_for("() => document.querySelector('.seat.mine').dataset.action === 'noop'")


def test_a_key_that_stays_down_goes_on_in_another_seat(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.enter(base, open_room(base, COINS))
    me.take(0)
    me.page.keyboard.down("KeyE")
    holding(me, 0)
    me.take(1)
    holding(me, 1)


def test_a_key_that_stays_down_goes_on_after_a_cut(base: str, cable: Cable, open_page: OpenPage) -> None:
    room = open_room(base, COINS)
    ada, grace = open_page("Ada"), open_page("Grace")
    ada.enter(cable.base, room)
    ada.take(0)
    grace.enter(base, room)
    ada.page.keyboard.down("KeyE")
    holding(grace, 0)
    cable.cut()
    grace.page.get_by_text("coming back").wait_for()
    cable.mend()
    grace.page.get_by_text("coming back").wait_for(state="hidden")
    holding(grace, 0)
