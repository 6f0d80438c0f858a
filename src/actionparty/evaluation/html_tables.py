"""The numbers of a report as HTML: cards, tables that can be sorted, and bars by action and by collision.

Everything is read from the report's JSON, so that no figure here differs from what programs read. Knows no frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from actionparty.evaluation.detector import ACCURATE
from actionparty.evaluation.html_markup import Markup, breakable, join, tag
from actionparty.evaluation.report import COLUMNS, LOWER_IS_BETTER, NO_RANK, PAPER

Row = Mapping[str, Any]
MEANINGS = {
    "ma1": "from a real context, one generated step: share of subjects whose seen cell and facing are the simulator's",
    "ma1_moving": "the same over subjects that move or turn in the simulator",
    "sa1": "the same as MA@1 on the model's own states instead of the pixels",
    "ma": "over a rollout: share of subject steps whose seen change is what the action must do; who is lost is wrong",
    "sp_mean": "share of subject steps seen exactly once, over the whole horizon; SP@t: over the ten steps up to t",
    "dr": "share of subject steps seen at least once",
    "ea": "share right of the cells that an interact-type action changes, one step from a real context",
    "tile": "share of cells right, one step from a real context",
    "changed_tile": "the same among the cells that changed",
    "isolation": "one subject's action changed: share of far-away others whose predicted state stays the same",
    "swap": "two subjects' actions exchanged: share of cases in which their outcomes exchange",
    "duplicates": "share of subject steps seen more than once (less is better)",
    "reward_rate": "share of subject steps that the simulator rewards, from the same contexts; neither good nor bad",
    "reward_ap": "average precision: does the model give rewarded subject steps the highest odds, one step from a real "
    "context? Chance is the reward rate",
    "reward_error": "sum of |told - real| over sum of |real| rewards: 1 is as bad as telling nothing (less is better)",
    "reward_sign": "share of rewarded subject steps for which a reward of the same sign is told",
    "return_correlation": "Pearson's r between the sums of generated and of real rewards, over rollouts and subjects",
    "end_accuracy": "mean of the shares right where the world ends and where it goes on, one step from a real context",
    "sync_horizon": "steps before the first frame that differs from the simulator's, in worlds without chance (median)",
    "psnr": "likeness to the simulator's frames over the rollout, in decibels",
    "ssim": "structural likeness to the simulator's frames over the rollout, 1 at most",
    "lpips": "perceptual distance to the simulator's frames (less is better)",
    "fvd": "Fréchet distance between generated and real clips (less is better)",
    "alive": "share of subject steps in which the model takes the subject to be alive; neither good nor bad",
    "alive_gap": "how far that share is from the simulator's, while the recording lasts (less is better)",
    "detector": "share of subjects that the detector finds right in real frames: what pixels can show at best",
}
"""What each metric of ``COLUMNS`` is, in one line."""
_GROUPS = {
    "Subjects and their actions": (
        *("ma1", "ma1_moving", "sa1", "ma", "sp_mean", "SP", "dr", "duplicates", "alive", "alive_gap"),
    ),
    "Frames, effects and checks": (
        *("ea", "tile", "changed_tile", "isolation", "swap", "sync_horizon", "psnr", "ssim", "lpips", "fvd"),
        "detector",
    ),
    "Rewards and ends": (
        *("reward_rate", "reward_ap", "reward_error", "reward_sign", "return_correlation", "end_accuracy"),
    ),
}
_REWARD_CARDS = (
    ("reward_ap", "Reward AP", "who is rewarded, ranked by odds"),
    ("return_correlation", "Return correlation", "generated against real returns"),
)
"""Cards that only worlds with rewards have."""
_ONE_DIGIT = ("psnr", "sync_horizon", "fvd")


def number(key: str, value: object) -> str:
    """Return a metric as text, a dash where it is missing or not finite."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{1 if key in _ONE_DIGIT else 3}f}"


