"""Recording: the workers of a crew play worlds and one process, this one, adds their shards to a dataset.

Shard k of a world is one episode with the *seed label* ``seed + k``. Labels under 1,000,000 are for training, the
others for evaluation only. Which shards are missing follows from the manifest alone, so the same call goes on after any
interruption. Melting Pot does not repeat itself from a seed; a repeatable world gives the same shards bit for bit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from actionparty.data.crew import Crew, LocalCrew, MakeCrew
from actionparty.data.dataset import STAGING, Dataset, Shard, commit, create_or_open, mend, note_recording, open_dataset
from actionparty.data.files import exclusive, make_folder
from actionparty.data.worker import Done, Failed, Lost, MakePolicy, MakeWorld, Message, Ready, Report, Task
from actionparty.errors import InvalidInputError, WorkersError
from actionparty.types import MAX_SUBJECTS
from actionparty.worlds import catalogue, policies

FIRST_EVALUATION_SEED = 1_000_000
"""Seed labels from here on are never trained on."""
MAX_LOSSES = 4
"""Workers that may die over a world, without a finished shard in between, before it is skipped. After each the next
shard is half as long: a simulator that aborts now and then gets through a short one."""

Progress = Callable[[str, int, int], None]
"""Called with a world, its rows recorded so far and its rows wanted."""


@dataclass(frozen=True)
class RecordingSummary:
    """What a recording added to the dataset at ``out``."""

    out: Path
    rows: Mapping[str, int]
    """Rows added per world; zero where nothing was missing."""
    shards: int
    skipped: Mapping[str, str]
    """Worlds that could not be recorded (to the end), with the reason."""
    repaired: tuple[str, ...]
    """Damaged shards found in the dataset; those among the wanted ones were recorded again."""
    seconds: float


def record(
    worlds: Sequence[str],
    steps: int | Mapping[str, int],
    seed: int,
    workers: int,
    out: Path,
    policy: str = "mixed",
    subjects: int | None = None,
    shard_steps: int = 1000,
    progress: Progress | None = None,
    make_world: MakeWorld = catalogue.make_world,
    make_policy: MakePolicy = policies.policy,
    make_crew: MakeCrew = LocalCrew,
) -> RecordingSummary:
    """Record until the dataset ``out`` holds ``steps`` rows of each of ``worlds``, with seed labels from ``seed`` on.

    ``steps`` is one number, or one for each world.

    Only what is missing is recorded; nothing that is whole is ever replaced. ``make_world`` and ``make_policy`` must be
    importable functions; like every call that starts processes, call this under ``if __name__ == "__main__"``.
    ``make_crew`` says where the workers are: processes of this machine, or a Ray cluster (``ray_crew.RayCrew``).

    Raises:
        InvalidInputError: a number out of range.
        UnknownNameError: an unknown world or policy.
        MissingDependencyError: a world whose simulator is not installed.
        DatasetError: ``out`` is not ours, another version, in use, or can't be written.
        WorkersError: no worker starts.
        KeyboardInterrupt: after everything was stopped; the dataset is whole and the same call goes on.
    """
    began = time.monotonic()
    wanted = dict(steps) if isinstance(steps, Mapping) else dict.fromkeys(worlds, steps)
    for number in set(wanted.values()):
        _check(number, seed, workers, subjects, shard_steps)
    make_policy(policy)  # an unknown policy or world shall not leave an empty dataset behind
    if make_world is catalogue.make_world:
        for world in worlds:
            catalogue.check_available(world)
    create_or_open(out)
    with exclusive(out):
        dataset = open_dataset(out)
        damaged = mend(dataset)
        asked = steps if isinstance(steps, int) else wanted
        settings = {"worlds": list(worlds), "steps": asked, "seed": seed, "policy": policy, "subjects": subjects}
        note_recording(dataset, settings | {"shard_steps": shard_steps})
        jobs = [Job(name, subjects, policy, seed, wanted[name], shard_steps) for name in dict.fromkeys(worlds)]
        for job in jobs:
            job.count({name: shard for name, shard in dataset.shards.items() if name not in damaged})
        before = {job.world: sum(job.done.values()) for job in jobs}
        with _staging(out), closing(make_crew(make_world, make_policy)) as crew:
            schedule = Schedule(dataset, jobs, crew, progress)
            schedule.run(workers)
    rows = {job.world: sum(job.done.values()) - before[job.world] for job in jobs}
    skipped = {job.world: job.failure for job in jobs if job.failure}
    return RecordingSummary(out, rows, schedule.committed, skipped, tuple(damaged), time.monotonic() - began)


def missing_shards(steps: int, shard_steps: int, done: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the shards (k, rows at most) to record next, given the rows of each shard that is ``done``.

    Shards are planned in rounds of as many full shards as are still wanted; where episodes end early another round
    follows. So the plan depends on what the shards hold, not on who recorded them in which order.
    """
    k = rows = 0
    while rows < steps:
        plan = [min(shard_steps, steps - start) for start in range(rows, steps, shard_steps)]
        missing = [(k + i, limit) for i, limit in enumerate(plan) if k + i not in done]
        if missing:
            return missing
        rows += sum(done[k + i] for i in range(len(plan)))
        k += len(plan)
    return []


