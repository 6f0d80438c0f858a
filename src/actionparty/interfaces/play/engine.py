"""The engine: runs the model in worker threads for all rooms, so that nothing else ever waits for it.

Where more is wanted than fits, turns are shared by who opened the rooms (``fair``).
One step uses one thread, and rooms that tick at once use several: small rollouts gain nothing from threads of their
own, and what a room shows then does not depend on who else plays (sums in a batch differ in their last bits). ``joint``
trades that for throughput, as on a GPU: what is due at the same time in worlds of one kind becomes one batch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from actionparty.config import RolloutConfig
from actionparty.interfaces.play.fair import FairLine, Owner, Turn
from actionparty.model.network import Network
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import Snapshot, Stepped, go_on, take
from actionparty.training.checkpoint import load_network
from actionparty.types import Ints, Scene

T = TypeVar("T")
MOST_WORKERS = 4
NOBODY = Owner()


def _ready(network: Network, device: torch.device | None) -> Network:
    return network.to(device or torch.device("cpu")).eval()


@dataclass(frozen=True, eq=False)
class _Job(Generic[T]):
    work: Callable[[], T]
    future: Future[T]
    step: tuple[Snapshot, Ints] | None = None
    """Where others may be done with it in one batch."""

    def mates(self, other: _Job[Any]) -> bool:
        """Return whether both may be in one batch."""
        return self.step is not None and other.step is not None and self.step[0].spec == other.step[0].spec


class Engine:
    """Steps rollouts of one network, or of several for different worlds; all methods may be called from any thread."""

    def __init__(
        self,
        network: Network,
        settings: RolloutConfig | None = None,
        *,
        workers: int | None = None,
        joint: bool = False,
        most_together: int = 16,
        device: torch.device | None = None,
        others: Mapping[str, Network] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start ``workers`` threads (default: one per core, at most 4; one where ``joint``).

        ``others`` are the networks of worlds, by name, that ``network`` does not generate.
        """
        self._network = _ready(network, device)
        self._others = {world: _ready(other, device) for world, other in (others or {}).items()}
        self.settings = settings or RolloutConfig()
        self.joint = joint
        self._device = device
        self._most = most_together
        count = workers or (1 if joint else min(MOST_WORKERS, os.cpu_count() or 1))
        self._pool = ThreadPoolExecutor(count, "model", initializer=torch.set_num_threads, initargs=(1,))
        self._line: FairLine[_Job[Any]] = FairLine(count)
        self._lock = threading.Lock()
        self._clock = clock
        self._own = threading.local()

    @staticmethod
    def from_checkpoints(homes: Mapping[str, Path], *, workers: int | None = None, joint: bool = False) -> Engine:
        """Return an engine with the weights in the folder of each world."""
        networks = {folder: load_network(folder) for folder in dict.fromkeys(homes.values())}
        others = {world: networks[folder] for world, folder in homes.items()}
        return Engine(next(iter(networks.values())), workers=workers, joint=joint, others=others)

    def network(self, world: str) -> Network:
        """Return the network that generates ``world``."""
        return self._others.get(world, self._network)

    def begin(self, scene: Scene, seed: int, owner: Owner = NOBODY) -> Future[Snapshot]:
        """Start a rollout."""
        return self.submit(lambda: self._begin(scene, seed), owner)

    def step(self, snapshot: Snapshot, actions: Ints, owner: Owner = NOBODY) -> Future[Stepped]:
        """Advance a rollout by one step with ``actions`` (N,)."""
        together = (snapshot, actions) if self.joint else None
        return self._put(_Job(lambda: self.run([snapshot], actions[None])[0], Future(), together), owner)

    def submit(self, work: Callable[[], T], owner: Owner = NOBODY) -> Future[T]:
        """Run something else that needs the network in a worker thread."""
        return self._put(_Job(work, Future()), owner)

    @property
    def behind(self) -> bool:
        """Whether more is wanted than the workers can do, or was in the last seconds."""
        with self._lock:
            return self._line.behind(self._clock())

    def run(self, snapshots: list[Snapshot], actions: Ints) -> list[Stepped]:
        """Advance ``snapshots`` of one world by ``actions`` (B, N) in the calling thread, as one batch."""
        rollout = self._rollout(snapshots[0].spec.name)
        go_on(rollout, snapshots)
        done = rollout.step(actions)
        after = take(rollout)
        return [Stepped(after[i], done.rewards[i].copy(), bool(done.ended[i])) for i in range(len(after))]

    def close(self) -> None:
        """Finish what is under way and end the threads; what waits for them is cancelled."""
        with self._lock:
            for job in self._line.clear():
                job.future.cancel()
        self._pool.shutdown(cancel_futures=True)

    def _rollout(self, world: str) -> BatchRollout:
        """Return this thread's own rollout: making one goes through all weights, which takes longer than it seems."""
        network = self.network(world)
        rollouts: dict[Network, BatchRollout] = self._own.__dict__.setdefault("rollouts", {})
        if network not in rollouts:
            rollouts[network] = BatchRollout(network, self.settings, device=self._device)
        return rollouts[network]

    def _begin(self, scene: Scene, seed: int) -> Snapshot:
        rollout = self._rollout(scene.world.name)
        rollout.reset([scene], [seed])
        return take(rollout)[0]

    def _put(self, job: _Job[T], owner: Owner) -> Future[T]:
        with self._lock:
            self._line.push(owner, job, self._clock())
        self._pool.submit(self._serve)
        return job.future

    def _serve(self) -> None:
        """Do what has the next turn, and so on while anything has one."""
        while turns := self._due():
            self._do(turns)

    def _do(self, turns: list[Turn[_Job[Any]]]) -> None:
        began = self._clock()
        if len(turns) == 1:
            _answer(turns[0].what)
        else:
            self._answer_together([turn.what for turn in turns])
        passed = self._clock() - began
        with self._lock:
            for turn in turns:
                self._line.done(turn, passed / len(turns))

    def _answer_together(self, jobs: list[_Job[Any]]) -> None:
        steps = [job.step for job in jobs if job.step is not None]
        try:
            answers = self.run([snapshot for snapshot, _ in steps], np.stack([actions for _, actions in steps]))
        except Exception:  # noqa: BLE001 (whatever goes wrong belongs to those who wait for it: the others go on)
            for job in jobs:
                _answer(job)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)

    def _due(self) -> list[Turn[_Job[Any]]]:
        """Take the next turn, and those that go with it in one batch; whoever waits no more is left out."""
        turns: list[Turn[_Job[Any]]] = []
        with self._lock:
            now = self._clock()
            while len(turns) < self._most:
                turn = self._line.pop(now, turns[0].what.mates) if turns else self._line.pop(now)
                if turn is None:
                    break
                if not turn.what.future.set_running_or_notify_cancel():
                    self._line.done(turn, 0.0)
                    continue
                turns.append(turn)
                if not self.joint:
                    break
        return turns


def _answer(job: _Job[Any]) -> None:
    try:
        answer = job.work()
    except Exception as error:  # noqa: BLE001 (whatever goes wrong belongs to those who wait for it)
        job.future.set_exception(error)
    else:
        job.future.set_result(answer)
