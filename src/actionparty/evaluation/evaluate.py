"""Evaluate a generated world against held-out recordings: plan the starts, run, and make the report.

Knows generated worlds only as ``BatchRollout``; whoever calls says how to make one for a world. With a folder, each
finished part is kept there at once and never measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.errors import InvalidInputError, unknown_name
from actionparty.evaluation.folder import ReportFolder, describe_run
from actionparty.evaluation.labels import TileLabels
from actionparty.evaluation.parts import Bench, Make, Measure, Part, Record, measure_here
from actionparty.evaluation.parts import EvaluationSettings as EvaluationSettings  # for whoever calls evaluate
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import EvaluationReport, WorldResult
from actionparty.evaluation.rollouts import Perceptual
from actionparty.evaluation.summary import world_result
from actionparty.types import Episode

HELD_OUT = FIRST_EVALUATION_SEED
"""Seeds from here on are never trained on."""
LEAST_ROWS = 3
"""Rows that an episode needs: two are the context of the first step that is measured."""
Progress = Callable[[str, int, int], None]
"""Told the world, the generated frames done, and their final number."""


def evaluate(
    make: Make,
    episodes: Mapping[str, Sequence[Episode]],
    labels: Mapping[str, TileLabels],
    settings: EvaluationSettings,
    *,
    checkpoint: str,
    name: str = "",
    data: str = "",
    labelled_here: Collection[str] = (),
    model_settings: Mapping[str, Any] | None = None,
    perceptual: Perceptual | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    on_world: Callable[[WorldResult], None] | None = None,
    measure: Measure = measure_here,
) -> EvaluationReport:
    """Evaluate every world of ``episodes`` (held-out recordings by world), and report.

    Args:
        make: gives the generated world for a specification.
        labels: labelled tiles by world.
        checkpoint: SHA-256 of the weights, for the report.
        name: what the user calls the checkpoint.
        data: the dataset that the user named, if any; for the report.
        labelled_here: worlds whose labels were built from these very episodes.
        model_settings: sampling steps, snapping and the like, for the report.
        out: folder that keeps every finished part and the report; what is finished there is not measured again.
        on_world: told each result as soon as it is there.
        measure: who measures the parts: this process, or a Ray cluster (``ray_parts.measure_on_ray``).

    Raises:
        InvalidInputError: a recording with a training seed, or too short; labels for another number of subjects;
            ``out`` is not of this evaluation.
        DatasetError: another process evaluates into ``out``.
        UnknownNameError: a world without labels.
    """
    for world, recorded in episodes.items():
        check_held_out(world, recorded, settings.allow_training_seeds)
        if world not in labels:
            raise unknown_name("world with tile labels", world, labels)
        check_labels(world, recorded, labels[world])
    sources = {world: "held-out" if world in labelled_here else "shipped" for world in episodes}
    named = {**asdict(settings), **(model_settings or {}), "labels": sources}
    folder = ReportFolder.start(out, describe_run(checkpoint, name, named, episodes, labels, data)) if out else None
    benches = [
        Bench(make, recorded, labels[world], world not in labelled_here, settings, perceptual)
        for world, recorded in episodes.items()
    ]
    with folder.held() if folder is not None else nullcontext():
        results = _measure_worlds(benches, _Shelf(folder), measure, progress, on_world or (lambda result: None))
        report = EvaluationReport(checkpoint, named, results)
        if folder is not None:
            folder.finish(report)
    return report


def check_labels(world: str, episodes: Sequence[Episode], labels: TileLabels) -> None:
    """Raise ``InvalidInputError`` where labels are of another number of subjects than the recordings."""
    subjects = episodes[0].world.subjects
    if labels.subjects != subjects:
        raise InvalidInputError(
            f"{world}: its tile labels are of {labels.subjects} subjects, but the held-out episodes have {subjects}. "
            "Evaluate on episodes with as many subjects, or on weights without labels of this world."
        )


def check_held_out(world: str, episodes: Sequence[Episode], allow_training_seeds: bool) -> None:
    """Raise ``InvalidInputError`` unless these are usable held-out recordings of ``world``."""
    if not episodes:
        raise InvalidInputError(f"{world}: no held-out episode. Record some with --seed {HELD_OUT} or above.")
    for episode in episodes:
        if episode.seed < HELD_OUT and not allow_training_seeds:
            raise InvalidInputError(
                f"{world}: episode with seed {episode.seed} may have been trained on. Evaluate on seeds from "
                f"{HELD_OUT} on, or allow training seeds explicitly."
            )
        if len(episode) < LEAST_ROWS:
            raise InvalidInputError(
                f"{world}: the episode with seed {episode.seed} has {len(episode)} rows; "
                f"at least {LEAST_ROWS} are needed."
            )
        if episode.world.subjects != episodes[0].world.subjects or episode.world.grid != episodes[0].world.grid:
            raise InvalidInputError(f"{world}: held-out episodes differ in number of subjects or in size.")


def _measure_worlds(
    benches: Sequence[Bench],
    shelf: _Shelf,
    measure: Measure,
    progress: Progress | None,
    on_world: Callable[[WorldResult], None],
) -> dict[str, WorldResult]:
    """Have measured what is not on the shelf; return the result of every world, in the order of ``benches``."""
    parts = {bench.spec.name: bench.parts() for bench in benches}
    ticker = _Ticker({world: sum(part.frames for part in whole) for world, whole in parts.items()}, progress)
    missing = [part for whole in parts.values() for part in whole if not shelf.holds(part)]
    for whole in parts.values():
        for part in whole:
            if shelf.holds(part):
                ticker(part, part.frames)
    found: dict[str, WorldResult] = {}

    def conclude(world: str) -> None:
        if all(map(shelf.holds, parts[world])):
            found[world] = shelf.result(parts[world])
            on_world(found[world])

    for world in parts:
        conclude(world)
    for part, record in measure(missing, ticker):
        shelf.put(part, record)
        conclude(part.world)
    return {world: found[world] for world in parts}


class _Shelf:
    """The records of finished parts: in the report's folder, or in memory until their world is finished."""

    def __init__(self, folder: ReportFolder | None) -> None:
        self._folder = folder
        self._records: dict[tuple[str, int | None], Record] = {}

    def _path(self, part: Part) -> Path | None:
        if self._folder is None:
            return None
        if part.batch is None:
            return self._folder.steps_path(part.world)
        return self._folder.rollouts_path(part.world, part.batch)

    def holds(self, part: Part) -> bool:
        path = self._path(part)
        return path.exists() if path is not None else (part.world, part.batch) in self._records

    def put(self, part: Part, record: Record) -> None:
        path = self._path(part)
        if path is not None:
            record.save(path)
        else:
            self._records[part.world, part.batch] = record

    def result(self, parts: Sequence[Part]) -> WorldResult:
        """Return the result of a world, all of whose parts are here; those in memory are let go."""
        world, chanceless = parts[0].world, parts[0].bench.plan.deterministic
        if self._folder is not None:
            return world_result(self._folder.steps(world), self._folder.rollouts(world), chanceless)
        records = [self._records.pop((world, part.batch)) for part in parts]
        steps = [record for record in records if isinstance(record, StepRecord)]
        rollouts = [record for record in records if isinstance(record, RolloutRecord)]
        return world_result(steps[0], RolloutRecord.joined(rollouts), chanceless)


class _Ticker:
    """Counts the generated frames of every world and tells the caller."""

    def __init__(self, totals: Mapping[str, int], progress: Progress | None) -> None:
        self._totals, self._progress = totals, progress
        self._done = dict.fromkeys(totals, 0)

    def __call__(self, part: Part, frames: int) -> None:
        self._done[part.world] += frames
        if self._progress is not None:
            self._progress(part.world, self._done[part.world], self._totals[part.world])
