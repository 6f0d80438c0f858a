"""Who records: workers that take tasks and answer with messages, as processes of this machine.

``ray_crew`` has the same on the nodes of a cluster. A crew knows no dataset and no schedule.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol, cast

from actionparty.data.worker import Camera, Lost, MakePolicy, MakeWorld, Message, Ready, Report, Task, answer


class Crew(Protocol):
    """Workers, each called by its number. One says ``Ready`` when it is there, and ``Done`` or ``Failed`` to a task."""

    def hire(self) -> int:
        """Start another worker and return its number."""

    def send(self, worker: int, task: Task) -> None:
        """Hand a task to a worker that has none."""

    def hear(self) -> list[tuple[int, Message]]:
        """Wait for the next messages of any workers; one that is ``Lost`` has said its last."""

    def close(self) -> None:
        """End all workers at once."""


MakeCrew = Callable[[MakeWorld, MakePolicy], Crew]


class LocalCrew:
    """Processes of this machine."""

    def __init__(self, make_world: MakeWorld, make_policy: MakePolicy) -> None:
        self._makers = (make_world, make_policy)
        self._hands: dict[int, _Hand] = {}
        self._hired = 0

    def hire(self) -> int:
        """Start another process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, *self._makers), daemon=True)
        with _without_interrupts():
            process.start()
        theirs.close()
        self._hired += 1
        self._hands[self._hired] = _Hand(process, ours)
        return self._hired

    def send(self, worker: int, task: Task) -> None:
        """Hand over a task; that a worker has died is heard next."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._hands[worker].connection.send(task)

    def hear(self) -> list[tuple[int, Message]]:
        """Wait for the next messages."""
        spoke = wait([hand.connection for hand in self._hands.values()])
        return [(n, self._message(n)) for n, hand in list(self._hands.items()) if hand.connection in spoke]

    def _message(self, worker: int) -> Message:
        hand = self._hands[worker]
        try:
            return cast(Message, hand.connection.recv())
        except (EOFError, ConnectionResetError):
            hand.process.join(timeout=5)
            code = hand.process.exitcode
            self._hands.pop(worker).stop()
            return Lost(f"exit code {code}")

    def close(self) -> None:
        """End all processes."""
        with _without_interrupts():
            for hand in self._hands.values():
                hand.stop()
        self._hands.clear()


def work(connection: Connection, make_world: MakeWorld, make_policy: MakePolicy) -> None:
    """Record the tasks that come over ``connection`` until it is closed."""
    camera = Camera(make_world, make_policy)
    try:
        connection.send(Ready())
        while True:
            connection.send(answer(camera, connection.recv(), lambda rows: connection.send(Report(rows))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the recorder is gone: nobody wants the rest
    finally:
        camera.close()


@dataclass(frozen=True)
class _Hand:
    process: SpawnProcess
    connection: Connection

    def stop(self) -> None:
        """End the process at once."""
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C, also in processes started meanwhile, where this thread may decide so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