@dataclass
class Job:
    """What is wanted of one world and how far it is."""

    world: str
    subjects: int | None
    policy: str
    seed: int
    steps: int
    shard_steps: int
    done: dict[int, int] = field(default_factory=dict)
    """Rows of each finished shard k"""
    busy: dict[int, int] = field(default_factory=dict)
    """Rows so far of each shard k that a worker is recording"""
    failure: str = ""
    losses: int = 0
    """Workers that died over it since its last finished shard"""

    def name(self, k: int) -> str:
        """Return the name of shard ``k`` in the dataset."""
        folder = self.world if self.subjects is None else f"{self.world}@{self.subjects}"
        return f"{folder}/{self.policy}-{self.seed + k:07d}"

    def count(self, shards: Mapping[str, Shard]) -> None:
        """Take over what the dataset has already."""
        first = {name: shard for name, shard in shards.items() if name == self.name(shard.seed - self.seed)}
        self.done = {shard.seed - self.seed: shard.rows for shard in first.values() if shard.seed >= self.seed}

    def waiting(self) -> list[tuple[int, int]]:
        """Return the shards that nobody is recording yet."""
        if self.failure:
            return []
        missing = missing_shards(self.steps, self.shard_steps, self.done)
        return [(k, limit) for k, limit in missing if k not in self.busy]

    def rows(self) -> int:
        """Return the rows recorded so far."""
        return min(self.steps, sum(self.done.values()) + sum(self.busy.values()))


@dataclass
class Hand:
    """What a worker is at: the job whose world it has open and the shard that it is recording."""

    ready: bool = False
    job: Job | None = None
    shard: int | None = None
    staged: Path | None = None


