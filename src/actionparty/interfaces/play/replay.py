"""Replay files: a rollout as it stood and every action since, so that it can be generated again, frame by frame.

One safetensors file: the tensors of the rollout at the first step, the actions, a checksum of every frame, and as
metadata what they belong to. Nothing is pickled.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from actionparty.config import RolloutConfig, from_json, to_json
from actionparty.errors import ActionPartyError, CheckpointError, InvalidInputError
from actionparty.interfaces.play.records import Record
from actionparty.model.network import Network
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import Snapshot, from_bytes, go_on
from actionparty.rollout.table import to_cells
from actionparty.types import Frame, Ints

FORMAT = 1
MOST_STEPS = 100_000


@dataclass(frozen=True)
class Origin:
    """What made a rollout."""

    checkpoint: str
    """Fingerprint of the weights."""
    settings: RolloutConfig
    exact: bool = True
    """False where rollouts shared a batch: then another run differs in its last bits."""


@dataclass(frozen=True)
class Replay:
    """What a replay file holds."""

    start: Snapshot
    actions: Ints
    """(T, N)"""
    checksums: Ints
    """(T + 1,) CRC-32 of every frame, the first one included."""
    first_step: int
    origin: Origin


def checksum(frame: Frame) -> int:
    """Return the CRC-32 of a frame's cells."""
    return zlib.crc32(to_cells(frame).tobytes())


def write(start: Snapshot, records: Sequence[Record], origin: Origin) -> bytes:
    """Return the replay file of ``records``, the first of which shows ``start``."""
    n = start.spec.subjects
    actions = np.stack([r.actions for r in records[1:]]) if len(records) > 1 else np.zeros((0, n), np.int64)
    sums = np.array([zlib.crc32(r.cells.tobytes()) for r in records], np.int64)
    return to_bytes(Replay(start, actions, sums, records[0].step, origin))


def to_bytes(replay: Replay) -> bytes:
    """Return ``replay`` as a file."""
    about = {
        "format": FORMAT,
        "checkpoint": replay.origin.checkpoint,
        "settings": to_json(replay.origin.settings),
        "exact": replay.origin.exact,
        "first_step": replay.first_step,
    }
    tensors = {
        "start": torch.frombuffer(bytearray(replay.start.to_bytes()), dtype=torch.uint8),
        "actions": torch.from_numpy(replay.actions),
        "checksums": torch.from_numpy(replay.checksums),
    }
    return save(tensors, {"replay": json.dumps(about)})


def read(content: bytes, source: str = "this file") -> Replay:
    """Read a replay file.

    Raises:
        InvalidInputError: it is damaged, no replay, of another format, or its actions are none of its world.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        about: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["replay"])
        if about["format"] != FORMAT:
            raise InvalidInputError(f"{source}: replay format {about['format']!r}, but this version reads {FORMAT}.")
        start = from_bytes(tensors["start"].numpy().tobytes())
        settings = from_json(RolloutConfig, about["settings"])
        origin = Origin(str(about["checkpoint"]), settings, bool(about["exact"]))
        replay = Replay(
            start, tensors["actions"].numpy(), tensors["checksums"].numpy(), int(about["first_step"]), origin
        )
    except InvalidInputError:
        raise
    except (ActionPartyError, SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidInputError(f"{source}: not a readable replay file ({error}).") from error
    _check(replay, source)
    return replay


def load_replay(path: Path) -> Replay:
    """Read a replay file from disk; raises as ``read``."""
    try:
        return read(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInputError(f"{path}: can't be read ({error.strerror or error}).") from error


def _check(replay: Replay, source: str) -> None:
    actions, spec = replay.actions, replay.start.spec
    if actions.ndim != 2 or actions.shape[1] != spec.subjects or not 1 <= len(actions) <= MOST_STEPS:
        raise InvalidInputError(f"{source}: no actions, or not one per subject in every step.")
    if actions.min() < 0 or actions.max() >= len(spec.actions):
        raise InvalidInputError(f"{source}: an action that {spec.name} does not have.")
    if replay.checksums.shape != (len(actions) + 1,):
        raise InvalidInputError(f"{source}: it lacks checksums of its frames.")


def ready(replay: Replay, network: Network, fingerprint: str) -> BatchRollout:
    """Return a rollout that stands at the first step of ``replay``; torch uses one thread from now on, as rooms do.

    Raises:
        CheckpointError: it was made by other weights.
    """
    if fingerprint != replay.origin.checkpoint:
        raise CheckpointError(
            f"this replay was made by the weights {replay.origin.checkpoint[:12]}..., but these are "
            f"{fingerprint[:12]}...: give those as --checkpoint."
        )
    torch.set_num_threads(1)
    rollout = BatchRollout(network, replay.origin.settings)
    go_on(rollout, [replay.start])
    return rollout


def first_difference(replay: Replay, frames: Sequence[Frame]) -> int | None:
    """Return the first of the T + 1 ``frames`` that is not as it was played, None where all are."""
    made = np.array([checksum(frame) for frame in frames], np.int64)
    differs = np.flatnonzero(made != replay.checksums[: len(made)])
    return int(differs[0]) if len(differs) else None
