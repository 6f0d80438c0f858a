"""A report for people: one HTML file that needs nothing else, with the worst cases before the best.

Knows a finished report and the records of its rollouts; measures nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from actionparty.data.files import write_atomic
from actionparty.evaluation.html_charts import Point, Series, colour, line_chart, measured, point_chart, swatch
from actionparty.evaluation.html_failures import world_failures
from actionparty.evaluation.html_film import count_of, films, heading, subject_legend, subject_styles, symbols
from actionparty.evaluation.html_markup import Markup, breakable, join, tag
from actionparty.evaluation.html_tables import MEANINGS, breakdown, cards, lookup, world_tables
from actionparty.evaluation.records import RolloutRecord
from actionparty.evaluation.report import COLUMNS, OWN_WEIGHTS, PAPER, EvaluationReport, WorldResult

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page may load nothing: a browser then proves that it is self-contained."""
_OPTIONS = ("rollouts", "horizon", "batch", "seed", "update_steps", "render_steps")
"""Settings that are options of the command."""
_SECTIONS = {
    "summary": "Summary",
    "worlds": "World by world",
    "failures": "Worst cases first",
    "time": "Over time",
    "films": "Filmstrips",
    "breakdown": "Breakdown",
    "repeat": "How to repeat this",
}


def write_html(
    report: EvaluationReport, records: Mapping[str, RolloutRecord], path: Path, *, name: str = "", dataset: str = ""
) -> None:
    """Write the report as one HTML file, atomically.

    Args:
        report: what was found.
        records: the rollouts by world, each asked for once; a world without them shows no frames.
        path: the file, which is replaced.
        name: what the user calls the checkpoint.
        dataset: the one that the user named, if any.

    Raises:
        DatasetError: the disk refuses, or a record is damaged.
    """
    write_atomic(path, html(report, records, name, dataset).encode())


def html(report: EvaluationReport, records: Mapping[str, RolloutRecord], name: str = "", dataset: str = "") -> str:
    """Return the whole page, as ``write_html`` writes it."""
    data = report.to_json()
    worst_first = sorted(report.worlds, key=lambda world: _badness(data["worlds"][world]))
    shown = [_Shown.of(records[world]) for world in worst_first if world in records]
    contents: dict[str, Markup] = {
        "summary": join(cards(data), _conditions(report)),
        "worlds": join(tag("p", *_HOW_TO_READ, class_="faint"), world_tables(data)),
        "failures": join(tag("p", *_HOW_TO_LOOK, class_="faint"), _failures(shown)),
        "time": _over_time(report.worlds),
        "films": join(*(world.film for world in shown)) or tag("p", "No rollouts were kept.", class_="faint"),
        "breakdown": join(_by_subjects(data), breakdown(data)),
        "repeat": _repeat(report, name, dataset),
    }
    sections = (_section(key, title, contents[key]) for key, title in _SECTIONS.items())
    body = join(symbols(), _header(report, name), _navigation(), tag("main", *sections), _script("report.js"))
    head = _head(_title(report, name), max((world.subjects for world in shown), default=0))
    return f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n"


@dataclass(frozen=True)
class _Shown:
    """What is shown of the rollouts of one world: made at once, so that one record at a time is held."""

    name: str
    subjects: int
    failures: Markup | None
    film: Markup

    @staticmethod
    def of(record: RolloutRecord) -> _Shown:
        name, subjects = record.world.name, record.world.subjects
        film = tag("div", heading(name), subject_legend(subjects), films(record), class_="world")
        return _Shown(name, subjects, world_failures(record), film)


def _failures(worlds: Sequence[_Shown]) -> Markup:
    """Return the failures of all worlds; says so where there are none."""
    if not worlds:
        return tag("p", "No rollouts were kept, so there are no failures to show.", class_="faint")
    clean = [world.name for world in worlds if world.failures is None]
    where = "in any world" if len(clean) == len(worlds) else f"in {', '.join(clean)}"
    praise = f"No failures {where}: in every frame of every rollout, every subject was seen once and obeyed."
    return join(*(world.failures for world in worlds), tag("p", praise, class_="praise") if clean else None)


