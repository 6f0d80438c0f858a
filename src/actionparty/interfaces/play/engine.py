"""The engine: runs the model in worker threads for all rooms, so that nothing else ever waits for it.

One step uses one thread, and rooms that tick at once use several: small rollouts gain nothing from threads of their
own, and what a room shows then does not depend on who else plays (sums in a batch differ in their last bits). ``joint``
trades that for throughput, as on a GPU: what is due at the same time in worlds of one kind becomes one batch.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from actionparty.config import RolloutConfig
from actionparty.model.network import Network
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import Snapshot, Stepped, go_on, take
from actionparty.training.checkpoint import load_network
from actionparty.types import Ints, Scene, WorldSpec

T = TypeVar("T")
MOST_WORKERS = 4


def _ready(network: Network, device: torch.device | None) -> Network:
    return network.to(device or torch.device("cpu")).eval()


@dataclass(frozen=True)
class _Job:
    snapshot: Snapshot
    actions: Ints
    future: Future[Stepped]


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
        self._waiting: deque[_Job] = deque()
        self._lock = threading.Lock()
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

    def begin(self, scene: Scene, seed: int) -> Future[Snapshot]:
        """Start a rollout."""
        return self.submit(lambda: self._begin(scene, seed))

    def step(self, snapshot: Snapshot, actions: Ints) -> Future[Stepped]:
        """Advance a rollout by one step with ``actions`` (N,)."""
        if not self.joint:
            return self.submit(lambda: self.run([snapshot], actions[None])[0])
        job = _Job(snapshot, actions, Future())
        with self._lock:
            self._waiting.append(job)
        self._pool.submit(self._serve)
        return job.future

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run something else that needs the network in a worker thread."""
        return self._pool.submit(work)

    def run(self, snapshots: list[Snapshot], actions: Ints) -> list[Stepped]:
        """Advance ``snapshots`` of one world by ``actions`` (B, N) in the calling thread, as one batch."""
        rollout = self._rollout(snapshots[0].spec.name)
        go_on(rollout, snapshots)
        done = rollout.step(actions)
        after = take(rollout)
        return [Stepped(after[i], done.rewards[i].copy(), bool(done.ended[i])) for i in range(len(after))]

    def close(self) -> None:
        """Finish what is under way and end the threads."""
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

    def _serve(self) -> None:
        """Take what is due now in the world that has waited longest, and run it as one batch."""
        if jobs := self._due():
            self._answer(jobs)

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            answers = self.run([job.snapshot for job in jobs], np.stack([job.actions for job in jobs]))
        except Exception as error:  # noqa: BLE001 (whatever goes wrong belongs to those who wait for it)
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:  # the others go on
                    self._answer([job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)

    def _due(self) -> list[_Job]:
        with self._lock:
            if not self._waiting:
                return []
            spec: WorldSpec = self._waiting[0].snapshot.spec
            mine = [job for job in self._waiting if job.snapshot.spec == spec][: self._most]
            self._waiting = deque(job for job in self._waiting if not any(job is taken for taken in mine))
            return [job for job in mine if job.future.set_running_or_notify_cancel()]
