"""What can end a training that its user can mend: numbers that are not finite, no memory, a process that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from actionparty.config import TrainConfig
from actionparty.errors import ActionPartyError, no_memory


class NonFiniteError(ActionPartyError):
    """The loss or a gradient became NaN or infinite; nothing was saved from that step."""


class OutOfMemoryError(ActionPartyError):
    """A batch did not fit into memory."""


class LostProcessError(ActionPartyError):
    """Another process of the same training ended or can't be reached."""


@contextmanager
def explained(config: TrainConfig) -> Iterator[None]:
    """Say what to do where memory is short or another process is lost; let any other error pass.

    Raises:
        OutOfMemoryError: PyTorch's allocator, of a GPU or of the CPU, had no room.
        LostProcessError: another process was waited for and did not answer.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if no_memory(error):
            batch, tokens = config.batch, config.batch_tokens or "no limit"
            raise OutOfMemoryError(
                f"out of memory in a training step. Lower --batch (now {batch}), or --batch-tokens (now {tokens}) "
                "where only large worlds are too much, and add --resume; or start anew with a smaller --size."
            ) from error
        if _lost(error):
            raise LostProcessError(
                "another process of this training ended or can't be reached; what it said stands above or on its "
                "machine. Start all of them again with --resume: the run goes on from its last saved state."
            ) from error
        raise


def _lost(error: Exception) -> bool:
    """Gloo's errors are plain ``RuntimeError`` that name its source file."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