class Schedule:
    """Who records what; the only writer of the dataset."""

    def __init__(self, dataset: Dataset, jobs: Sequence[Job], crew: Crew, progress: Progress | None) -> None:
        self.committed = 0
        self._dataset = dataset
        self._jobs = jobs
        self._crew = crew
        self._progress = progress or (lambda world, rows, wanted: None)
        self._hands: dict[int, Hand] = {}
        self._staged = 0

    def run(self, workers: int) -> None:
        """Record with at most ``workers`` of the crew until no job waits for anything."""
        for job in self._jobs:
            self._progress(job.world, job.rows(), job.steps)
        wanted = sum(len(job.waiting()) for job in self._jobs)
        for _ in range(min(workers, wanted)):
            self._hands[self._crew.hire()] = Hand()
        while self._assign():
            for worker, message in self._crew.hear():
                self._take(worker, message)

    def _assign(self) -> bool:
        """Give every idle worker a shard; return whether there is anything to wait for."""
        for worker, hand in self._hands.items():
            job = self._choose(hand) if hand.ready and hand.shard is None else None
            if job is not None:
                self._send(worker, hand, job)
        awaited = any(job.waiting() for job in self._jobs) and any(not hand.ready for hand in self._hands.values())
        return awaited or any(hand.shard is not None for hand in self._hands.values())

    def _choose(self, hand: Hand) -> Job | None:
        """Return the job whose world the worker has open, else the one with fewest workers and most shards to go."""
        open_jobs = [job for job in self._jobs if job.waiting()]
        if hand.job in open_jobs:
            return hand.job
        return min(open_jobs, key=lambda job: (len(job.busy), -len(job.waiting())), default=None)

    def _send(self, worker: int, hand: Hand, job: Job) -> None:
        k, limit = job.waiting()[0]
        limit = max(1, limit >> job.losses)  # a shorter one is as if its episode ended: the plan makes up for it
        _check_label(job.seed, k)
        self._staged += 1
        hand.job, hand.shard = job, k
        hand.staged = self._dataset.path / STAGING / str(self._staged)
        job.busy[k] = 0
        self._crew.send(worker, Task(job.world, job.subjects, job.policy, job.seed + k, limit, hand.staged))

    def _take(self, worker: int, message: Message) -> None:
        """Take one message of a worker."""
        hand = self._hands[worker]
        job, k = hand.job, hand.shard
        if isinstance(message, Ready):
            hand.ready = True
        elif isinstance(message, Lost):
            del self._hands[worker]
            self._replace(hand, message)
        elif job is None or k is None or hand.staged is None:
            raise AssertionError("heard of a task from a worker that has none")
        elif isinstance(message, Report):
            job.busy[k] = message.rows
        else:
            del job.busy[k]
            hand.shard = None
            self._finish(job, k, hand.staged, message)
        if job is not None:
            self._progress(job.world, job.rows(), job.steps)

    def _finish(self, job: Job, k: int, staged: Path, message: Done | Failed) -> None:
        if isinstance(message, Done):
            commit(self._dataset, Shard.of(job.name(k), message.summary, message.files), staged)
            job.done[k] = len(message.summary)
            job.losses = 0
            self.committed += 1
        elif message.fatal is not None:
            raise message.fatal
        else:
            job.failure = message.reason

    def _replace(self, hand: Hand, lost: Lost) -> None:
        """Give the shard of a lost worker back and hire another; one that never was ready isn't replaced.

        Raises:
            WorkersError: nobody is left.
        """
        if not hand.ready:
            if not self._hands:
                raise WorkersError(f"no worker could be started ({lost.reason}); see that ActionParty runs there.")
            return
        if hand.job is not None and hand.shard is not None:
            del hand.job.busy[hand.shard]
            hand.job.losses += 1
            if hand.job.losses == MAX_LOSSES:  # workers still at it may die later
                hand.job.failure = f"its worker process died {hand.job.losses} times in a row ({lost.reason})"
        self._hands[self._crew.hire()] = Hand()


def _check(steps: int, seed: int, workers: int, subjects: int | None, shard_steps: int) -> None:
    least = {"steps": (steps, 1), "seed": (seed, 0), "workers": (workers, 1), "shard_steps": (shard_steps, 2)}
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise InvalidInputError(f"{name} must be at least {minimum}, but is {value}.")
    _check_label(seed, -(-steps // shard_steps) - 1)
    if subjects is not None and not 1 <= subjects <= MAX_SUBJECTS:
        raise InvalidInputError(f"subjects must be 1 to {MAX_SUBJECTS}, but is {subjects}.")


def _check_label(seed: int, k: int) -> None:
    if seed < FIRST_EVALUATION_SEED <= seed + k:
        raise InvalidInputError(
            f"seeds {seed} to {seed + k} mix training (under {FIRST_EVALUATION_SEED}) and evaluation; start at a lower "
            "seed, or at an evaluation seed."
        )


@contextmanager
def _staging(out: Path) -> Iterator[None]:
    make_folder(out / STAGING)
    try:
        yield
    finally:
        shutil.rmtree(out / STAGING, ignore_errors=True)
