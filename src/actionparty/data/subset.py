"""Copy part of a dataset: some worlds, the first episodes of each."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from actionparty.data.dataset import STAGING, commit, create_or_open, open_dataset
from actionparty.data.shards import PARTS, shard_path


def copy_shards(source: Path, out: Path, worlds: Collection[str], episodes: int) -> int:
    """Copy the first ``episodes`` shards of each of ``worlds`` into the dataset ``out``; return how many."""
    dataset, target = open_dataset(source), create_or_open(out)
    copied = 0
    for world in sorted(worlds):
        shards = sorted((s for s in dataset.shards.values() if s.world.name == world), key=lambda s: s.seed)
        for shard in shards[:episodes]:
            staged = out / STAGING / Path(shard.name).name
            staged.parent.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                shutil.copyfile(shard_path(source / shard.name, part), shard_path(staged, part))
            commit(target, shard, staged)
            copied += 1
    shutil.rmtree(out / STAGING, ignore_errors=True)
    return copied
