"""The workers of a recording as Ray actors, and how a Ray cluster is joined.

Nodes need not share a file system: an actor sends the bytes of its files along, and the driver, who alone writes to
the dataset, stages them. Ray is imported in functions only; without it everything runs in processes of this machine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actionparty.data.files import write_atomic
from actionparty.data.shards import PARTS, shard_path
from actionparty.data.worker import Camera, Done, Failed, Lost, MakePolicy, MakeWorld, Message, Ready, Task, answer
from actionparty.errors import InvalidInputError, MissingDependencyError

PATIENCE_SECONDS = 10
"""How long an address may take to answer"""
NEW_CLUSTER: dict[str, Any] = {"include_dashboard": False}
"""How a cluster is started by ``local``"""


@contextmanager
def cluster(address: str) -> Iterator[int]:
    """Join a Ray cluster (``auto``: the one that runs here; ``local``: a new one; or its address) and yield its CPUs.

    Where this process is in one already, that one is taken, and not left at the end.

    Raises:
        MissingDependencyError: Ray is not installed.
        InvalidInputError: there is no such cluster.
    """
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _join(ray, address)
    try:
        yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("--ray needs Ray: pip install 'actionparty[ray]'") from error
    return ray


def _join(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody unless the user wants it
    new = NEW_CLUSTER if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **new)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidInputError(
            f"--ray {address}: no Ray cluster answers ({reason}). Start one with `ray start --head`, or give `local`."
        ) from error


def _knock(address: str) -> None:
    """Raise ``OSError`` where nobody listens at HOST:PORT, for which Ray itself would wait many minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS).close()


class RayCrew:
    """Actors on the nodes of the Ray cluster that this process is in, each on a CPU of its own.

    Actors beyond the cluster's CPUs wait until some are free, and have no task meanwhile.
    """

    def __init__(self, make_world: MakeWorld, make_policy: MakePolicy) -> None:
        import ray

        self._ray: Any = ray
        self._makers = (make_world, make_policy)
        self._actors: list[Any] = []
        self._due: dict[Any, int] = {}
        """Who will answer what was asked"""
        self._tasks: dict[int, Task] = {}

    def hire(self) -> int:
        """Start another actor; whether and where is up to Ray, which is not asked to revive it."""
        hired = self._ray.remote(num_cpus=1, max_restarts=0)(Recorder).remote(*self._makers)
        self._actors.append(hired)
        self._due[hired.ready.remote()] = len(self._actors) - 1
        return len(self._actors) - 1

    def send(self, worker: int, task: Task) -> None:
        """Hand over a task."""
        self._tasks[worker] = task
        self._due[self._actors[worker].record.remote(task)] = worker

    def hear(self) -> list[tuple[int, Message]]:
        """Wait for the next messages; stage the files of what is done."""
        first, _ = self._ray.wait(list(self._due), num_returns=1)
        return [(self._due[ref], self._message(self._due.pop(ref), ref)) for ref in first]

    def _message(self, worker: int, reference: Any) -> Message:
        from ray.exceptions import RayError, RayTaskError

        try:
            parcel: Parcel = self._ray.get(reference)
        except RayTaskError:
            raise  # a bug, with the traceback of where it happened
        except RayError as error:
            return Lost(brief(error))
        for part, content in parcel.files.items():
            write_atomic(shard_path(self._tasks[worker].staged, part), content)
        return parcel.message

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors:
            self._ray.kill(actor)


@dataclass(frozen=True)
class Parcel:
    """A message with the bytes of the files that it tells of, by part."""

    message: Ready | Done | Failed
    files: Mapping[str, bytes]


class Recorder:
    """One actor: a camera whose files are sent instead of kept."""

    def __init__(self, make_world: MakeWorld, make_policy: MakePolicy) -> None:
        self._camera = Camera(make_world, make_policy)

    def ready(self) -> Parcel:
        """Say that the actor is there."""
        return Parcel(Ready(), {})

    def record(self, task: Task) -> Parcel:
        """Record a task; its files are staged on the actor's own node only until they are read."""
        with TemporaryDirectory() as folder:
            stem = Path(folder) / "shard"
            message = answer(self._camera, replace(task, staged=stem), lambda rows: None)
            parts = PARTS if isinstance(message, Done) else ()
            return Parcel(message, {part: shard_path(stem, part).read_bytes() for part in parts})


def brief(error: Exception) -> str:
    """Return the last line, of which the first sentence says it."""
    return str(error).strip().rpartition("\n")[2].strip().partition(". ")[0]
