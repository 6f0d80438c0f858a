"""The processes that train one model together: who this one is, what it does of a step, what all of them agree on.

``torchrun`` starts them and tells each its place in environment variables. One process alone is the same, without any
communication. This module knows no worlds, no losses and no files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from actionparty.errors import ActionPartyError, InvalidInputError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """One of ``count`` processes, which all call the same methods in the same order."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Place among the processes on the same machine; it has the GPU of this number."""

    @property
    def main(self) -> bool:
        """Whether this is the one process that writes files and talks to people."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def share(self, batches: int) -> range:
        """Return which of the ``batches`` of a step are this process's.

        Raises:
            InvalidInputError: the processes can't all have the same number of them.
        """
        if batches % self.count:
            more = -(-batches // self.count) * self.count
            raise InvalidInputError(
                f"{self.count} processes can't share worlds_per_step = {batches} evenly: set --worlds-per-step to a "
                f"multiple of {self.count}, such as {more}, or start another number of processes."
            )
        return range(self.rank, batches, self.count)

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return ``module`` so that its gradients become the mean over all processes."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)

    def alone(self, module: nn.Module) -> AbstractContextManager[None]:
        """Let gradients of what ``parallel`` returned pile up without communication while this is entered."""
        if isinstance(module, DistributedDataParallel):
            quiet: AbstractContextManager[None] = module.no_sync()
            return quiet
        return nullcontext()

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the ``values`` of all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, *flags: bool) -> list[bool]:
        """Return for each flag whether any process has raised it."""
        if self.count == 1:
            return list(flags)
        return self.total(torch.tensor(flags, dtype=torch.float32, device=self.device)).bool().tolist()

    def main_only(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the main process while the others wait; a user's error in it is raised on all of them."""
        failure: list[ActionPartyError | None] = [None]
        if self.main:
            try:
                action()
            except ActionPartyError as error:
                failure = [error]
        if self.count > 1:
            dist.broadcast_object_list(failure, src=0)
        if failure[0] is not None:
            raise failure[0]

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Make sure that all processes have the same ``facts`` (plain values).

        Raises:
            InvalidInputError: one has others, such as a machine that sees another copy of the data.
        """
        seen: list[Any] = [dict(facts)] * self.count
        if self.count > 1:
            dist.all_gather_object(seen, dict(facts))
        for rank, other in enumerate(seen):
            for name, value in seen[0].items():
                if other[name] != value:
                    raise InvalidInputError(
                        f"process {rank} has other {name} ({other[name]}) than process 0 ({value}): all processes must "
                        "be started with the same options, and see the same datasets and run folder."
                    )


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; without it this process is alone.

    After an error the group is left as it is: to leave it in order would mean to wait for the others.

    Raises:
        InvalidInputError: some of torchrun's environment variables are missing, or there are more processes than GPUs.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    processes = _announced()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(processes.device)
    dist.init_process_group("nccl" if cuda else "gloo")
    yield processes
    dist.barrier()  # nobody takes the store away while another still uses it
    dist.destroy_process_group()


def _announced() -> Processes:
    """Return what torchrun's variables say."""
    if missing := [name for name in _TORCHRUN if name not in os.environ]:
        raise InvalidInputError(
            f"RANK or WORLD_SIZE is set, but {', '.join(missing)} is not: start several processes with torchrun "
            "(docs/scaling.md), or unset them to train with one."
        )
    try:
        rank, count, local = (int(os.environ[name]) for name in _TORCHRUN[:3])
    except ValueError as error:
        raise InvalidInputError(f"{', '.join(_TORCHRUN[:3])} must be whole numbers, as torchrun sets them.") from error
    gpus = torch.cuda.device_count()
    if gpus and local >= gpus:
        raise InvalidInputError(f"this machine has {gpus} GPUs, one for a process: start --nproc-per-node {gpus}.")
    return Processes(rank, count, local)
