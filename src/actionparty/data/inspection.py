"""What is in a dataset, for people: counts and shares per world, and filmstrips. It only reads."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from actionparty.data.dataset import Dataset, Shard, open_dataset
from actionparty.data.episodes import frame_bytes
from actionparty.data.files import write_atomic
from actionparty.errors import DatasetError, InvalidInputError
from actionparty.types import FACING_STEPS, Bools, Episode, Frame, Ints, SubjectStates, WorldSpec

MOVE_TURNS = {"forward": 0, "step_right": 1, "backward": 2, "step_left": 3}
"""Quarter turns clockwise from the facing of a subject to the direction in which each action moves it."""
CAPTION_PIXELS = 14
FILMSTRIP_COLUMNS = 6
FILMSTRIP_WIDTH = 320
"""Narrower frames are enlarged by the largest whole factor that keeps them under this many pixels."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorldSummary:
    """What was recorded of one world with one number of subjects; shares are 0 to 1."""

    world: WorldSpec
    episodes: int
    steps: int
    bytes: int
    """Size of all its files"""
    bytes_per_frame: float
    """Of tile grids (or raw frames) and tile tables"""
    seeds: tuple[int, int]
    """First and last seed label"""
    policies: tuple[str, ...]
    actions: dict[str, int]
    """How often each of the world's actions was taken, by any subject"""
    collisions: float
    """Share of steps at which a subject stayed where it was because another one was, or came, in its way"""
    alive: float
    """Share of (subject, step) pairs alive"""
    returns: int
    """How often a subject came back to life"""
    rewarded: float
    """Share of steps at which any subject received a reward"""
    reward: float
    """Mean reward per subject and step"""
    ended: int
    """Episodes that the world ended"""


@dataclass(frozen=True)
class DatasetSummary:
    """What is in a dataset."""

    path: Path
    package: str
    """Version of the package that made it"""
    recordings: tuple[dict[str, Any], ...]
    worlds: tuple[WorldSummary, ...]
    damaged: tuple[str, ...]
    """Why shards were left out"""

    @property
    def episodes(self) -> int:
        """Number of episodes of all worlds."""
        return sum(world.episodes for world in self.worlds)

    @property
    def steps(self) -> int:
        """Number of steps of all worlds."""
        return sum(world.steps for world in self.worlds)

    @property
    def bytes_per_frame(self) -> float:
        """Mean over all frames."""
        return sum(world.bytes_per_frame * world.steps for world in self.worlds) / max(1, self.steps)


def inspect(path: Path) -> DatasetSummary:
    """Summarise the dataset at ``path``, reading every shard once; raise ``DatasetError`` where there is none."""
    dataset = open_dataset(path)
    damaged = list(dataset.problems)
    worlds: dict[WorldSpec, _Counts] = {}
    for shard in dataset.shards.values():
        try:
            worlds.setdefault(shard.world, _Counts()).add(dataset, shard)
        except DatasetError as error:
            damaged.append(str(error))
            log.warning("left out: %s", error)
    summaries = tuple(counts.summary(world) for world, counts in worlds.items() if counts.shards)
    recordings = tuple(dataset.info["recordings"])
    return DatasetSummary(path, dataset.info["package"], recordings, summaries, tuple(damaged))


def collisions(episode: Episode) -> Bools:
    """Return (T, N): whether each subject was kept from its move into each row by another subject; row 0 is False.

    A subject counts when it acted to move, stayed in its cell, and another living subject was in the cell it wanted
    before or after the step.
    """
    return blocked(quarter_turns(episode.world.actions, episode.actions), episode.states)


def quarter_turns(names: Sequence[str], actions: Ints) -> Ints:
    """Return (T, N): how far right of its facing each of ``actions`` moves a subject, -1 where none does.

    ``actions`` index ``names``; negative ones stand for no action.
    """
    turns = np.array([MOVE_TURNS.get(name, -1) for name in names])
    return np.where(actions >= 0, turns[actions], -1)


