"""What people hand to environments: whole numbers and seeds, checked before anything happens."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

from actionparty.errors import InvalidInputError

SEEDS = 2**63
"""Seeds are whole numbers below this: every generator that they reach takes those."""


def whole(name: str, value: Any, least: int, end: int | None = None) -> int:
    """Return ``value``, also one of NumPy's integers, as an int of at least ``least`` and, if given, below ``end``.

    Raises:
        InvalidInputError: it is no whole number, or out of range; the message calls it ``name``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (end is not None and number >= end):
        limit = "" if end is None else f" and at most {end - 1}"
        raise InvalidInputError(
            f"{name} must be a whole number of at least {least}{limit}, but is {reprlib.repr(value)}."
        )
    return number


def row_seeds(seed: int | Sequence[int] | None, size: int) -> list[int | None]:
    """Return the first seed of each of ``size`` worlds: ``seed`` + b for world b, or the b-th; None: by chance.

    Raises:
        InvalidInputError: not one seed, or one for each world, from 0 to ``SEEDS`` - 1.
    """
    if seed is None:
        return [None] * size
    given = _listed(seed)
    if given is None:
        first = whole("seed", seed, 0, SEEDS)
        given = [first + row for row in range(size)]
    if len(given) != size:
        raise InvalidInputError(
            f"seed: one number, or one for each of the {size} worlds, but got {len(given)} of them."
        )
    return [whole("seed", each, 0, SEEDS) for each in given]


def _listed(value: Any) -> list[Any] | None:
    """Return the parts of a list or an array; None for everything that has none, and for text."""
    if isinstance(value, str | bytes):
        return None
    try:
        return list(value)
    except TypeError:
        return None