def _badness(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return what sorts worlds by movement accuracy, then preservation, the worst first, the unmeasured last."""
    ma, sp = lookup(row, "ma"), lookup(row, "sp_mean")
    return (2.0 if ma is None else ma, 2.0 if sp is None else sp)


_HOW_TO_READ = (
    "Beneath each figure its 95% bootstrap interval over rollouts or held-out episodes. ",
    tag("span", "Tinted", class_="worst"),
    " cells are the worst of their column. A click on a heading sorts by it.",
)
_HOW_TO_LOOK = (
    "Worst world first, and in it the rollouts that fail earliest. Above what was generated, below what the "
    "simulator did from the same start with the same actions. Rings are where each subject was seen, ticks where it "
    "faces; a dashed square is where a subject that went wrong should have come to. ",
    tag("span", "Green", class_="good-text"),
    " border: everybody obeyed and was seen once; ",
    tag("span", "red", class_="bad-text"),
    ": somebody did not. A world with chance in it may come to differ from the simulator: that alone is no failure. "
    "A click enlarges a frame.",
)


def _title(report: EvaluationReport, name: str) -> str:
    return name or f"checkpoint {report.checkpoint[:12]}"


def _head(title: str, subjects: int) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{title}: evaluation report"),
        tag("style", Markup(_asset("report.css") + subject_styles(subjects))),
    )


def _asset(name: str) -> str:
    return files("actionparty.evaluation").joinpath("report_assets", name).read_text(encoding="utf-8")


def _script(name: str) -> Markup:
    return tag("script", Markup(_asset(name)))


def _header(report: EvaluationReport, name: str) -> Markup:
    worlds, rollouts = len(report.worlds), sum(r.rollouts for r in report.worlds.values())
    horizon = max((r.horizon for r in report.worlds.values()), default=0)
    facts = [
        ("Checkpoint", tag("code", report.checkpoint[:16] or "unknown", title=report.checkpoint)),
        ("Worlds", f"{worlds}"),
        ("Rollouts", f"{rollouts} of {horizon} steps"),
        ("Sampling", _sampling(report.settings)),
        ("Tile snapping", "on" if report.settings.get("snap") else "off"),
        ("Seeds", _seeds(report)),
    ]
    listed = tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in facts), class_="facts")
    return tag("header", tag("p", "ActionParty evaluation", class_="kicker"), tag("h1", _title(report, name)), listed)


def _sampling(settings: Mapping[str, Any]) -> str:
    steps = [f"{settings[key]} {key.split('_')[0]}" for key in ("update_steps", "render_steps") if key in settings]
    return f"{' + '.join(steps)} steps" if steps else "not said"


def _seeds(report: EvaluationReport) -> str:
    seeds = [seed for result in report.worlds.values() for seed in result.seeds]
    return f"{min(seeds)} to {max(seeds)}, held out" if seeds else "none"


def _navigation() -> Markup:
    links = (tag("a", title, href=f"#{key}") for key, title in _SECTIONS.items())
    return tag("nav", *links, aria_label="Sections")


def _section(key: str, title: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")


def _conditions(report: EvaluationReport) -> Markup:
    """Return in what the conditions differ from the paper's."""
    results = report.worlds.values()
    most = count_of(max((r.subjects for r in results), default=0), "subject")
    rollouts = count_of(sum(r.rollouts for r in results), "rollout")
    here = f"{count_of(len(results), 'world')}, up to {most}, {rollouts}"
    said = (
        f"The paper reports MA {PAPER['ma']} and SP {PAPER['sp_mean']} over 46 worlds with at most 7 subjects and 230 "
        f"rollouts. Here: {here}; other episodes, and a detector of our own. The numbers stand beside each other for "
        "orientation; they are not a like-for-like comparison. All figures are means over worlds."
    )
    return tag("p", said, class_="note")


def _over_time(results: Mapping[str, WorldResult]) -> Markup:
    shown = (("ma", "Movement accuracy", "MA"), ("sp", "Subject preservation", "SP"))
    papers = {"ma": ("paper's mean", PAPER["ma"]), "sp": ("paper's mean", PAPER["sp_mean"])}
    charts = [line_chart(title, _series(results, key), label, papers[key]) for key, title, label in shown]
    return join(tag("div", *charts, class_="charts"), tag("h3", "Who is alive: generated and real"), _alive(results))


def _series(results: Mapping[str, WorldResult], key: str) -> list[Series]:
    """Return the curve of each world, and of their mean where there are several."""
    curves = {name: r.curves[key] for name, r in results.items() if measured(r.curves.get(key, ()))}
    series = [Series(name, curve, colour(k)) for k, (name, curve) in enumerate(curves.items())]
    if len(curves) < 2:
        return series
    steps = max(map(len, curves.values()))
    at = ([c[t] for c in curves.values() if t < len(c)] for t in range(steps))
    means = [sum(known) / len(known) if (known := measured(values)) else None for values in at]
    return [*series, Series("mean of worlds", means, "mean")]


def _alive(results: Mapping[str, WorldResult]) -> Markup:
    """Return a chart for each world in which anybody is ever removed, and name the others."""
    charts, steady = [], []
    for name, result in results.items():
        pair = [result.curves.get(key, []) for key in ("alive", "alive_real")]
        values = measured(v for curve in pair for v in curve)
        if values and min(values) < 1:
            lines = [Series("generated", pair[0], "c0"), Series("simulator", pair[1], "real")]
            charts.append(line_chart(name, lines, "share alive"))
        elif values:
            steady.append(name)
    said = (
        f"Nobody is ever removed, in either, in {', '.join(steady)}." if steady else "" if charts else "Not measured."
    )
    return join(tag("div", *charts, class_="charts"), tag("p", said, class_="faint"))


def _by_subjects(data: Mapping[str, Any]) -> Markup:
    charts = [
        point_chart(f"{title} by number of subjects", _points(data, key), "subjects", label)
        for key, title, label in (("ma", "Movement accuracy", "MA"), ("sp_mean", "Subject preservation", "SP"))
    ]
    names = (tag("li", swatch(colour(k)), tag("span", breakable(n))) for k, n in enumerate(data["worlds"]))
    return join(tag("div", *charts, class_="charts"), tag("ul", *names, class_="legend across"))


def _points(data: Mapping[str, Any], key: str) -> list[Point]:
    points = []
    for k, (name, row) in enumerate(data["worlds"].items()):
        interval = row.get("ci95", {}).get(key)
        if (value := lookup(row, key)) is not None:
            points.append(Point(name, row["subjects"], value, tuple(interval) if interval else None, colour(k)))
    return points


def command(report: EvaluationReport, name: str, dataset: str = "") -> str:
    """Return the command line that repeats this evaluation of the checkpoint ``name`` on ``dataset``."""
    words = ["actionparty", "evaluate", name or "CHECKPOINT"]
    words += [word for name in report.worlds for word in ("--world", name)]
    words += ["--data", dataset] if dataset else []
    for key in _OPTIONS:
        if key in report.settings:
            words += [f"--{key.replace('_', '-')}", str(report.settings[key])]
    words += [word for world in report.settings.get("deterministic", ()) for word in ("--deterministic", world)]
    words += ["--snap"] if report.settings.get("snap") else []
    words += [word for key, option in OWN_WEIGHTS.items() if report.settings.get(key) for word in (option, "FILE")]
    return shlex.join(words)


def _repeat(report: EvaluationReport, name: str, dataset: str) -> Markup:
    settings = json.dumps(dict(report.settings), indent=2, default=str)
    measured_here = [key for key in COLUMNS if any(key in r.ratios for r in report.worlds.values())]
    terms = [tag("div", tag("dt", COLUMNS[key]), tag("dd", MEANINGS[key])) for key in measured_here if key in MEANINGS]
    left_out = report.left_out()
    return join(
        tag("pre", tag("code", command(report, name, dataset)), class_="command"),
        tag("p", "Checkpoint (SHA-256): ", tag("code", report.checkpoint, class_="hash")),
        tag("details", tag("summary", "All settings"), tag("pre", tag("code", settings), class_="scroll", tabindex=0)),
        tag("h3", "What the metrics mean"),
        tag("dl", *terms, class_="terms"),
        tag("p", left_out, class_="note") if left_out else None,
        tag("p", "Ground truth is always the real simulator: held-out recordings whose seeds no training uses."),
    )