def blocked(turns: Ints, states: SubjectStates) -> Bools:
    """Return ``collisions`` of (T, N) ``states``, given the ``quarter_turns`` of the actions into each row."""
    turns = turns[1:]
    before, after = states[:-1], states[1:]
    wanted = before.cells + FACING_STEPS[(before.facing + turns) % 4]
    stayed = (turns >= 0) & before.alive & after.alive & (before.cells == after.cells).all(-1)
    met = np.zeros_like(stayed)
    for others in (before, after):
        same = (wanted[:, :, None] == others.cells[:, None]).all(-1) & others.alive[:, None]
        met |= same.any(-1)
    return np.concatenate([np.zeros((1, states.alive.shape[1]), np.bool_), stayed & met])


def filmstrip(episode: Episode, path: Path, steps: Sequence[int]) -> None:
    """Write the frames of ``steps`` side by side, in rows, as a PNG at ``path``.

    Raises:
        InvalidInputError: no steps, or one outside the episode.
        DatasetError: the disk is full or refuses.
    """
    outside = [step for step in steps if not 0 <= step < len(episode)]
    if outside or not steps:
        raise InvalidInputError(f"filmstrip: steps must be within 0 to {len(episode) - 1}, but got {list(steps)}.")
    pictures = [_captioned(episode.frames(step, step + 1)[0], f"step {step}") for step in steps]
    sheet = io.BytesIO()
    _tiled(pictures).save(sheet, "PNG")
    write_atomic(path, sheet.getvalue())


def spread_steps(length: int, count: int) -> list[int]:
    """Return up to ``count`` steps spread evenly over an episode of ``length`` rows, first and last included."""
    return sorted({int(step) for step in np.linspace(0, length - 1, count).round()})


class _Counts:
    """Sums over the shards of one world."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []
        self._actions: Counter[int] = Counter()
        self._sums: Counter[str] = Counter()
        self._reward = 0.0

    def add(self, dataset: Dataset, shard: Shard) -> None:
        episode = dataset.read(shard)
        alive = episode.states.alive
        self.shards.append(shard)
        self._actions.update(episode.actions[1:].reshape(-1).tolist())
        self._reward += float(episode.rewards.sum())
        self._sums.update(
            frame_bytes=frame_bytes(dataset.path / shard.name),
            collisions=_count(collisions(episode).any(-1)),
            alive=_count(alive),
            returns=_count(alive[1:] & ~alive[:-1]),
            rewarded=_count((episode.rewards != 0).any(-1)),
        )

    def summary(self, world: WorldSpec) -> WorldSummary:
        rows = sum(shard.rows for shard in self.shards)
        seeds = [shard.seed for shard in self.shards]
        sums = self._sums
        return WorldSummary(
            world=world,
            episodes=len(self.shards),
            steps=rows,
            bytes=sum(shard.bytes for shard in self.shards),
            bytes_per_frame=sums["frame_bytes"] / rows,
            seeds=(min(seeds), max(seeds)),
            policies=tuple(sorted({shard.policy for shard in self.shards})),
            actions={name: self._actions[index] for index, name in enumerate(world.actions)},
            collisions=sums["collisions"] / rows,
            alive=sums["alive"] / (rows * world.subjects),
            returns=sums["returns"],
            rewarded=sums["rewarded"] / rows,
            reward=self._reward / (rows * world.subjects),
            ended=sum(shard.ended for shard in self.shards),
        )


def _count(flags: Bools | np.bool_) -> int:
    return int(np.count_nonzero(flags))


def _captioned(frame: Frame, caption: str) -> Image.Image:
    scale = max(1, FILMSTRIP_WIDTH // frame.shape[1])
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    picture = Image.new("RGB", (width + 2, height + CAPTION_PIXELS + 2), "white")
    picture.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST), (1, CAPTION_PIXELS + 1))
    ImageDraw.Draw(picture).text((2, 1), caption, fill="black")
    return picture


def _tiled(pictures: Iterable[Image.Image]) -> Image.Image:
    """Return the equally large ``pictures`` as one, row by row."""
    each = list(pictures)
    width, height = each[0].size
    columns = min(FILMSTRIP_COLUMNS, len(each))
    sheet = Image.new("RGB", (columns * width, -(-len(each) // columns) * height), "white")
    for i, picture in enumerate(each):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet
