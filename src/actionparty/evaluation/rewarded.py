"""From which real contexts rewards are scored: evenly spread ones, and as many again that lead to a reward.

Rewards are rare: hardly any evenly spread context leads to one. So steps at which somebody is rewarded are drawn apart
from all others, and every context weighs as many steps of its episode as it was drawn to stand for: shares and averages
are then those of the whole recording (Horvitz and Thompson 1952). Knows recordings only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actionparty.evaluation.rollouts import Start
from actionparty.types import Bools, Episode, Ints


def weighed(episodes: Sequence[Episode], spread: Sequence[Start], per_episode: int) -> tuple[list[Start], list[Start]]:
    """Return the ``spread`` starts, and at most ``per_episode`` more of each that lead to a reward; weighed."""
    first = min((start.row for start in spread), default=0)
    out: tuple[list[Start], list[Start]] = [], []
    for k, episode in enumerate(episodes):
        own = [start for start in spread if start.episode == k]
        rewarded: Bools = (episode.rewards[1:] != 0).any(1)  # by the row that leads there
        more = _more(rewarded, first, {start.row for start in own}, per_episode)
        both = [own, [Start(k, int(row)) for row in more]]
        weights = _weights(rewarded, first, [start.row for part in both for start in part])
        for kept, part in zip(out, both, strict=True):
            kept += [replace(start, weight=weights[bool(rewarded[start.row])]) for start in part]
    return out


def _more(rewarded: Bools, first: int, taken: set[int], most: int) -> Ints:
    """Return at most ``most`` evenly spread rows from ``first`` on that lead to a reward and are not ``taken``."""
    rows = np.array([row for row in np.flatnonzero(rewarded) if row >= first and row not in taken], np.int64)
    return rows[np.unique(np.rint(np.linspace(0, len(rows) - 1, min(most, len(rows)))).astype(np.int64))]


def _weights(rewarded: Bools, first: int, rows: Sequence[int]) -> dict[bool, float]:
    """Return for how many rows each of the drawn ``rows`` stands, by whether it leads to a reward."""
    drawn = rewarded[np.array(rows, np.int64)]
    counts = {kind: (int((rewarded[first:] == kind).sum()), int((drawn == kind).sum())) for kind in (False, True)}
    return {kind: every / found for kind, (every, found) in counts.items() if found}