def lookup(row: Row, key: str) -> float | None:
    """Return a metric of a world's JSON, ``sp.50`` being under ``sp``; None where missing or not finite."""
    value = row.get("sp", {}).get(key[3:]) if key.startswith("sp.") else row.get(key)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def cards(data: Row) -> Markup:
    """Return the summary: means over worlds, each with the paper's number or the worst world."""
    steps = sorted(int(t) for t in data["mean"].get("sp", {}))
    last = [(f"sp.{steps[-1]}", f"SP at step {steps[-1]}", "subject preservation, last ten steps")] if steps else []
    shown = [
        ("ma", "Movement accuracy (MA)", "rollouts: actions obeyed"),
        ("sp_mean", "Subject preservation (SP)", "rollouts: seen exactly once"),
        *last,
        ("ma1", "MA after one step", "from a real context"),
        ("ea", "Effect accuracy (EA)", "what zaps, cooks, eats..."),
        ("isolation", "Isolation", "far others unmoved by an action"),
        ("swap", "Swap", "actions exchanged, outcomes too"),
        *(card for card in _REWARD_CARDS if lookup(data["mean"], card[0]) is not None),
    ]
    return tag("div", *(_card(data, *card) for card in shown), class_="cards")


def _card(data: Row, key: str, title: str, meaning: str) -> Markup:
    value = lookup(data["mean"], key)
    name, worst = data["worst"].get(key, (None, None))
    differ = len(data["worlds"]) > 1 and number(key, worst) != number(key, value)
    least = join("worst: ", breakable(name), f" {number(key, worst)}") if name and differ else None
    paper = f"paper {PAPER[key]}" if key in PAPER else None
    return tag(
        "div",
        tag("h3", title),
        tag("p", number(key, value), class_="value"),
        tag("p", paper, class_="paper") if paper else None,
        tag("p", meaning if value is not None else "not measured", class_="faint"),
        tag("p", least, class_="faint") if least else None,
        class_="card",
    )


def world_tables(data: Row) -> Markup:
    """Return the tables of all worlds: one on subjects, one on the rest, without columns nobody measured."""
    worlds = data["worlds"]
    steps = sorted({int(t) for row in worlds.values() for t in row.get("sp", {})})
    tables = []
    for title, keys in _GROUPS.items():
        wanted = [k for key in keys for k in ([f"sp.{t}" for t in steps] if key == "SP" else [key])]
        kept = [k for k in wanted if any(lookup(row, k) is not None for row in worlds.values())]
        if kept:
            tables.append(_table(title, data, kept))
    flagged = [name for name, row in worlds.items() if row.get("detector_flagged")]
    if flagged:
        said = f"(!) In {', '.join(flagged)} the detector itself is below {ACCURATE} on real frames: its metrics from "
        tables.append(tag("p", said + "pixels can't reach 1 even for a perfect model.", class_="warning"))
    notes = [tag("li", tag("strong", name), f": {note}") for name, row in worlds.items() for note in row["notes"]]
    return join(*tables, tag("ul", *notes, class_="notes") if notes else None)


def _table(title: str, data: Row, keys: Sequence[str]) -> Markup:
    headings = [_heading("World", "world", None), _heading("N", "subjects", "number of subjects")]
    headings += [_heading(*_title(key)) for key in keys]
    worst = {key: _worst(data["worlds"], key) for key in keys}
    body = [_row(name, row, keys, worst) for name, row in data["worlds"].items()]
    foot = tag("tr", tag("th", "mean", scope="row"), tag("td"), *(_cell(key, data["mean"], False) for key in keys))
    table = tag(
        "table",
        tag("caption", title),
        tag("thead", tag("tr", *headings)),
        tag("tbody", *body),
        tag("tfoot", foot),
        class_="sortable",
    )
    return tag("div", table, class_="scroll table", tabindex=0, role="region", aria_label=title)


