"""Errors meant for users: every message says what was wrong, where, and what to do.

The command line turns an ``ActionPartyError`` into one clear line and exit code 2; everything else is a bug.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class ActionPartyError(Exception):
    """Base class of every error that a user can cause and mend."""


class UnknownNameError(ActionPartyError):
    """A world, action, scene or preset that does not exist."""


class MissingDependencyError(ActionPartyError):
    """An optional package that is not installed; the message names the command that installs it."""


class DatasetError(ActionPartyError):
    """A dataset folder or shard that is missing, damaged, in the way, or of another version."""


class CheckpointError(ActionPartyError):
    """A checkpoint that cannot be read or does not fit the model."""


class InvalidInputError(ActionPartyError):
    """A value of the wrong shape, range or count."""


class WorkersError(ActionPartyError):
    """Processes, or nodes of a cluster, that should work and don't start."""


_NO_MEMORY = ("DefaultCPUAllocator", "bad_alloc", "out of memory", "ALLOC_FAILED", "Failed to allocate")
"""What allocators say that raise plain errors: of PyTorch, C++, CUDA, its libraries, and the engines' runtimes."""


def no_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory is short, of the machine or of a GPU."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, Exception) and any(words in str(error) for words in _NO_MEMORY)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown ``name``, suggesting the nearest of ``known``."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    listed = ", ".join(names[:12]) + ("..." if len(names) > 12 else "")
    hint = f" Did you mean {', '.join(near)}?" if near else f" Known: {listed}."
    return UnknownNameError(f"unknown {kind} {name!r}.{hint}")
