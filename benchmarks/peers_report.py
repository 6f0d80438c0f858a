"""What `benchmarks/peers.py` measured, as Markdown: benchmarks/RESULTS.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = """# ActionParty beside what you would use instead

Measured on {date}: {cpu}, {cores} cores, {system}, PyTorch {torch}{peers}. {load}

    {command}

`benchmarks/peers.py` says how. In short: one process makes frames, decoding to 8-bit pixels, rewards and ends
included, in turn A-B-A-B; a pair is a measurement of ours and the one of theirs right after it (each of at least
{seconds:g} s and one frame). **Times faster** is theirs / ours: the median of {pairs} pairs; the range is that of all
pairs. Milliseconds are medians, for one unit.

- *world frame*: ours shows all subjects, in full size; of a peer it is one 64x64-pixel picture for one player.
- *player-view*: what one subject sees. Ours cuts all subjects' views out of one world frame (that is counted); a peer
  makes the pictures of as many players as one batch, and its players share no world.
- *default* are the library's own defaults at 64x64 pixels, *matched* a configuration with about as many parameters as
  ours, all parts counted. The peers have random weights: what a frame costs does not depend on them, and nothing is
  said about quality.
- dreamer4 decodes its whole past at every frame; its dreams begin anew after 4 frames here, which favours it.
"""
_COLUMNS = ("peer", "size", "its parameters", "threads", "unit", "ours, ms", "theirs, ms", "times faster", "range")


def markdown(found: Mapping[str, Any]) -> str:
    """Return the page: machine and method, a table for each world and weights, the simulator alone."""
    about, rows = found["machine"], found["rows"]
    versions = "".join(f", {name} {version}" for name, version in found["versions"].items())
    text = _HEAD.format(
        **{key: about[key] for key in ("date", "cpu", "cores", "system", "torch")},
        peers=versions,
        load=busy(about["load_before"]),
        command=found["command"],
        seconds=found["seconds"],
        pairs=", ".join(sorted({str(row["pairs"]) for row in rows})) or "no",
    )
    parts = [text]
    for world, weights in dict.fromkeys((row["world"], row["weights"]) for row in rows):
        chosen = [row for row in rows if (row["world"], row["weights"]) == (world, weights)]
        one = chosen[0]
        size = f"{one['subjects']} subjects, {one['cells']} cells, {one['parameters'] / 1e6:.2f} M parameters"
        size = f"{size}, run by {one['engine']}"
        parts.append(f"\n## `{world}`, weights `{weights}` ({size})\n\n{table(chosen)}")
    if found["simulator"]:
        lines = [f"| `{r['world']}` | {r['processes']} | {r['steps_per_second']:,.0f} |" for r in found["simulator"]]
        head = "| world | processes at once | steps/s together |\n|---|---|---|\n"
        parts.append("\n## The real simulator alone\n\n" + head + "\n".join(lines) + "\n")
    if found["left_out"]:
        lines = [f"- {name}: {reason}" for name, reason in found["left_out"].items()]
        parts.append("\n## Not measured\n\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def busy(load: float) -> str:
    """Say whether other work ran before the first measurement, by the mean number of tasks of the last minute."""
    if load < 0.5:
        return f"The machine was otherwise idle (load {load} before)."
    return f"**The machine was busy** (load {load} before): read the ratios, not the milliseconds."


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of one world and weights as a Markdown table."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for row in rows:
        parameters = f"{row['peer_parameters'] / 1e6:.2f} M" if row["peer_parameters"] else "-"
        lines.append(
            f"| {row['peer']} | {row['size'] or '-'} | {parameters} | {row['threads']} | {row['unit']} "
            f"| {row['ours_ms']:.2f} | {row['theirs_ms']:.2f} | **{_short(row['ratio'])}** "
            f"| {_short(row['lowest'])} - {_short(row['highest'])} |"
        )
    return "\n".join(lines) + "\n"


def _short(ratio: float) -> str:
    """Return three figures that count, and no more than the thousandths that are kept."""
    return f"{ratio:.{min(3, max(0, 2 - math.floor(math.log10(ratio))))}f}"
