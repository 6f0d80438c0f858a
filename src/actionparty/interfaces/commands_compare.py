"""The command ``compare``: two evaluations side by side, for people and for continuous integration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json, Seed

if TYPE_CHECKING:
    from actionparty.evaluation.comparison import Comparison, Difference, Drop

IN_EACH_WORLD = ("ma1", "ma", "sp_mean", "changed_tile", "swap")
"""Metrics whose differences people are shown for each world; programs get all."""
_HELP = "Report folder that `actionparty evaluate --out` wrote."


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=_HELP, show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help=_HELP, show_default=False)],
    max_drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=AMOUNT",
            help="Exit with 1 where B's mean is worse than A's by more; may be given several times.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare two evaluations, B with A, paired by held-out start.

    Differences are B - A with 95% intervals over pairs, for each world and in
    the mean over worlds. Where less is better (duplicates), a drop is a rise.
    A --max-drop also fails where B lacks a world of A, or did not measure the
    metric in one: a model that removes its subjects leaves nothing to measure.

    Exit code 0, or 1 where a --max-drop is exceeded, 2 for wrong input.

    Examples:
      actionparty compare outputs/before outputs/after
      actionparty compare outputs/before outputs/after --json
      actionparty compare old new --max-drop sp_mean=0.01 --max-drop ma=0.02
    """
    from actionparty.evaluation.compare import compare as pair
    from actionparty.evaluation.compare import read_allowed

    allowed = read_allowed(max_drop or ())
    found = pair(a, b, seed)
    drops = found.drops(allowed)
    if as_json:
        judged = [{**asdict(drop), "passed": drop.passed} for drop in drops]
        console.print_json({**found.to_json(), "drops": judged})
    else:
        _show(found, drops)
    if not all(drop.passed for drop in drops):
        raise typer.Exit(console.NOT_ALL_WELL)


def _show(found: Comparison, drops: Sequence[Drop]) -> None:
    from actionparty.evaluation.report import COLUMNS

    rows = ((_heading(name), d.a, d.b, d.value, _interval(d)) for name, d in found.mean.items())
    console.print_table("Mean over worlds", ("metric", "A", "B", "B - A", "95%"), rows)
    keys = [key for key in IN_EACH_WORLD if key in found.mean]
    headings = ("world", "rollouts", *(COLUMNS[key] for key in keys))
    console.print_table("B - A in each world", headings, _world_rows(found, keys))
    for name, side in (("A", found.a), ("B", found.b)):
        console.tell(f"{name}: {side.path} ({side.run['name']}, checkpoint {side.run['checkpoint'][:12]})")
    for name, (one, two) in found.settings().items():
        console.tell(f"they differ in {name}: {one} and {two}")
    if found.left_out():
        console.tell(f"left out, only in one of them: {', '.join(found.left_out())}")
    for name, world in found.worlds.items():
        for lacking in ("a", "b"):
            if missing := [_heading(metric) for metric, by in world.unmeasured.items() if by == lacking]:
                console.tell(f"{name}: not measured in {lacking.upper()}: {', '.join(missing)}")
    for drop in drops:
        console.tell(_judged(drop))


def _judged(drop: Drop) -> str:
    """Return the line on a metric that --max-drop names."""
    heading = _heading(drop.metric)
    if drop.unmeasured:
        return f"{heading} FAILED: not measured by B in {', '.join(drop.unmeasured)}"
    change = f"worse by {drop.drop:.4f}" if drop.drop is not None and drop.drop > 0 else "not worse"
    return f"{heading} is {change}: {'within' if drop.passed else 'MORE THAN'} the {drop.allowed:g} allowed"


def _world_rows(found: Comparison, keys: Sequence[str]) -> Iterable[Sequence[object]]:
    for name, world in found.worlds.items():
        yield name, world.rollouts, *(_cell(world.metrics.get(key)) for key in keys)


def _cell(difference: Difference | None) -> str | None:
    return None if difference is None else f"{difference.value:+.3f} {_interval(difference)}".strip()


def _interval(difference: Difference) -> str:
    return "" if difference.interval is None else "[{:+.3f}, {:+.3f}]".format(*difference.interval)


def _heading(name: str) -> str:
    from actionparty.evaluation.report import COLUMNS

    return f"SP@{name[3:]}" if name.startswith("sp.") else COLUMNS.get(name, name)
