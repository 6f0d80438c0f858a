"""People in real browsers in one generated world: the real server with the shipped weights, driven by Chromium.

``ACTIONPARTY_SCREENSHOTS=docs/images pytest tests/browser`` also takes the pictures of the README.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from actionparty.rollout.scenes import load_scene
from actionparty.types import FACING_STEPS, Frame

pytest.importorskip("pydantic", reason="needs the server: pip install 'actionparty[serve]'")
from tests.browser.serving import CANVAS, Cable, OpenPage, Watched, open_room, rgba

if TYPE_CHECKING:
    from actionparty.interfaces.play.wire import Decoded

pytestmark = pytest.mark.slow
COINS, CROWDED = "coins", "collaborative_cooking__crowded"
NOOP, FORWARD, TURN_LEFT, TURN_RIGHT = 0, 1, 5, 6
BY_FACING = "localStorage.setItem('actionparty.steering', 'facing');"
"""Up means forward; what a page does unless told otherwise is to turn first and then walk."""
VISIBLE = 8
"""Mean difference of a cell's values from which on the page marks it."""
PHONE = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture
def cable(base: str) -> Iterator[Cable]:
    laid = Cable(base)
    yield laid
    laid.close()


def where(decoded: Decoded, subject: int) -> tuple[int, int, int]:
    """Return x, y and facing of a subject."""
    x, y, facing, *_ = decoded.subjects[subject]
    return x, y, facing


def actions(decoded: Decoded) -> list[int]:
    return [row[4] for row in decoded.subjects]


