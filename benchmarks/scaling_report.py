"""Rows of the scaling measurements kept as JSON, and the tables and picture made of them. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actionparty.checkpoints import read_json, write_json

Row = dict[str, Any]
Values = Mapping[str, Sequence[Row]]
"""Rows by part: ``cost`` and ``subjects``."""
METRICS = {"ma1": "MA@1", "ma1_moving": "MA@1 moving", "sa1": "SA@1", "ma": "MA", "sp_mean": "SP", "alive": "alive"}
"""Of the zero-shot table, with headings."""
OBEDIENCE = {"sa1": "o-", "ma1": "s--", "sp_mean": "^:"}
"""Metrics that are drawn, with the style of each."""
SUBJECTS = 8
"""In the measurement over cells."""
COUNT_GRIDS = ((9, 13), (21, 30))
"""Sizes (h, w) in the measurement over subjects."""


def merge(old: Sequence[Row], new: Iterable[Row], keys: Sequence[str]) -> list[Row]:
    """Return all rows, a new one in the place of an old one that agrees in ``keys``; sorted by them."""
    rows = {tuple(row[key] for key in keys): row for row in [*old, *new]}
    return [rows[key] for key in sorted(rows)]


def keep(out: Path, part: str, rows: Iterable[Row], keys: Sequence[str]) -> None:
    """Add ``rows`` to the list ``part`` of OUT/scaling.json."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "scaling.json"
    values = read_json(path) if path.exists() else {"cost": [], "subjects": []}
    values[part] = merge(values[part], rows, keys)
    write_json(path, values)


def markdown(values: Values) -> str:
    """Return the tables of both measurements."""
    return "\n".join([*_cost_table(values["cost"]), "", *_subjects_table(values["subjects"])]) + "\n"


def _cost_table(rows: Sequence[Row]) -> list[str]:
    shown = "grid (h x w) | cells | subjects | threads | attention | ms a frame, p50 | p95 | cells drawn"
    lines = [f"| {shown} |", "|---" * 8 + "|"]
    for row in rows:
        h, w = row["grid"]
        timed = f"{row['ms_p50']:.1f} | {row['ms_p95']:.1f} | {row['cells_drawn']:.0f}"
        about = f"{h} x {w} | {row['cells']:,} | {row['subjects']} | {row['threads']} | {_attention(row['window'])}"
        lines.append(f"| {about} | {timed} |")
    return lines if rows else []


def _subjects_table(rows: Sequence[Row]) -> list[str]:
    shown = ["world", "subjects", "trained on", "grid", *METRICS.values(), "detector"]
    lines = [f"| {' | '.join(shown)} |", "|---" * len(shown) + "|"]
    for row in rows:
        h, w = row["grid"]
        about = [row["world"], str(row["subjects"]), _listed(row["trained"]), f"{h} x {w}"]
        lines.append(f"| {' | '.join([*about, *(_share(row, key) for key in (*METRICS, 'detector'))])} |")
    return lines if rows else []


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "-"


def _share(row: Row, key: str) -> str:
    if key not in row:
        return "-"
    interval = row["ci95"].get(key)
    return f"{row[key]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def draw(values: Values, picture: Path) -> None:
    """Draw cost against cells, cost against subjects, and obedience against subjects as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    cells, subjects, obedience = figure.subplots(1, 3)
    _draw_cost(cells, subjects, values["cost"])
    _draw_obedience(obedience, values["subjects"])
    for axis, part in ((subjects, "cost"), (obedience, "subjects")):
        ticks = sorted({row["subjects"] for row in values[part]})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
    for axis in (cells, subjects, obedience):
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=7)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110, format="png")


def _draw_cost(cells: Any, subjects: Any, rows: Sequence[Row]) -> None:
    for (window, threads), line in _groups([r for r in rows if r["subjects"] == SUBJECTS], ("window", "threads")):
        _line(cells, line, "cells", "ms_p50", f"{_threads(threads)}, {_attention(window)}")
    cells.set(xscale="log", yscale="log", xlabel="cells", ylabel="ms a frame", title=f"Cost, {SUBJECTS} subjects")
    full = [r for r in rows if tuple(r["grid"]) in COUNT_GRIDS and not r["window"]]
    for name, line in _groups(full, ("cells", "threads")):
        _line(subjects, line, "subjects", "ms_p50", f"{name[0]} cells, {_threads(name[1])}")
    subjects.set(xscale="log", ylim=(0, None), xlabel="subjects", ylabel="ms a frame", title="Cost by subjects")


def _draw_obedience(axis: Any, rows: Sequence[Row]) -> None:
    """Draw a colour for each world and a style for each metric; a ring where so many subjects were trained on."""
    for k, (name, line) in enumerate(_groups(rows, ("world",))):
        for key, style in OBEDIENCE.items():
            found = [row for row in line if key in row]
            _line(axis, found, "subjects", key, f"{name[0]}, {METRICS[key]}", style, f"C{k}")
            trained = [row for row in found if row["subjects"] in row["trained"]]
            x, y = [row["subjects"] for row in trained], [row[key] for row in trained]
            axis.plot(x, y, "o", mfc="none", ms=9, color=f"C{k}")
    title = "Obedience by subjects (ringed: trained on so many)"
    axis.set(xscale="log", ylim=(None, 1.01), xlabel="subjects", title=title)


def _attention(window: int) -> str:
    return f"windows of {window} x {window}" if window else "all cells"


def _threads(count: int) -> str:
    return f"{count} thread" + "s" * (count > 1)


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Group rows that agree in ``keys``."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return sorted(found.items())


def _line(
    axis: Any, rows: Sequence[Row], x: str, y: str, label: str, style: str = "o-", colour: str | None = None
) -> None:
    points = sorted((row[x], row[y]) for row in rows)
    axis.plot([p[0] for p in points], [p[1] for p in points], style, label=label, markersize=4, color=colour)
