"""Read a recorded dataset with pandas and Pillow alone, without ActionParty, and draw one of its frames.

    python examples/read_dataset.py DATASET [WORLD] [--step 10] [--out frame.png]

Needs `pip install pandas pyarrow pillow`.

A dataset is a folder: manifest.jsonl has one JSON line per shard, and each shard is two Parquet files.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

CELL = 8  # pixels along one side of a tile


def main() -> None:
    arguments = parse_arguments()
    shard = find_shard(arguments.dataset, arguments.world)
    stem = arguments.dataset / shard["name"]
    steps = pd.read_parquet(f"{stem}.steps.parquet")
    tiles = pd.read_parquet(f"{stem}.tiles.parquet")

    # What is no column stands in the metadata of either file: the world, its actions, the seed label, the policy.
    about = json.loads(pq.read_schema(f"{stem}.steps.parquet").metadata[b"actionparty"])
    world = about["world"]
    print(f"{world['name']}: {len(steps)} steps of {world['subjects']} subjects, seed label {about['seed']}")
    print(steps.drop(columns="grid").head())

    # An action is stored with the frame that it leads into; -1 in the first row means that there was none.
    taken = np.stack(steps["action"][1:].to_numpy())
    counts = pd.Series(np.array(world["actions"])[taken].ravel()).value_counts()
    print(counts.to_string())

    frame = draw(steps["grid"][arguments.step], np.stack(tiles["pixels"].to_numpy()), world["grid"])
    Image.fromarray(frame).save(arguments.out)
    print(f"step {arguments.step} is in {arguments.out}")


def find_shard(dataset: Path, world: str | None) -> dict[str, Any]:
    """Return the first line of the manifest, or the first of ``world``."""
    lines = (dataset / "manifest.jsonl").read_text().splitlines()
    shards = [json.loads(line) for line in lines]
    return next(shard for shard in shards if world in (None, shard["world"]["name"]))


def draw(grid: NDArray[np.uint16], tiles: NDArray[np.uint8], size: list[int]) -> NDArray[np.uint8]:
    """Return the (8 h, 8 w, 3) frame whose cells are the given rows of ``tiles`` (P, 192), row by row."""
    h, w = size
    cells = tiles[grid].reshape(h, w, CELL, CELL, 3)
    return cells.transpose(0, 2, 1, 3, 4).reshape(h * CELL, w * CELL, 3)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("world", nargs="?")
    parser.add_argument("--step", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("frame.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
