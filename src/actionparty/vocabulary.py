"""The names of all actions, shared by all worlds: an action means the same everywhere, so a model learns it once.

The order is fixed for ever (it indexes the action embedding of saved checkpoints): append, never insert.
"""

from __future__ import annotations

from actionparty.errors import unknown_name

_OFFERS = tuple(
    f"offer_{give}_{a}_for_{get}_{b}"
    for give, get in (("apple", "banana"), ("banana", "apple"))
    for a in (1, 2, 3)
    for b in (1, 2, 3)
)
ACTIONS: tuple[str, ...] = (
    *("noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right"),
    *("interact", "fire_zap", "fire_zap_2", "io_action", "fire_claim", "fire_clean", "grasp", "hold"),
    *("push", "pull", "fire_1", "fire_2", "fire_3", "row", "flail", "mine", "eat", "pickup"),
    *("eat_apple", "eat_banana", "offer_cancel", *_OFFERS),
    *("refine_and_gift", "consume_tokens", "tag", "vote_1", "vote_2", "vote_3", "vote_4", "vote_5", "vote_6"),
    *("own_1", "own_2", "own_3", "own_4", "own_5", "own_6", "own_7", "own_8"),  # of worlds of users
)
CAPACITY = 128
"""Rows of a model's action embedding: names may be appended until it is full."""
MOVES = ("noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right")
"""Actions that every grid world understands; all others are *effects* (they act on the world or on others)."""


def action_ids(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the index in ``ACTIONS`` of each of a world's own action names."""
    for name in names:
        if name not in ACTIONS:
            raise unknown_name("action", name, ACTIONS)
    return tuple(ACTIONS.index(name) for name in names)
