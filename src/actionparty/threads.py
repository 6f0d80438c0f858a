"""Threads that wait: what has to be said to OpenMP before torch loads it."""

from __future__ import annotations

import os


def calm_threads() -> None:
    """Let OpenMP threads sleep while they wait, unless the user chose otherwise; call it before torch is imported.

    GNU OpenMP reads ``GOMP_SPINCOUNT`` once, when torch loads it. Threads that spin instead of sleeping made the same
    step ten times slower on two cores that others used too.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
