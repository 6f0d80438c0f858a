"""Steps recorded on a GPU: a function of tensors as a CUDA graph, replayed without Python and without launches."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from actionparty.errors import no_memory

Function = Callable[..., tuple[Tensor, ...]]
_WARM_UP = 3
"""Calls before the recording, as PyTorch asks for: libraries set themselves up in the first ones."""
_MOST = 8
"""Shapes whose recordings are kept; the oldest goes."""
_RECORDING = threading.Lock()
"""CUDA records one graph at a time in a process."""


class Recorded:
    """A function of tensors that never waits for the GPU and whose shapes don't depend on data, recorded and replayed.

    What it returns lives in buffers that the next call with the same shapes overwrites. Each shape is recorded at its
    first call. Where that fails the function is called as it is, slower, and a warning says why.
    """

    def __init__(self, function: Function) -> None:
        """Record ``function`` when it is first called."""
        self._function = function
        self._recordings: dict[object, _Recording] = {}
        self._lock = threading.Lock()
        self._failed = False

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns for tensors of one GPU."""
        with self._lock:
            shapes = tuple((x.shape, x.dtype, x.device) for x in given)
            if shapes not in self._recordings and not self._failed:
                self._record(shapes, given)
            if self._failed:
                return self._function(*given)
            return self._recordings[shapes].replay(given)

    def _record(self, shapes: object, given: tuple[Tensor, ...]) -> None:
        while len(self._recordings) >= _MOST:
            del self._recordings[next(iter(self._recordings))]
        try:
            self._recordings[shapes] = _Recording(self._function, given)
        except (RuntimeError, ImportError) as error:  # of a driver or a library that can't
            if no_memory(error):
                raise
            warnings.warn(f"steps are not recorded as a CUDA graph, so they are slower: {error}", stacklevel=3)
            self._failed = True


class _Recording:
    """One graph, with the buffers that it reads and writes."""

    def __init__(self, function: Function, given: tuple[Tensor, ...]) -> None:
        device = given[0].device
        with _RECORDING, torch.cuda.device(device):
            self._inputs = tuple(x.clone() for x in given)
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    self._outputs = function(*self._inputs)
            torch.cuda.current_stream(device).wait_stream(stream)
        self._device = device

    def replay(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.cuda.device(self._device):
            for own, new in zip(self._inputs, given, strict=True):
                own.copy_(new)
            self._graph.replay()
        return self._outputs