def test_a_visitor_picks_a_world_and_moves(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.page.goto(base)
    card = me.page.locator(f"[data-world='{CROWDED}']")
    me.wait_for("w => document.querySelector(`[data-world='${w}'] img`)?.naturalWidth > 0", CROWDED)
    card.focus()
    me.page.keyboard.press("Enter")  # without a mouse
    me.page.locator(".seat.mine").wait_for()
    me.page.keyboard.down("KeyE")
    me.wait_for("() => document.querySelector('.seat.mine').dataset.action === 'turn_right'")
    assert me.page.locator("kbd.down").inner_text() == "E"
    me.page.keyboard.up("KeyE")
    me.wait_for("() => document.querySelector('.seat.mine').dataset.action === 'noop'")
    assert me.page.locator(".seat").count() == 9
    assert "room=" in me.page.url


PIXELS = """image => {
    const c = new OffscreenCanvas(image.naturalWidth ?? image.width, image.naturalHeight ?? image.height);
    const pen = c.getContext("2d");
    pen.drawImage(image, 0, 0);
    return (CANVAS)(c);
}""".replace("CANVAS", CANVAS)


def pixels(page: Watched, selector: str) -> Frame:
    """Return what a picture shows, (H, W, 3)."""
    return rgba(page.page.locator(selector).evaluate(PIXELS))[..., :3]


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_gallery_shows_rooms_live(base: str, open_page: OpenPage, motion: str) -> None:
    room, ada, guest = open_room(base, CROWDED), open_page("Ada"), open_page("Guest", reduced_motion=motion)
    ada.enter(base, room)
    guest.page.goto(base)
    picture = f".room[data-room='{room}'] img"
    guest.wait_for("s => document.querySelector(s)?.naturalWidth > 0", picture)
    first, address = pixels(guest, picture), guest.page.locator(picture).get_attribute("src")
    assert "1 person" in guest.page.locator(f".room[data-room='{room}']").inner_text()
    if motion == "reduce":
        guest.page.wait_for_timeout(4000)
        assert guest.page.locator(picture).get_attribute("src") == address
    else:
        guest.wait_for("([s, a]) => document.querySelector(s).getAttribute('src') !== a", [picture, address])
        ada.pause()
        guest.page.wait_for_timeout(4000)
        np.testing.assert_array_equal(pixels(guest, picture), ada.picture())
    assert any(np.array_equal(first, seen.frame) for seen in ada.frames.values()), "it is a frame that was generated"
    guest.page.locator(f".room[data-room='{room}']").click()
    guest.wait_for_step(0)
    assert f"room={room}" in guest.page.url


def test_the_cards_play_films_that_were_generated_while_nobody_played(base: str, open_page: OpenPage) -> None:
    guest = open_page("Guest", reduced_motion="no-preference")
    guest.page.goto(base)
    card = f"[data-world='{CROWDED}'] canvas"
    guest.wait_for("s => document.querySelector(s)?.hidden === false", card)
    seen = set()
    for frame in (2, 7, 12):
        guest.wait_for("([s, n]) => Number(document.querySelector(s).dataset.frame) === n", [card, frame])
        seen.add(pixels(guest, card).tobytes())
    assert len(seen) > 1, "it moves"
    still = open_page("Still")
    still.page.goto(base)
    still.wait_for("w => document.querySelector(`[data-world='${w}'] img`)?.naturalWidth > 0", CROWDED)
    still.page.wait_for_timeout(2000)
    assert still.page.locator(".card canvas:visible").count() == 0, "not for those who want no motion"


def test_two_pages_in_one_room_see_the_same_frames(base: str, open_page: OpenPage) -> None:
    room = open_room(base, CROWDED)
    ada, grace = open_page("Ada"), open_page("Grace")
    for page in (ada, grace):
        page.enter(base, room)
    ada.take(0)
    grace.take(4)
    ada.page.locator(".seat[data-subject='4'] .seat-name", has_text="Grace").wait_for()
    ada.page.keyboard.down("KeyW")
    grace.wait_for_step(ada.shown()[1] + 8)
    ada.page.keyboard.up("KeyW")
    ada.pause()
    grace.page.get_by_role("button", name="Play (P)").wait_for()
    both = sorted(ada.frames.keys() & grace.frames.keys())
    assert len(both) >= 8
    for key in both:
        np.testing.assert_array_equal(ada.frames[key].frame, grace.frames[key].frame)
        assert ada.frames[key].subjects == grace.frames[key].subjects
    assert len({ada.frames[key].frame.tobytes() for key in both}) > 3, "nothing moved"
    assert ada.shown() == grace.shown()
    np.testing.assert_array_equal(ada.picture(), ada.state().frame)
    np.testing.assert_array_equal(grace.picture(), ada.picture())


def test_an_arrow_turns_the_subject_there_and_then_walks(base: str, open_page: OpenPage) -> None:
    ada = open_page("Ada")
    ada.enter(base, open_room(base, COINS))
    ada.take(0)
    ada.pause()
    facing = where(ada.state(), 0)[2]
    behind = ("ArrowDown", "ArrowLeft", "ArrowUp", "ArrowRight")[facing]
    taken = []
    for _ in range(3):
        ada.page.keyboard.press(behind)
        ada.page.wait_for_timeout(150)
        taken.append(actions(ada.step())[0])
    assert taken == [TURN_RIGHT, TURN_RIGHT, FORWARD]
    assert where(ada.state(), 0)[2] == (facing + 2) % 4


def test_each_key_moves_only_its_own_subject(base: str, open_page: OpenPage) -> None:
    room = open_room(base, COINS)
    ada, grace = open_page("Ada", BY_FACING), open_page("Grace", BY_FACING)
    for subject, page in enumerate((ada, grace)):
        page.enter(base, room)
        page.take(subject)
    ada.pause()
    people: list[Watched] = [ada, grace]
    moved = [0, 0]
    for who, key, action in [
        (0, "KeyE", TURN_RIGHT), (1, "KeyQ", TURN_LEFT), (0, "KeyW", FORWARD), (1, "ArrowUp", FORWARD),
        (1, "KeyE", TURN_RIGHT), (0, "ArrowUp", FORWARD), (1, "KeyW", FORWARD), (0, "KeyQ", TURN_LEFT),
    ]:  # fmt: skip
        before = ada.state()
        people[who].page.keyboard.press(key)
        people[who].page.wait_for_timeout(150)
        after = ada.step()
        wanted = [NOOP, NOOP]
        wanted[who] = action
        assert actions(after) == wanted
        assert where(after, 1 - who) == where(before, 1 - who), f"{key} of person {who} moved the other"
        (x, y, facing), (x2, y2, facing2) = where(before, who), where(after, who)
        turned = {TURN_RIGHT: 1, TURN_LEFT: -1}.get(action, 0)
        assert facing2 == (facing + turned) % 4
        assert (x2 - x, y2 - y) in [(0, 0), tuple(FACING_STEPS[facing])]
        moved[who] += (x2, y2) != (x, y)
    assert min(moved) >= 1, "nobody could walk at all"


def test_a_seat_survives_a_cut_connection(base: str, cable: Cable, open_page: OpenPage) -> None:
    room = open_room(base, COINS)
    ada, grace = open_page("Ada"), open_page("Grace")
    ada.enter(cable.base, room)
    ada.take(1)
    grace.enter(base, room)
    cable.cut()
    ada.page.get_by_text("Connection lost").wait_for()
    grace.page.get_by_text("coming back").wait_for()
    assert grace.page.locator(".seat[data-subject='1'] .seat-take").is_disabled()
    ada.page.get_by_text("The server is gone").wait_for()
    cable.mend()
    ada.page.get_by_role("button", name="Try again").click()
    ada.page.locator(".banner").wait_for(state="hidden")
    ada.page.locator(".seat.mine[data-subject='1']").wait_for()
    grace.page.get_by_text("coming back").wait_for(state="hidden")
    ada.wait_for_step(ada.shown()[1] + 3)
    ada.page.keyboard.down("KeyQ")
    grace.wait_for("() => document.querySelector(\".seat[data-subject='1']\").dataset.action === 'turn_left'")


def test_a_late_spectator_sees_the_present_and_steers_nothing(base: str, open_page: OpenPage) -> None:
    room = open_room(base, CROWDED)
    ada = open_page("Ada")
    ada.enter(base, room)
    ada.take(2)
    ada.wait_for_step(6)
    ada.pause()
    late = open_page("Late")
    late.enter(base, room)
    assert late.shown() == ada.shown()
    np.testing.assert_array_equal(late.picture(), ada.picture())
    assert late.page.locator(".seat.mine").count() == 0
    late.page.get_by_role("button", name="Play (P)").click()
    late.page.locator(".toast.error").wait_for()
    assert late.page.get_by_role("button", name="Play (P)").is_visible()
    late.page.keyboard.press("KeyW")  # the first key takes a free seat
    late.page.locator(".seat.mine").wait_for()
    assert late.page.locator(".seat.mine").get_attribute("data-subject") != "2"


def test_the_sandbox_changes_saves_and_shares_a_scene(base: str, open_page: OpenPage, tmp_path: Path) -> None:
    ada = open_page("Ada", permissions=["clipboard-read", "clipboard-write"])
    page = ada.page
    ada.enter(base, open_room(base, CROWDED))
    ada.take(0)
    page.get_by_role("button", name="Edit the scene").click()
    page.get_by_role("button", name="Play (P)").wait_for()
    page.locator(".tile").nth(1).wait_for(state="attached")
    page.wait_for_timeout(300)
    free = free_cells(ada.state())

    x, y, _ = where(ada.state(), 3)
    page.mouse.move(*ada.at(x, y))
    page.mouse.down()
    page.mouse.move(*ada.at(*free[0]), steps=4)
    edited(ada, page.mouse.up)
    assert where(ada.state(), 3)[:2] == free[0]

    page.get_by_role("button", name="Click a subject to turn it.").click()
    facing = where(ada.state(), 3)[2]
    edited(ada, lambda: page.mouse.click(*ada.at(*free[0])))
    assert where(ada.state(), 3)[2] == (facing + 1) % 4

    page.get_by_role("button", name="Click a free cell to add a subject.").click()
    edited(ada, lambda: page.mouse.click(*ada.at(*free[1])))
    assert where(ada.state(), 9)[:2] == free[1]
    assert page.locator(".seat").count() == 10

    page.get_by_role("button", name="Click a subject to take it out.").click()
    edited(ada, lambda: page.mouse.click(*ada.at(*where(ada.state(), 5)[:2])))
    assert len(ada.state().subjects) == page.locator(".seat").count() == 9

    page.get_by_role("button", name="Pick a tile, then draw on the world.").click()
    page.locator(".tile").nth(1).click()
    edited(ada, lambda: page.mouse.click(*ada.at(*free[2])))
    tile = page.locator(".tile canvas").nth(1).evaluate("c => [...c.getContext('2d').getImageData(0, 0, 8, 8).data]")
    x, y = free[2]
    painted = ada.picture()[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
    np.testing.assert_array_equal(painted, np.array(tile, np.uint8).reshape(8, 8, 4)[..., :3])

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the scene as a file").click()
    saved.value.save_as(tmp_path / "mine.npz")
    scene = load_scene(tmp_path / "mine.npz")
    np.testing.assert_array_equal(scene.frames[-1], ada.picture())
    assert tuple(scene.states.cells[-1, 3]) == free[0]

    page.get_by_role("button", name="Share the scene by link").click()
    link = page.get_by_role("textbox", name="Link").input_value()
    friend = open_page("Friend")
    friend.page.goto(link)
    friend.page.locator(".seat.mine").wait_for()
    friend.wait_for_step(2)
    first = min(friend.frames)
    np.testing.assert_array_equal(friend.frames[first].frame, scene.frames[-1])

    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    edited(ada, lambda: page.set_input_files("input[type=file]", tmp_path / "mine.npz"))
    np.testing.assert_array_equal(ada.picture(), scene.frames[-1])
    page.get_by_role("button", name="Play it").click()
    ada.wait_for_step(ada.shown()[1] + 3)


def edited(who: Watched, change: object) -> None:
    """Do something that changes the scene, and wait for the changed picture."""
    before = who.shown()
    assert callable(change)
    change()
    who.wait_for(
        "([b, s]) => { const d = document.querySelector('#world').dataset; return d.branch != b || d.step != s }",
        list(before),
    )


def free_cells(decoded: Decoded) -> list[tuple[int, int]]:
    """Return black cells that nobody stands on, far from the edge."""
    taken = {where(decoded, i)[:2] for i in range(len(decoded.subjects))}
    h, w = decoded.frame.shape[0] // 8, decoded.frame.shape[1] // 8
    dark = [
        (x, y)
        for y in range(1, h - 1)
        for x in range(1, w - 1)
        if (x, y) not in taken and decoded.frame[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].max() < 40
    ]
    assert len(dark) >= 3
    return dark


def test_it_shows_what_the_model_looks_at(base: str, open_page: OpenPage) -> None:
    ada = open_page()
    ada.enter(base, open_room(base, COINS))
    ada.take(0)
    ada.pause()
    count = "() => { const c = document.querySelector('.marks'); return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 0).length }"  # noqa: E501
    plain = ada.page.evaluate(count)
    ada.page.keyboard.press("KeyI")
    ada.wait_for(f"plain => ({count})() > 4 * plain", plain)
    ada.page.keyboard.press("KeyI")
    ada.wait_for(f"plain => ({count})() === plain", plain)


@pytest.mark.meltingpot
def test_the_real_simulator_runs_beside(base: str, open_page: OpenPage) -> None:
    ada = open_page()
    ada.enter(base, open_room(base, COINS))
    ada.take(0)
    ada.page.get_by_role("button", name="Reality check").click()
    ada.page.locator(".board.simulated").wait_for()
    ada.page.locator(".verdict").wait_for()
    ada.wait_for_step(ada.shown()[1] + 2)
    ada.pause()
    generated, real = ada.picture(), ada.picture(".board.simulated .pixels")
    h, w = generated.shape[0] // 8, generated.shape[1] // 8
    off = np.abs(generated.astype(int) - real).reshape(h, 8, w, 8, 3).mean((1, 3, 4))
    differ = int((off > VISIBLE).sum())
    told = f"{differ} of {h * w} cells differ" if differ else "no visible difference"
    assert ada.page.locator(".verdict").inner_text() == told
    ada.page.locator("#timeline").fill("0")
    ada.page.get_by_role("button", name="Play on from the step").click()
    ada.page.locator(".board.simulated").wait_for(state="hidden")  # it can't follow into a branch


def test_it_fits_a_phone_and_obeys_fingers(base: str, open_page: OpenPage) -> None:
    me = open_page("Ada", **PHONE)
    me.page.goto(base)
    me.page.locator(f"[data-world='{CROWDED}']").tap()
    me.page.locator(".seat.mine").wait_for()
    me.wait_for_step(2)
    world = me.page.locator("#world").bounding_box()
    assert world is not None
    assert world["x"] >= 0
    assert world["width"] > 300
    assert me.page.evaluate(
        "document.scrollingElement.scrollWidth <= 400 && document.scrollingElement.scrollHeight <= 800"
    )
    for button in me.page.locator(".touchpad button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
        assert box["y"] + box["height"] <= 800
    me.page.get_by_role("button", name="Pause (P)").tap()
    me.page.wait_for_timeout(300)
    mine = int(me.page.locator(".seat.mine").get_attribute("data-subject") or -1)
    me.page.get_by_role("button", name="turn right").tap()
    me.page.wait_for_timeout(200)
    before = me.shown()[1]
    me.page.get_by_role("button", name="More").tap()
    me.page.get_by_role("menuitem", name="One step").tap()
    me.wait_for_step(before + 1)
    assert actions(me.state())[mine] == TURN_RIGHT


def test_it_says_what_is_wrong(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.page.goto(f"{base}/?room=nowhere")
    me.page.get_by_role("alert").get_by_text("There is no such room").wait_for()
    me.page.get_by_role("button", name="All worlds", exact=True).click()
    me.page.locator(".card").first.wait_for()
    old = open_page(script="delete window.WebSocket;")
    old.page.goto(base)
    old.page.get_by_text("It has no WebSocket").wait_for()


def test_everything_has_a_name_for_those_who_do_not_see_it(base: str, open_page: OpenPage) -> None:
    me = open_page()
    me.enter(base, open_room(base, COINS))
    for control in me.page.locator("button:visible, select:visible, input:visible, canvas[tabindex]").all():
        name = control.evaluate("e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent")
        assert name.strip(), control.evaluate("e => e.outerHTML")
    assert me.page.locator(".notices").get_attribute("aria-live") == "polite"


SCREENSHOTS = os.environ.get("ACTIONPARTY_SCREENSHOTS")


@pytest.mark.skipif(not SCREENSHOTS, reason="takes the README's pictures; name a folder in ACTIONPARTY_SCREENSHOTS")
def test_pictures_for_the_readme(base: str, open_page: OpenPage) -> None:
    folder = Path(SCREENSHOTS or "")
    room = open_room(base, CROWDED, scene=3)
    ada, grace = open_page("Ada", color_scheme="dark"), open_page("Grace", color_scheme="light", **PHONE)
    for page, subject in ((ada, 0), (grace, 4)):
        page.enter(base, room)
        page.take(subject)
    ada.page.keyboard.down("KeyD")
    grace.page.get_by_role("button", name="up", exact=True).dispatch_event("pointerdown")
    ada.wait_for_step(ada.shown()[1] + 10)
    ada.page.screenshot(path=folder / "play-desktop.png")
    grace.page.screenshot(path=folder / "play-phone.png")
    ada.page.keyboard.press("KeyI")
    ada.wait_for_step(ada.shown()[1] + 8)
    ada.page.locator(".toast").first.wait_for(state="detached")
    ada.page.screenshot(path=folder / "play-inside.png")
