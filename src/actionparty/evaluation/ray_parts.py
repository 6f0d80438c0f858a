"""The parts of an evaluation as tasks of a Ray cluster; the driver alone keeps what they give. Knows no folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from actionparty.data.ray_crew import brief
from actionparty.errors import WorkersError
from actionparty.evaluation.parts import Bench, Part, Record, Tick

LOSSES = 2
"""How often Ray starts a part again whose worker died."""


def measure_on_ray(parts: Sequence[Part], tick: Tick) -> Iterator[tuple[Part, Record]]:
    """Measure every part as a task on one CPU of the Ray cluster that this process is in (``ray_crew.cluster``).

    Networks and recordings travel to each node once. A part's frames are ticked when it is finished.

    Raises:
        WorkersError: a part's worker died again and again.
    """
    import ray

    measure: Any = ray.remote(num_cpus=1, max_retries=LOSSES)(measure_part)
    benches = {part.world: part.bench for part in parts}
    sent = {world: ray.put(bench) for world, bench in benches.items()}
    due: dict[Any, Part] = {measure.remote(sent[part.world], part.batch): part for part in parts}
    try:
        while due:
            (reference,), _ = ray.wait(list(due), num_returns=1)
            record = _fetch(reference, due[reference])
            part = due.pop(reference)
            tick(part, part.frames)
            yield part, record
    finally:
        for reference in due:
            ray.cancel(reference, force=True)


def measure_part(bench: Bench, batch: int | None) -> Record:
    """Measure one part, in a worker of the cluster."""
    return Part(bench, batch).measure(lambda frames: None)


def _fetch(reference: Any, part: Part) -> Record:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        record: Record = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error  # what went wrong, as it would have here
    except RayError as error:
        raise WorkersError(f"{part.world}: its workers died {LOSSES + 1} times ({brief(error)}).") from error
    return record
