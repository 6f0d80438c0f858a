"""Steps recorded on a GPU: a function of tensors as a CUDA graph, replayed without Python and without launches."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
_WARM_UP = 3
"""Calls before the recording, as PyTorch asks for: libraries set themselves up in the first ones."""


class Recorded:
    """A function of tensors that never waits for the GPU and whose shapes don't depend on data, recorded and replayed.

    What it returns lives in buffers that the next call overwrites. It is recorded at the first call, and anew when
    shapes change. Where that fails it is called as it is, slower, and a warning says why.
    """

    def __init__(self, function: Function, *, compiled: bool = False) -> None:
        """Record ``function``; ``compiled`` by ``torch.compile`` first, which takes about a minute for every shape."""
        self._plain = function
        self._function: Function = torch.compile(function, fullgraph=True, dynamic=False) if compiled else function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._failed = False

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns for tensors of a GPU."""
        if self._failed:
            return self._plain(*given)
        if [(x.shape, x.dtype) for x in given] != [(x.shape, x.dtype) for x in self._inputs]:
            try:
                self._record(given)
            except (RuntimeError, ImportError) as error:  # of a compiler, a driver or a library that can't
                warnings.warn(f"steps are not recorded as a CUDA graph, so they are slower: {error}", stacklevel=2)
                self._failed, self._graph, self._outputs = True, None, ()
                return self._plain(*given)
        for own, new in zip(self._inputs, given, strict=True):
            own.copy_(new)
        assert self._graph is not None, "recorded above"
        self._graph.replay()
        return self._outputs

    def _record(self, given: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in given)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._function(*self._inputs)
