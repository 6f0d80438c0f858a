"""What an agent is told of a room."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from tests.interfaces.play.stage import SPEC, Stage

from actionparty.interfaces.agents.legend import Legend
from actionparty.interfaces.agents.sight import LONG_SIDE, Sight, numbered, png, symbol_of
from actionparty.interfaces.play.wire import Picture
from actionparty.types import SubjectStates


def sight(stage: Stage, you: int | None = 1, facing: int = 1, alive: bool = True) -> Sight:
    """All subjects in the first row, you at (5, 4)."""
    n = SPEC.subjects
    position = np.array([(i, 0) for i in range(n)], np.float32)
    position[1] = (5, 4)
    living = np.ones(n, bool)
    living[1] = alive
    states = SubjectStates(position, np.full(n, facing), living)
    frame = stage.menu.scene("arena", 0).frames[-1]
    rewards = np.array([0.0, 1.5, *([0.0] * (n - 2))], np.float32)
    picture = Picture(7, 1, frame, states, np.zeros(n, np.int64), rewards)
    return Sight(stage.room, picture, Legend.of_frames([frame]), you, rewards.tolist(), ("step 7: you received +1.5",))


def test_the_map_has_a_character_per_cell_and_shows_who_is_where(stage: Stage) -> None:
    told = sight(stage).to_json()
    rows = told["map"]
    assert (len(rows), {len(row) for row in rows}) == (SPEC.grid[0], {SPEC.grid[1]})
    assert rows[0].startswith("0.") or rows[0][0] == "0"
    assert rows[4][5] == "@"
    assert "".join(rows).count("@") == 1
    you = told["subjects"][1]
    assert (you["symbol"], you["x"], you["y"], you["facing"], you["alive"]) == ("@", 5, 4, "E", True)
    assert (told["you"], told["reward"], told["step"]) == (1, 1.5, 7)
    assert told["actions"] == list(SPEC.actions)
    assert {kind["symbol"] for kind in told["legend"]} == set("".join(rows)) - set("@0123456789?")


def test_what_is_next_to_you_is_told_as_you_face(stage: Stage) -> None:
    rows = sight(stage).rows()
    east = {"ahead": rows[4][6], "right": rows[5][5], "behind": rows[4][4], "left": rows[3][5]}
    assert sight(stage, facing=1).around() == east
    north = {"ahead": rows[3][5], "right": rows[4][6], "behind": rows[5][5], "left": rows[4][4]}
    assert sight(stage, facing=0).around() == north


def test_who_is_gone_stands_nowhere(stage: Stage) -> None:
    told = sight(stage, alive=False).to_json()
    assert "@" not in "".join(told["map"])
    assert told["around"] is None
    assert "out of the world" in told["text"]


def test_a_spectator_is_told_the_same_without_a_place(stage: Stage) -> None:
    told = sight(stage, you=None).to_json()
    assert (told["you"], told["reward"], told["around"]) == (None, None, None)
    assert told["map"][4][5] == "1"
    assert "You watch" in told["text"]


def test_the_text_has_all_that_a_model_needs(stage: Stage) -> None:
    text = sight(stage).to_json()["text"]
    for part in ("x=5 y=4, facing E", "Legend: .", "1, you, (5, 4)", "received +1.5", "Next to you: ahead", "noop"):
        assert part in text
    assert " 4 " + sight(stage).rows()[4] in text


def test_the_image_is_the_frame(stage: Stage) -> None:
    seen = sight(stage)
    assert "image" not in seen.to_json()
    raw = base64.b64decode(seen.to_json(image=True)["image"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), seen.picture.frame)
    large = np.asarray(Image.open(io.BytesIO(png(seen.picture.frame, LONG_SIDE))))
    factor = large.shape[0] // seen.picture.frame.shape[0]
    assert factor >= 2
    assert max(large.shape) <= LONG_SIDE
    assert np.array_equal(large[::factor, ::factor], seen.picture.frame)


def test_columns_and_rows_are_numbered_so_that_places_can_be_read_off() -> None:
    head, units, first, *_ = numbered(["." * 12] * 11)
    assert head[3] == "0"
    assert head[13] == "1"
    assert units[3:] == "012345678901"
    assert first == " 0 ............"


def test_every_subject_has_a_character() -> None:
    assert [symbol_of(i, 3) for i in (0, 3, 9, 10, 15, 63)] == ["0", "@", "9", "A", "F", "&"]
