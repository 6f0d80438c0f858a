"""A checkpoint of a tiny random network with two worlds to play in, and a room driven by hand, without a clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.rollout.samples import ARENA, model
from tests.training.samples import play, renamed

from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.jobs import Begin, Job
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.room import Room
from actionparty.rollout.scenes import save_scene
from actionparty.rollout.snapshot import Snapshot, Stepped
from actionparty.training.checkpoint import load_network, save_weights
from actionparty.types import Frame
from actionparty.worlds.arena import arena_spec

WORLD, OTHER = "arena", "pond"
SPEC = arena_spec()
SCENES = 3


def make_checkpoint(folder: Path) -> Path:
    """Write weights and scenes: ``arena`` as the real one is by default, ``pond`` smaller and without a simulator."""
    weights = {name: value.detach() for name, value in model().state_dict().items()}
    save_weights(folder, ARENA, weights, {})
    for i in range(SCENES):
        episode = play(20, i, SPEC.subjects, SPEC.grid)
        save_scene(folder / "scenes" / WORLD / f"{i}.npz", episode.scene(10 + i, ARENA.context))
        small = renamed(play(20, i, 2, (6, 7)), OTHER)
        save_scene(folder / "scenes" / OTHER / f"{i}.npz", small.scene(10 + i, ARENA.context))
    return folder


def make_engine(folder: Path, *, joint: bool = False) -> Engine:
    return Engine(load_network(folder), workers=2, joint=joint)


def say(**fields: Any) -> m.Message:
    return m.parse(json.dumps(fields))


class Stage:
    """A room whose work is done at once; the time is ``now``."""

    def __init__(
        self, folder: Path, world: str = WORLD, scene: int = 0, seed: int = 7, limit: int = 1000, hz: float = 8.0
    ) -> None:
        torch.set_num_threads(1)
        self.menu = ShippedMenu(folder)
        self.engine = Engine(load_network(folder), workers=1)
        tokens = iter(range(10**6))
        self.room = Room("stage", self.menu, (world, scene, seed), limit=limit, new_token=lambda: f"t{next(tokens)}")
        self.room.pace.change(hz)
        self.now = 100.0

    def close(self) -> None:
        self.engine.close()

    def join(self, member: int, name: str = "", token: str | None = None) -> list[Said]:
        return self.room.join(member, name or f"P{member}", token, self.now)

    def do(self, member: int, **fields: Any) -> list[Said]:
        return self.room.handle(member, say(**fields), self.now)

    def work(self, job: Job) -> Snapshot | Stepped:
        if isinstance(job, Begin):
            return self.engine.begin(job.scene, job.seed).result()
        return self.engine.step(job.snapshot, job.actions).result()

    def once(self) -> list[Said] | None:
        """Do what is due now; None where nothing is."""
        job = self.room.next_job(self.now)
        return None if job is None else self.room.done(job, self.work(job), self.now)

    def run(self, steps: int) -> None:
        """Let time pass until the room stands ``steps`` further."""
        self.settle()
        goal = self.room.history.last + steps
        while self.room.history.last < goal:
            due = self.room.next_time(self.now)
            assert due is not None, "the room waits for nothing"
            self.now = max(self.now, due)
            self.once()

    def settle(self) -> None:
        """Do what does not wait for a tick."""
        while self.room.work.begin or self.room.work.singles:
            self.once()

    @property
    def frame(self) -> Frame:
        assert self.room.shown is not None
        return self.room.shown.frame

    def frames(self) -> list[Frame]:
        history = self.room.history
        return [history[i].frame for i in range(history.first, history.last + 1)]


def index(name: str) -> int:
    return SPEC.actions.index(name)


def kinds(said: list[Said]) -> list[str]:
    return [each.type for each in said]


def refused(said: list[Said], code: str = "refused") -> str:
    """The message of a refusal, which must be the only answer."""
    (only,) = said
    assert only.type == "error"
    assert only.fields["code"] == code
    return str(only.fields["message"])


def equal(a: list[Frame], b: list[Frame]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