def _title(key: str) -> tuple[str, str, str]:
    if key.startswith("sp."):
        return f"SP@{key[3:]}", key, f"subject preservation over the ten steps up to {key[3:]}"
    return COLUMNS[key], key, MEANINGS[key]


def _heading(text: str, key: str, meaning: str | None) -> Markup:
    return tag("th", text, scope="col", title=meaning, data_key=key)


def _worst(worlds: Mapping[str, Row], key: str) -> float | None:
    """Return the worst value of a column, None where it has none or where all are equal."""
    values = [v for row in worlds.values() if (v := lookup(row, key)) is not None]
    if key in NO_RANK or len(values) < 2 or min(values) == max(values):
        return None
    return max(values) if key in LOWER_IS_BETTER else min(values)


def _row(name: str, row: Row, keys: Sequence[str], worst: Mapping[str, float | None]) -> Markup:
    flagged = tag("span", " (!)", class_="flag", title=f"detector below {ACCURATE}")
    about = f"{row['rollouts']} rollouts of {row['horizon']} steps, seeds {row['seeds'][0]} to {row['seeds'][1]}"
    named = join(breakable(name), flagged if row.get("detector_flagged") else None)
    first = tag("th", named, scope="row", title=about, data_value=name)
    cells = [_cell(key, row, worst[key] is not None and lookup(row, key) == worst[key]) for key in keys]
    return tag("tr", first, tag("td", f"{row['subjects']}", data_value=row["subjects"]), *cells)


def _cell(key: str, row: Row, worst: bool) -> Markup:
    value = lookup(row, key)
    if value is None:
        return tag("td", "–", class_="faint", title="not measured")
    interval = row.get("ci95", {}).get(key)
    half = interval and tag("small", f"{number(key, interval[0])}–{number(key, interval[1])}")
    said = f"{value:.6g}" + (f", 95% interval {interval[0]:.6g} to {interval[1]:.6g}" if interval else "")
    said += "; the worst of this column" if worst else ""
    return tag("td", number(key, value), half, title=said, data_value=value, class_="worst" if worst else None)


def breakdown(data: Row) -> Markup:
    """Return movement accuracy by action and by collision, one card of bars a world."""
    known = {name: row["breakdown"] for name, row in data["worlds"].items() if row.get("breakdown")}
    if not known:
        return tag("p", "Not measured.", class_="faint")
    return tag("div", *(_bars(name, parts) for name, parts in known.items()), class_="cards wide")


def _bars(name: str, parts: Mapping[str, Mapping[str, Row]]) -> Markup:
    actions = [(k, v) for k, v in parts.get("action", {}).items() if v.get("n")]
    actions.sort(key=lambda item: _share(item[1]))
    collision = [(k, v) for k, v in parts.get("collision", {}).items() if v.get("n")]
    groups = [
        ("By action, the worst first", actions),
        ("By collision: with a wall or a subject in the way, or without", collision),
    ]
    bodies = [_bar_group(title, rows) for title, rows in groups if rows]
    return tag("div", tag("h3", breakable(name)), tag("table", *bodies, class_="bars"), class_="card")


def _bar_group(title: str, rows: Sequence[tuple[str, Row]]) -> Markup:
    head = tag("tr", tag("th", title, scope="colgroup", colspan=4))
    return tag("tbody", head, *(_bar(name, row) for name, row in rows))


def _share(row: Row) -> float:
    value = row.get("ma")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _bar(name: str, row: Row) -> Markup:
    bar = tag("span", class_="bar", style=f"width:{100 * _share(row):.1f}%")
    return tag(
        "tr",
        tag("th", breakable(name), scope="row"),
        tag("td", tag("div", bar, class_="track", aria_hidden="true"), class_="drawn"),
        tag("td", number("ma", row.get("ma"))),
        tag("td", f"n = {row['n']:,}", class_="faint"),
    )
