"""Draw what ``actionparty bench --json`` measured: where the time of a frame goes, and the floors under it.

actionparty bench clean_up --threads 1 --json > outputs/bench/clean_up.json
python -m benchmarks.bench_picture outputs/bench/*.json --picture docs/images/bench.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from actionparty.checkpoints import read_json
from actionparty.performance.parts import PARTS


def draw(rows: Sequence[dict[str, Any]], picture: Path) -> Figure:
    """Draw a bar for each measurement, milliseconds by part, with a mark at the higher floor; write a PNG."""
    figure = Figure(figsize=(9, 1.4 + 0.42 * len(rows)), layout="constrained")
    axis = figure.subplots()
    lines = list(range(len(rows)))
    left = [0.0] * len(rows)
    for part in (*PARTS, "other"):
        widths = [row["parts_ms"].get(part, 0.0) for row in rows]
        axis.barh(lines, widths, left=left, label=part, height=0.7)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    floors = [max(row["floor_ms_operations"], row["floor_ms_bytes"]) for row in rows]
    axis.plot(floors, lines, "k|", markersize=16, markeredgewidth=2, label="floor")
    for line, (row, end) in enumerate(zip(rows, left, strict=True)):
        axis.annotate(f"{row['fps_single']:.0f} frames/s", (end, line), (4, 0), textcoords="offset points", va="center")
    names = [f"{row['world']}\n{row['engine']}, {row['threads']} thread{'s'[: row['threads'] - 1]}" for row in rows]
    axis.set_yticks(lines, names, fontsize=7)
    axis.invert_yaxis()
    axis.set(xlabel="milliseconds a frame, decode included", xlim=(0, 1.18 * max(left)))
    axis.legend(fontsize=7, ncols=7, loc="upper center", bbox_to_anchor=(0.45, 1.0 + 0.7 / (1 + len(rows))))
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    return figure


def main() -> None:
    """Read the files and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", nargs="+", type=Path, help="files that `actionparty bench --json` wrote")
    parser.add_argument("--picture", type=Path, default=Path("outputs/bench.png"))
    options = parser.parse_args()
    rows = [read_json(path) for path in options.measured]
    draw(sorted(rows, key=lambda row: (row["world"], row["ms_p50"])), options.picture)


if __name__ == "__main__":
    main()
