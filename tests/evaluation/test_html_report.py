from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.html_charts import Point, Series, binned, line_chart, point_chart
from actionparty.evaluation.html_failures import explain, failures
from actionparty.evaluation.html_film import picture
from actionparty.evaluation.html_markup import breakable, join, tag
from actionparty.evaluation.html_report import command, html, write_html
from actionparty.evaluation.records import Reason, RolloutRecord, Shot, worth_keeping
from actionparty.evaluation.report import EvaluationReport, WorldResult
from actionparty.types import CELL, Frame, SubjectStates, WorldSpec

VOID = {"meta", "img"}
ACTIONS = ("noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right", "interact")
R, T, N = 4, 12, 3
SETTINGS = {"rollouts": R, "horizon": T, "seed": 3, "update_steps": 2, "snap": True}


class Page(HTMLParser):
    """Reads a page, and refuses one whose elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"<{name}> says an attribute twice"
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag_name, attributes in self.tags if tag_name == name]


def frame(seed: int) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (9 * CELL, 13 * CELL, 3), dtype=np.uint8) // 64 * 64


def perfect(name: str) -> RolloutRecord:
    """Three subjects that always go ahead to the east, as told, from x = 0 on."""
    x = np.broadcast_to(np.arange(1, T + 1)[None, :, None], (R, T, N))
    cell = np.stack([x, np.broadcast_to(np.arange(N), (R, T, N))], -1)
    east, yes = np.ones((R, T, N), np.int64), np.ones((R, T, N), bool)
    states = SubjectStates(cell.astype(np.float32), east, yes)
    return RolloutRecord(
        WorldSpec(name, N, (9, 13), ACTIONS),
        seeds=np.arange(R) + 1_000_000,
        rows=np.full(R, 7),
        action=east.copy(),
        counted=yes,
        obeyed=yes.copy(),
        due=yes,
        count=east.copy(),
        cell=cell.copy(),
        facing=east.copy(),
        state=states,
        real=states,
        known=np.ones((R, T), bool),
        collision=~yes,
        lost=np.zeros((R, T), bool),
        in_step=np.ones((R, T), bool),
    )


def filmed(record: RolloutRecord) -> RolloutRecord:
    """Give a record the frames that an evaluation keeps of it."""

    def shot(r: int, t: int, reason: Reason) -> Shot:
        return Shot(r, t, frame(100 * r + t), frame(t) if t < 9 else None, reason)

    films = [shot(r, t, "film") for r in (0, 1) for t in (0, 1, 2, 5, 10)]
    others = [shot(r, t, "failure") for r in range(R) for t in range(T + 1)]
    return replace(record, shots=worth_keeping(record, films + others))


def faulty(name: str) -> RolloutRecord:
    """Rollout 0: subject 1 lost at step 4. Rollout 1: subject 2 disobeys at step 6 and subject 0 is doubled there."""
    record = perfect(name)
    record.count[0, 3, 1], record.cell[0, 3, 1], record.facing[0, 3, 1] = 0, -1, -1
    record.obeyed[0, 3, 1] = False
    record.cell[1, 5, 2], record.obeyed[1, 5, 2] = (5, 2), False
    record.count[1, 5, 0], record.cell[1, 5, 0], record.facing[1, 5, 0] = 2, -1, -1
    return filmed(record)


def result(name: str, ma: float = 0.75, subjects: int = N) -> WorldResult:
    total = np.full(R, 100.0)
    ratios = {
        "ma": Ratio(ma * total + np.array([-3.0, 1, 0, 2]), total),
        "sp_mean": Ratio((ma + 0.0625) * total, total),
        "ma1": Ratio(0.9 * total, total),
        "duplicates": Ratio((1 - ma) * total, total),
        "detector": Ratio(0.99 * total if ma < 0.6 else total, total),
    }
    curve: list[float | None] = [1 - 0.02 * t for t in range(T)]
    return WorldResult(
        name,
        subjects,
        R,
        T,
        (1_000_000, 1_000_003),
        ratios,
        {10: Ratio(0.625 * total, total)},
        {"ma": curve, "sp": curve, "alive": curve, "alive_real": [1.0] * T},
        ("the world draws subjects 0, 1 alike",),
        {
            "action": {
                "forward": Ratio.of([30, 1], [40, 2]),
                "noop": Ratio.of([9], [10]),
                "turn_left": Ratio.of([0], [0]),
            },
            "collision": {"with": Ratio.of([1], [8]), "without": Ratio.of([9], [10])},
        },
    )


def report(*results: WorldResult) -> EvaluationReport:
    return EvaluationReport("ab" * 32, SETTINGS, {r.name: r for r in results})


RECORDS = {"bad": faulty("bad"), "fine": filmed(perfect("fine"))}
REPORT = report(result("fine", 0.9), result("bad", 0.5, 6))


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(REPORT, RECORDS, path, name="runs/party")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "http://" not in text
    assert "https://" not in text
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert "url(" not in text
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    referred = [a["href"] for name in ("a", "use") for a in page.all(name)]
    assert {(href or "")[1:] for href in referred} <= ids
    assert {a["aria-labelledby"] for a in page.all("section") if "aria-labelledby" in a} <= ids
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_every_figure_of_the_json_is_there() -> None:
    text = html(REPORT, RECORDS)
    words = Page(text).words
    data = json.loads(REPORT.dumps())
    for name, row in data["worlds"].items():
        assert name in words
        values = {k: row[k] for k in ("ma", "sp_mean", "ma1", "duplicates", "detector")} | {"sp": row["sp"]["10"]}
        for value in values.values():
            assert f'data-value="{value}"' in text
            assert f"{value:.3f}" in words
        low, high = row["ci95"]["ma"]
        assert f"{low:.3f}–{high:.3f}" in words
        for part in row["breakdown"].values():
            assert all(f"{share['ma']:.3f}n = {share['n']}" in words for share in part.values() if share["n"])
    assert f"{data['mean']['ma']:.3f}" in words
    assert "paper 0.779" in words
    assert "paper 0.903" in words
    assert "(!) In bad the detector itself is below 0.995" in words
    assert "draws subjects 0, 1 alike" in words
    assert "turn_left" not in words  # never counted, so no bar
    assert data["checkpoint"] in words


def test_only_the_worst_of_a_column_is_tinted() -> None:
    worst = [a["data-value"] for a in Page(html(REPORT, {})).all("td") if a.get("class") == "worst"]
    data = REPORT.to_json()["worlds"]["bad"]
    assert worst == [str(data[k]) for k in ("ma", "sp_mean", "duplicates", "detector")]  # equal elsewhere


def test_failures_come_worst_world_first_and_say_what_happened() -> None:
    words = Page(html(REPORT, RECORDS)).words
    cases = words[words.index("Worst cases first", words.index("World by world") + 100) :]
    assert "Somebody went wrong in 2 of 4 rollouts, in 3 of 144 steps of a subject." in cases
    lost = "Step 4, seed 1000000 rollout 0, from row 7Subject 1 (forward) is lost: seen nowhere"
    disobeyed = (
        "Subject 2 did not obey forward: from (5, 2) facing E it should have come to (6, 2) facing E; "
        "it is seen at (5, 2) facing E (in the simulator: (6, 2) facing E)."
    )
    doubled = "Subject 0 (forward) is duplicated: seen in 2 cells"
    places = [cases.index(said) for said in (lost, doubled, disobeyed, "No failures in fine")]
    assert places == sorted(places)
    assert "wrong: 0, 2" in cases


def test_borders_and_marks_follow_the_record() -> None:
    text = html(REPORT, {"bad": RECORDS["bad"]})
    failing = text[text.index('id="failures"') : text.index('id="time"')]
    assert len(re.findall(r'class="frame bad"', failing)) == 2
    assert len(re.findall(r'class="frame good"', failing)) == 8
    wanted = re.findall(r'<use href="#want" x="(\d+)" y="(\d+)" class="s(\d)"', failing)
    assert wanted == [("4", "1", "1"), ("6", "0", "0"), ("6", "2", "2")]
    assert '<use href="#ring1" x="5" y="2" class="s2 who"' in failing
    assert "recording over" in text


def test_two_failures_that_share_frames_are_told_once() -> None:
    record = perfect("w")
    record.obeyed[2, 4, 0] = False
    record.count[2, 5, 0] = 0
    record.obeyed[3, 0, 1] = False
    found = failures(filmed(record))
    assert [(f.rollout, f.step) for f in found] == [(3, 1), (2, 5)]
    assert [s.step for s in found[0].shots] == [0, 1, 2, 3]
    assert [s.step for s in found[1].shots] == [3, 4, 5, 6, 7]
    assert explain(record, 3, 1) == [
        "Subject 1 did not obey forward: it is seen at (1, 1) facing E (in the simulator: (1, 1) facing E)."
    ]
    record.obeyed[3, 1, 1] = record.obeyed[3, 2, 1] = record.obeyed[3, 3, 1] = False
    record.facing[3, 1, 1], record.action[3, 3, 1] = -1, 0
    told = [explain(record, 3, step)[0].partition(" (in the")[0] for step in (2, 3, 4)]
    assert told == [
        "Subject 1 did not obey forward: from (1, 1) facing E it should have come to (2, 1) facing E; "
        "it is seen at (2, 1), its picture tells no facing",
        "Subject 1 did not obey forward: the step before, its picture told no facing; it is seen at (3, 1) facing E",
        "Subject 1 did not obey noop: it should have stayed at (3, 1) facing E; it is seen at (4, 1) facing E",
    ]
    record.lost[2, 5] = True
    assert explain(record, 2, 6) == ["The generated frame is not finite: everybody counts as lost."]


def test_no_failure_is_said_too() -> None:
    words = Page(html(report(result("fine")), {"fine": RECORDS["fine"]})).words
    assert "No failures in any world" in words
    assert "Somebody went wrong" not in words


def test_text_is_escaped() -> None:
    name = '<script>alert("&")</script>'
    evil = report(result(name), result("a<b"))
    page = Page(html(evil, {name: faulty(name)}, "<img src=x onerror=1>"))
    assert len(page.all("script")) == 1
    assert all("onerror" not in image for image in page.all("img"))
    assert name in page.words
    assert "a<b" in page.words
    assert join("<", tag("b", "&", title='"')) == '&lt;<b title="&quot;">&amp;</b>'
    assert breakable("a_<b") == "a_<wbr>&lt;b"


def test_what_is_missing_or_not_finite_does_not_break_the_page() -> None:
    bare = WorldResult("bare", 2, 1, 5, (1_000_000, 1_000_000), {"ma": Ratio.of([math.nan], [1])}, {})
    hollow = replace(result("hollow"), curves={"ma": [None] * 4, "sp": [None, 0.5, None, math.nan]}, breakdown={})
    for results in ((bare,), (bare, hollow), ()):
        page = Page(html(EvaluationReport("", {}, {r.name: r for r in results}), {}))
        assert "nan" not in page.words.lower()
        assert "No rollouts were kept" in page.words
        assert "actionparty evaluate CHECKPOINT" in page.words


def test_the_command_repeats_the_settings() -> None:
    assert command(report(result("a b"), result("c")), "runs/party") == (
        "actionparty evaluate runs/party --world 'a b' --world c --rollouts 4 --horizon 12 --seed 3 "
        "--update-steps 2 --snap"
    )
    own = EvaluationReport("", {"lpips": "ab", "fvd": None}, {})
    assert command(own, "my run") == "actionparty evaluate 'my run' --lpips FILE"


@pytest.mark.parametrize("colours", [4, 256])
def test_inlined_pictures_keep_every_pixel_where_the_palette_holds_it(colours: int) -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    image = table[rng.integers(0, colours, (40, 24))]
    match = re.search(r"base64,([^\"]+)", picture(image, "a picture"))
    assert match is not None
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as back:
        np.testing.assert_array_equal(np.asarray(back.convert("RGB")), image)


def test_a_picture_of_many_colours_is_nearly_kept() -> None:
    x = np.arange(64, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(4 * x[:, None], 4 * x[None, :], np.uint8(90)), -1)
    match = re.search(r"base64,([^\"]+)", picture(image, ""))
    assert match is not None
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as back:
        assert np.abs(np.asarray(back.convert("RGB")).astype(int) - image).mean() < 8


def test_long_curves_are_drawn_as_means_and_gaps_stay_gaps() -> None:
    assert binned([1, 0, None, None, 0.5, None, 1], 2) == [0.5, None, 0.5, 1]
    chart = line_chart("MA", [Series("a", [1.0, None, 0.5], "c0")], "MA", ("paper", 0.75))
    path = re.search(r'<path d="([^"]+)"', chart)
    assert path is not None
    assert path[1].count("M") == 2
    assert 'data-values="1.000 – 0.500"' in chart
    long = line_chart("MA", [Series("a", [1.0, 0.0] * 500, "c0")], "MA")
    assert "mean of 10 steps" in long
    assert 'data-values="' + " ".join(["0.500"] * 100) + '"' in long
    assert "Not measured" in line_chart("MA", [Series("a", [None], "c0")], "MA")


def test_points_at_the_same_number_stand_beside_each_other() -> None:
    chart = point_chart("t", [Point(k, 2, 0.9, (0.8, 1.0), "c0") for k in "ab"], "subjects", "MA")
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)]
    assert places[1] - places[0] == pytest.approx(11)
    assert "a: 0.900 [0.800, 1.000]" in Page(chart).words
