"""How much of what happens can be copied: the share of changed cells whose new tile the training recordings know.

    python benchmarks/known_tiles.py datasets/all --held-out datasets/all-heldout

It says what a palette (docs/method.md) can do at best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from actionparty.data.dataset import load_episodes, open_dataset
from actionparty.data.tables import WorldTable


def known_share(train: WorldTable, held_out: WorldTable) -> float:
    """Return the share of the cells that change in ``held_out`` which then show a tile of ``train``."""
    tiles = {tile.tobytes() for tile in train.tiles}
    known = np.array([tile.tobytes() in tiles for tile in held_out.tiles])
    inside = np.arange(1, len(held_out)) > held_out.first[1:]
    row, cell = np.nonzero((held_out.grid[:-1] != held_out.grid[1:]) & inside[:, None])
    return float(known[held_out.grid[row + 1, cell]].mean())


def main() -> None:
    """Print a line for each world, fewest known first, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", nargs="+", type=Path, help="datasets that were trained on")
    parser.add_argument("--held-out", required=True, type=Path, help="dataset that was not")
    given = parser.parse_args()
    worlds = {path: open_dataset(path).worlds for path in given.train}
    found = []
    for world in sorted(open_dataset(given.held_out).worlds):
        recorded = [e for path, having in worlds.items() if world in having for e in load_episodes(path, [world])]
        if recorded:
            train = WorldTable.of(recorded)
            share = known_share(train, WorldTable.of(load_episodes(given.held_out, [world])))
            found.append((share, world, len(train.tiles)))
    for share, world, tiles in sorted(found):
        print(f"{share:.4f}  {tiles:5d} tiles  {world}")
    print(f"{np.mean([share for share, _, _ in found]):.4f}  mean of {len(found)} worlds")


if __name__ == "__main__":
    main()
