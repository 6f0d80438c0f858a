"""How much of what happens can be copied: the share of changed cells whose new tile the training recordings know, and
know to have followed the tile that the cell showed before.

    python benchmarks/known_tiles.py datasets/all --held-out datasets/all-heldout

It says what a palette (docs/method.md) can do at best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from actionparty.data.dataset import load_episodes, open_dataset
from actionparty.data.tables import WorldTable
from actionparty.model.palette import follows_of


def known_shares(train: WorldTable, held_out: WorldTable) -> tuple[float, float]:
    """Return the share of the cells that change in ``held_out`` which then show a tile of ``train``.

    And the share of those whose tile, besides, may follow the one before as far as ``train`` says (``follows_of``).
    """
    count = len(train.tiles)
    numbers = {tile.tobytes(): i for i, tile in enumerate(train.tiles)}
    number = np.array([numbers.get(tile.tobytes(), count) for tile in held_out.tiles])
    row, cell = np.nonzero((held_out.grid[:-1] != held_out.grid[1:]) & held_out.inside[:, None])
    before, after = (number[held_out.grid[row + step, cell]] for step in (0, 1))
    known = after < count
    follows = follows_of(torch.from_numpy(train.changes()), count).numpy()
    return float(known.mean()), float((known & follows[before, np.where(known, after + 1, 0)]).mean())


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
            changes = train.changes()
            fan = len(changes) / max(1, len(np.unique(changes[:, 0])))
            shares = known_shares(train, WorldTable.of(load_episodes(given.held_out, [world])))
            found.append((*shares, world, len(train.tiles), fan))
    print("tile known  change known")
    for share, change, world, tiles, fan in sorted(found):
        print(f"    {share:.4f}        {change:.4f}  {tiles:5d} tiles, each followed by {fan:.1f}  {world}")
    tile, change, fan = (float(np.mean([row[column] for row in found])) for column in (0, 1, 4))
    print(f"    {tile:.4f}        {change:.4f}  mean of {len(found)} worlds, each tile followed by {fan:.1f}")


if __name__ == "__main__":
    main()
