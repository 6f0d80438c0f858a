"""The folder of an evaluation: what it is of, a record of every finished part, and the report made of them.

Every file is whole or absent, so an evaluation that was stopped goes on where it was. Knows records, no model.

    run.json                        what is evaluated: an evaluation goes on only where this is the same
    records/WORLD/steps.npz         single steps from real contexts
    records/WORLD/rollouts-K.npz    the rollouts of batch K
    report.json, report.md, report.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actionparty.data.files import exclusive, make_folder, write_atomic
from actionparty.errors import DatasetError, InvalidInputError
from actionparty.evaluation.labels import TileLabels
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import EvaluationReport
from actionparty.evaluation.summary import world_result
from actionparty.types import Episode

FORMAT = 1
RUN, REPORT, TABLE, PAGE = "run.json", "report.json", "report.md", "report.html"
_FREE = ("name", "data")
"""What may differ between an evaluation and the one that goes on with it."""


_LEFT_OVER = re.compile(r"\.run\.json\..*\.tmp")
"""What is left of a run.json that was being written."""


@dataclass(frozen=True)
class ReportFolder:
    """The folder ``path`` of the evaluation that ``run`` describes."""

    path: Path
    run: Mapping[str, Any]

    @staticmethod
    def start(path: Path, run: Mapping[str, Any]) -> ReportFolder:
        """Make the folder, or go on with what is in it where it is of the same evaluation.

        Raises:
            InvalidInputError: it is something else, or of another evaluation; nothing is touched then.
            DatasetError: the disk refuses.
        """
        wanted = json.loads(json.dumps(run))
        if _occupied(path):
            found = _read_run(path)
            differing = _differences(found, wanted)
            if differing:
                raise InvalidInputError(
                    f"{path}: holds another evaluation (differing in {', '.join(differing)}). Choose another --out, "
                    "or repeat the very command that it comes from."
                )
            return ReportFolder(path, found)
        make_folder(path)
        write_atomic(path / RUN, _json_bytes(wanted))
        return ReportFolder(path, wanted)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one evaluation; raise ``DatasetError`` where another process holds it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.path))
            except DatasetError as error:
                raise DatasetError(
                    f"{self.path}: another process is evaluating into it; wait or choose another --out."
                ) from error
            yield

    @staticmethod
    def open(path: Path) -> ReportFolder:
        """Return an existing folder; the path of its report.json will do.

        Raises:
            InvalidInputError: it is no report folder.
        """
        path = path.parent if path.name == REPORT else path
        if not path.exists():
            raise InvalidInputError(
                f"{path}: no such report folder; make one with: actionparty evaluate CHECKPOINT --out {path}"
            )
        return ReportFolder(path, _read_run(path))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the report names."""
        settings: Mapping[str, Any] = self.run["settings"]
        return settings

    @property
    def worlds(self) -> Sequence[str]:
        """The worlds asked for."""
        worlds: Sequence[str] = self.run["worlds"]
        return worlds

    @property
    def parts(self) -> int:
        """The number of batches of rollouts of each world."""
        return int(-(-self.settings["rollouts"] // self.settings["batch"]))

    def steps_path(self, world: str) -> Path:
        """Return where the single steps of ``world`` are."""
        return self.path / "records" / world / "steps.npz"

    def rollouts_path(self, world: str, part: int) -> Path:
        """Return where batch ``part`` of the rollouts of ``world`` is."""
        return self.path / "records" / world / f"rollouts-{part}.npz"

    def missing(self) -> list[Path]:
        """Return the parts that are not finished."""
        wanted = [self.steps_path(w) for w in self.worlds]
        wanted += [self.rollouts_path(w, k) for w in self.worlds for k in range(self.parts)]
        return [path for path in wanted if not path.exists()]

    def steps(self, world: str) -> StepRecord:
        """Read what single steps gave; raise ``DatasetError`` where it is missing or damaged."""
        return StepRecord.load(self.steps_path(world))

    def rollouts(self, world: str) -> RolloutRecord:
        """Read all rollouts of ``world``; raise ``DatasetError`` where some are missing or damaged."""
        return RolloutRecord.joined([RolloutRecord.load(self.rollouts_path(world, k)) for k in range(self.parts)])

    def check_finished(self) -> None:
        """Raise ``InvalidInputError`` where parts are missing; it says how to go on."""
        if missing := self.missing():
            raise InvalidInputError(
                f"{self.path}: {len(missing)} parts are not finished ({missing[0].name} of {missing[0].parent.name} is "
                f"the first); go on with: actionparty evaluate {self.run['name']} --out {self.path}"
            )

    def report(self) -> EvaluationReport:
        """Return the report of all records.

        Raises:
            InvalidInputError: the evaluation is not finished.
        """
        self.check_finished()
        chanceless = self.settings.get("deterministic", ())
        results = {w: world_result(self.steps(w), self.rollouts(w), w in chanceless) for w in self.worlds}
        return EvaluationReport(self.run["checkpoint"], self.settings, results)

    def finish(self, report: EvaluationReport) -> None:
        """Write the report for programs and for people."""
        from actionparty.evaluation.html_report import write_html

        write_atomic(self.path / REPORT, report.dumps().encode())
        write_atomic(self.path / TABLE, report.markdown().encode())
        named = {"name": str(self.run["name"]), "dataset": str(self.run.get("data") or "")}
        write_html(report, Records(self), self.path / PAGE, **named)


class Records(Mapping[str, RolloutRecord]):
    """The rollouts of every world of a folder, read when asked for: those of one world fit into memory, all may not."""

    def __init__(self, folder: ReportFolder) -> None:
        self._folder = folder

    def __getitem__(self, world: str) -> RolloutRecord:
        if world not in self._folder.worlds:
            raise KeyError(world)
        return self._folder.rollouts(world)

    def __iter__(self) -> Iterator[str]:
        return iter(self._folder.worlds)

    def __len__(self) -> int:
        return len(self._folder.worlds)


def check_usable(path: Path) -> None:
    """Raise ``InvalidInputError`` where ``path`` can't become a report folder, and is none: nothing is written over."""
    if _occupied(path):
        _read_run(path)


def _occupied(path: Path) -> bool:
    """Return whether there is anything but what a start that was cut short left over."""
    return path.exists() and (not path.is_dir() or any(not _LEFT_OVER.fullmatch(p.name) for p in path.iterdir()))


def load_report(path: Path) -> tuple[EvaluationReport, Records]:
    """Return the report of a folder, made again of its records, and the records of its rollouts by world.

    Raises:
        InvalidInputError: no report folder, or one that is not finished.
        DatasetError: a damaged record.
    """
    folder = ReportFolder.open(path)
    return folder.report(), Records(folder)


def describe_run(
    checkpoint: str,
    name: str,
    settings: Mapping[str, Any],
    episodes: Mapping[str, Sequence[Episode]],
    labels: Mapping[str, TileLabels],
    data: str = "",
) -> dict[str, Any]:
    """Return what an evaluation is of: equal for two that must give the same report, but for ``name`` and ``data``."""
    return {
        "format": FORMAT,
        "checkpoint": checkpoint,
        "name": name,
        "data": data,
        "version": _version(),
        "settings": dict(settings),
        "worlds": list(episodes),
        "episodes": {world: _digest_episodes(recorded) for world, recorded in episodes.items()},
        "labels": {world: _digest(np.asarray(value) for value in vars(labels[world]).values()) for world in episodes},
    }


def _version() -> str:
    try:
        return version("actionparty")
    except PackageNotFoundError:
        return ""


def _digest_episodes(episodes: Sequence[Episode]) -> str:
    arrays = []
    for e in episodes:
        frames = e.grid if e.frames_raw is None else e.frames_raw
        arrays += [np.array(e.seed), e.tiles, frames, *vars(e.states).values(), e.actions, e.rewards]
    return _digest(arrays)


def _digest(arrays: Iterator[NDArray[Any]] | Sequence[NDArray[Any]]) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype.str}{array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _read_run(path: Path) -> dict[str, Any]:
    """Read the run.json of a folder and see that it has what the rest needs."""
    try:
        run = json.loads((path / RUN).read_text())
        if run["format"] != FORMAT:
            raise DatasetError(f"{path / RUN}: format {run['format']!r}, but this version reads {FORMAT}.")
        settings, needed = run["settings"], ("rollouts", "batch", "horizon")
        whole = all(isinstance(settings[k], int) and settings[k] > 0 for k in needed) and bool(run["worlds"])
        whole &= isinstance(run["checkpoint"], str) and isinstance(run["name"], str)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"{path}: exists already and is no report folder (it has no {RUN}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path / RUN}: damaged ({error}); the evaluation has to start again elsewhere.") from error
    if not whole:
        raise DatasetError(f"{path / RUN}: damaged; the evaluation has to start again elsewhere.")
    found: dict[str, Any] = run
    return found


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs, settings by their own names."""
    names = []
    for key in sorted({*found, *wanted} - {*_FREE}):
        one, two = found.get(key), wanted.get(key)
        if key == "settings" and isinstance(one, dict) and isinstance(two, dict):
            names += [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]
        elif one != two:
            names.append(key)
    return names
