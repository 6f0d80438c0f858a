"""The command ``coverage``: what a dataset holds of every action and event, for people, programs or a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json

if TYPE_CHECKING:
    from actionparty.data.coverage import Coverage, Effects, WorldCoverage

_HEADING = "# What is covered"
_EVENTS = """\
Counts are of (step, subject), of living subjects. *Kinds of change* are distinct pairs (tile before, tile after) of a
cell; *rare* are those seen fewer than 10 times. *Removals* are subjects alive before a step and not after it, *returns*
the reverse (a world may remove subjects for good, or as it ends), *jumps* living subjects more than 3 cells away in the
next row (a step across the edge of a map whose opposite edges meet is one too)."""
_SIGNS = """\
Nothing records which change an action caused, so this is a heuristic. In reach of a subject are 11 cells: up to 3
ahead, in its column and the two beside it. Counted for each time an action was taken:

- *around*: a cell in reach changed, other than cells in which a living subject was before or after the step, and not to
  take back such a change of the step before (so the end of a beam is no effect);
- *lasting*: so it did, from a tile shown for two rows to another that it shows two and three rows later too, with
  nobody on it;
- *own*: the subject's own cell changed while it stayed there, alive, with the same facing;
- *rewarded*: the subject received a reward in the same step;
- *removed*: another subject in reach was removed in that step.

*Standing still* is the background: the shares of subjects that saw the same signs though they only moved or waited, and
stood still (where nobody ever does, it is taken as 0). *Effects* are the times beyond what the background explains, by
the clearest of the signs, and 0 where no sign is at least 1.25 times as frequent as the background; a beam that is
drawn and hits nothing is one. *Marks* are lasting changes in reach (several at a time may be) of kinds that the
background shows at most a fifth as often, and that were seen at least 10 times: what a beam did, whatever moves by
itself. Effects elsewhere on the map, and those that come later, are not seen; subjects that stand still may be at
livelier or quieter places than those that act."""
_MOVES = "How often living subjects took the actions that every grid world understands."


@dataclass(frozen=True)
class _Table:
    title: str
    words: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def coverage(
    datasets: Annotated[list[Path], typer.Argument(help="Folders of datasets, counted together.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Write the report here, as Markdown; an earlier one is replaced.")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="What there is less of is named as thin.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what datasets cover: actions, their effects, collisions, returns.

    For recordings, which are counted together, or a packed dataset; what is thin comes last, so that
    one sees what to record more of. Which change an action caused is not
    recorded: effects are told by changes close to a subject, compared with
    subjects that stood still.

    Examples:
      actionparty coverage datasets/party
      actionparty coverage datasets/party --least 100 --json
      actionparty coverage datasets/party datasets/more --out coverage.md
    """
    from actionparty.data.coverage import coverage as count
    from actionparty.data.coverage import thin_spots
    from actionparty.data.files import write_atomic

    if out is not None:
        _check_replaceable(out)
    found = count(*datasets)
    thin = thin_spots(found.worlds, least)
    if out is not None:
        command = f"actionparty coverage {' '.join(map(str, datasets))} --least {least} --out {out}"
        write_atomic(out, _document(command, found, thin, least).encode())
    if as_json:
        worlds = [asdict(world) for world in found.worlds]
        head = {"datasets": list(map(str, datasets)), "out": str(out) if out else None, "damaged": found.damaged}
        console.print_json({**head, "least": least, "worlds": worlds, "thin": thin})
        return
    if out is None:
        for table in _tables(found.worlds):
            console.print_table(table.title, table.columns, table.rows)
    for about, lines in thin.items():
        console.tell(f"{about} (under {least}):")
        for line in lines:
            console.tell(f"  {line}")
    if not thin:
        console.tell(f"nothing is thin: there are at least {least} of everything")
    if out is not None:
        console.tell(f"{len(found.worlds)} worlds -> {out}")


def _check_replaceable(out: Path) -> None:
    """Raise ``InvalidInputError`` where ``out`` is anything but a new file or an earlier report."""
    if out.is_dir():
        raise InvalidInputError(f"{out} is a folder: give --out the name of a file.")
    if out.exists() and not out.read_bytes().startswith(_HEADING.encode()):
        raise InvalidInputError(f"{out} exists and is not a coverage report: choose another --out.")
    if not out.parent.is_dir():
        raise InvalidInputError(f"{out.parent}: there is no such folder for --out.")


def _tables(worlds: Sequence[WorldCoverage]) -> Iterator[_Table]:
    from actionparty.data.signs import SIGNS
    from actionparty.vocabulary import MOVES

    columns: tuple[str, ...]
    pictures, events = ("tiles", "kinds of change", "rare"), ("collisions", "removals", "returns", "jumps")
    columns = ("world", "subjects", "rows", *pictures, *events, "rewards +", "rewards -")
    yield _Table("Events", _EVENTS, columns, [_events(world) for world in worlds])
    columns = ("world", "action", "taken", "effects", "marks", *SIGNS)
    effects = [row for world in worlds for row in _effects(world)]
    yield _Table("Effects of the worlds' own actions", _SIGNS, columns, effects)
    moves = [(world.world.name, *(world.actions.get(name) for name in MOVES)) for world in worlds]
    yield _Table("Moves", _MOVES, ("world", *MOVES), moves)


def _events(w: WorldCoverage) -> tuple[object, ...]:
    pictures = (w.tiles, w.changes, w.rare_changes)
    events = (w.collisions, w.removals, w.returns, w.jumps, w.rewards_positive, w.rewards_negative)
    return (w.world.name, w.world.subjects, w.rows, *pictures, *events)


def _effects(world: WorldCoverage) -> Iterator[tuple[object, ...]]:
    """Yield a row for each action of the world's own, with shares of the signs, and one for the background."""
    for effects in world.effects:
        yield (world.world.name, effects.action, effects.taken, effects.count, effects.marks, *_shares(effects))
    if world.effects:
        shares = (_percent(share) for share in world.background.values())
        yield (world.world.name, "(standing still)", world.resting, None, None, *shares)


def _shares(effects: Effects) -> Iterator[str]:
    return (_percent(count / effects.taken) if effects.taken else "-" for count in effects.signs.values())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _document(command: str, found: Coverage, thin: Mapping[str, Sequence[str]], least: int) -> str:
    rows = sum(world.rows for world in found.worlds)
    parts = [_HEADING, f"{len(found.worlds)} worlds, {rows:,} rows. Written by `{command}`."]
    if found.damaged:
        parts += ["## Left out", _list(found.damaged)]
    parts.append(f"## What is thin: fewer than {least}")
    parts += [f"**{about}**\n\n{_list(lines)}" for about, lines in thin.items()] or ["Nothing."]
    for table in _tables(found.worlds):
        parts += [f"## {table.title}", table.words, _markdown(table)]
    return "\n\n".join(parts) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _markdown(table: _Table) -> str:
    head = [table.columns, ["---"] + ["--:"] * (len(table.columns) - 1)]
    return "\n".join(f"| {' | '.join(map(console.shown, row))} |" for row in [*head, *table.rows])
