"""Snapshots: one rollout as a value that can be kept, packed, forked and gone on from, alone or in a batch."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.table import Table, fresh_chance, from_cells
from actionparty.types import Floats, Frame, SubjectStates, WorldSpec

FORMAT = 2


@dataclass(frozen=True)
class Snapshot:
    """One rollout as it stands, on the CPU. Nobody writes to its tensors."""

    spec: WorldSpec
    table: dict[str, Tensor]
    """By name, without a batch axis: what ``BatchRollout`` keeps of one rollout."""

    @property
    def frame(self) -> Frame:
        """(H, W, 3) the current frame, a new array."""
        return from_cells(self.cells[-1], *self.spec.grid)

    @property
    def cells(self) -> NDArray[np.uint8]:
        """(K, M, 192) the context frames in cells, oldest first."""
        cells: NDArray[np.uint8] = self.table["context"].numpy()
        return cells

    @property
    def states(self) -> SubjectStates:
        """The current states, (N, ...), new arrays."""
        position, facing, alive = (self.table[name][-1].numpy().copy() for name in ("position", "facing", "alive"))
        return SubjectStates(position, facing, alive)

    def pack(self) -> bytes:
        """Return everything but the context frames, compressed; ``unpack`` takes both together again."""
        return zlib.compress(save({name: value for name, value in self.table.items() if name != "context"}), 1)

    def to_bytes(self) -> bytes:
        """Return all of it as a safetensors file."""
        about = {
            "format": FORMAT,
            "world": self.spec.name,
            "grid": list(self.spec.grid),
            "actions": list(self.spec.actions),
        }
        return save(self.table, {"about": json.dumps(about)})


def unpack(spec: WorldSpec, packed: bytes, context: NDArray[np.uint8]) -> Snapshot:
    """Return the snapshot that was packed, with its ``context`` frames (K, M, 192)."""
    table = load(zlib.decompress(packed))
    return Snapshot(spec, {"context": torch.from_numpy(np.ascontiguousarray(context)), **table})


def from_bytes(content: bytes) -> Snapshot:
    """Read what ``Snapshot.to_bytes`` wrote.

    Raises:
        CheckpointError: it is damaged, no snapshot, or of another format.
    """
    try:
        table = load(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
        if about["format"] != FORMAT:
            raise CheckpointError(f"snapshot of format {about['format']!r}, but this version reads {FORMAT}.")
        if set(table) != set(Table.__dataclass_fields__):
            raise CheckpointError("not a saved rollout: other tensors than one has.")
        spec = WorldSpec(about["world"], len(table["identity"]), tuple(about["grid"]), tuple(about["actions"]))
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, InvalidInputError) as error:
        raise CheckpointError(f"not a saved rollout ({error}).") from error
    return Snapshot(spec, table)


def take(rollout: BatchRollout) -> list[Snapshot]:
    """Return each rollout of a batch as it stands."""
    columns = {name: value.cpu() for name, value in vars(rollout._started()).items()}
    return [
        Snapshot(rollout.spec, {name: value[i].clone() for name, value in columns.items()}) for i in range(rollout.size)
    ]


def go_on(rollout: BatchRollout, snapshots: Sequence[Snapshot]) -> None:
    """Let ``rollout`` go on from ``snapshots``, all of one world, as one batch.

    Raises:
        InvalidInputError: none, of different worlds, or made by a model of another context or memory length.
    """
    if not snapshots or any(s.spec != snapshots[0].spec for s in snapshots):
        raise InvalidInputError("a batch goes on from at least one snapshot, all of one world.")
    config, table = rollout.network.config, snapshots[0].table
    if len(table["context"]) != config.context or len(table["position"]) != config.memory:
        raise InvalidInputError("this snapshot was made by a model of another context or memory length.")
    columns = {name: torch.stack([s.table[name] for s in snapshots]) for name in table}
    rollout._start(snapshots[0].spec, rollout.settings)
    rollout._table = Table(**columns).map(lambda x: x.to(rollout.device))


def reseeded(snapshot: Snapshot, seed: int) -> Snapshot:
    """Return the same moment with another future."""
    new = {name: value[0] for name, value in fresh_chance([seed]).items()}
    return replace(snapshot, table={**snapshot.table, **new})


@dataclass(frozen=True)
class Stepped:
    """What one rollout answers to one step, and how it stands then."""

    snapshot: Snapshot
    rewards: Floats
    """(N,)"""
    ended: bool
