"""Engines by name: which are installed, which is fastest, and how one is opened."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable

import torch

from actionparty.config import AUTO, ENGINES
from actionparty.engines.check import differences
from actionparty.engines.engine import Engine, TorchEngine
from actionparty.engines.export import operation
from actionparty.engines.graph_engine import GraphEngine, Run
from actionparty.engines.halved import HalvedEngine, native_bf16
from actionparty.engines.onnx_runtime import OnnxGraph, to_int8
from actionparty.engines.openvino_runtime import OpenVinoGraph
from actionparty.engines.store import graphs, ready
from actionparty.errors import ActionPartyError, InvalidInputError, MissingDependencyError, unknown_name
from actionparty.model.network import Network

TORCH = "torch"
FASTEST = ("onnx", "openvino", TORCH)
"""Engines that answer what PyTorch answers in float32, the fastest first (docs/engines.md says how that was measured).
Those that round more are never chosen by themselves."""
_PACKAGES = {
    "onnx": ("onnxruntime", "onnx"),
    "onnx-int8": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}
LARGEST_DIFFERENCE = 1e-3
"""From PyTorch in float32, see ``differences``; more would mean that a graph is another network's."""
_LOG = logging.getLogger("actionparty.engines")


def lacks(name: str, device: torch.device | None = None) -> str | None:
    """Return why the engine ``name`` can't be used here (on ``device``) and what to do, None where it can."""
    if missing := [package for package in _PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]:
        extra = name.partition("-")[0]
        return f"the engine {name} needs {', '.join(missing)}, not installed here: pip install 'actionparty[{extra}]'"
    if name == "torch-bf16" and not native_bf16(device or torch.device("cpu")):
        return f"the engine torch-bf16 is for devices that compute in bfloat16, and {device or 'cpu'} here does not"
    return None


def choose(wanted: str, device: torch.device | None, networks: Iterable[Network]) -> str:
    """Return the engine to use: the ``wanted`` one, or the fastest where that is not installed (then this is logged).

    ``AUTO`` stands for the fastest that runs all ``networks`` at once: nothing has to be installed or exported first.

    Raises:
        UnknownNameError: no such engine.
        InvalidInputError: one for the processor, and the ``device`` is another.
    """
    if wanted not in (*ENGINES, AUTO):
        raise unknown_name("engine", wanted, (*ENGINES, AUTO))
    elsewhere = device is not None and device.type != "cpu"
    if elsewhere and wanted in _PACKAGES:
        raise InvalidInputError(f"the engine {wanted} runs on the processor, not on {device}: use the engine torch.")
    best = TORCH
    if not elsewhere and all(ready(network) for network in networks):
        best = next(name for name in FASTEST if lacks(name) is None)
    if wanted == AUTO:
        return best
    if (reason := lacks(wanted, device)) is not None:
        _LOG.warning("%s. Using %s instead.", reason, best)
        return best
    return wanted


def choose_by_opening(wanted: str, device: torch.device | None, networks: Iterable[Network]) -> str:
    """Return the engine to use as ``choose`` does; what ``AUTO`` stands for is opened for all ``networks`` to see.

    Where one of them is refused, all are left to PyTorch (this is logged), so that one name can be said and kept.

    Raises:
        UnknownNameError, InvalidInputError: as ``choose``.
    """
    given = list(networks)
    name = choose(wanted, device, given)
    if wanted != AUTO or name == TORCH:
        return name
    return name if all(open_engine(AUTO, network, device).name == name for network in given) else TORCH


def open_engine(
    wanted: str, network: Network, device: torch.device | None = None, threads: int | None = None
) -> Engine:
    """Return an engine that runs ``network`` with as many ``threads`` as PyTorch uses here, unless told otherwise.

    Raises:
        UnknownNameError, InvalidInputError: as ``choose``; or the engine can't run this model (its operation is named).
    """
    name = choose(wanted, device, [network])
    try:
        return _opened(name, network, threads or torch.get_num_threads())
    except ActionPartyError as error:
        if wanted != AUTO:
            raise
        _LOG.warning("%s Using torch instead of %s.", error, name)
        return TorchEngine(network)


def _opened(name: str, network: Network, threads: int) -> Engine:
    try:
        return _OPEN[name](network, threads)
    except ImportError as error:
        raise MissingDependencyError(
            f"the engine {name} has no graphs of a model of this shape, and needs {error.name} to make them: "
            "pip install 'actionparty[onnx]'."
        ) from error


def _open_torch(network: Network, threads: int) -> Engine:
    return TorchEngine(network)


def _open_halved(network: Network, threads: int) -> Engine:
    return HalvedEngine(network)


def _open_onnx(network: Network, threads: int) -> Engine:
    return _checked(GraphEngine("onnx", network, _runs("onnx", graphs(network), OnnxGraph, threads)))


def _open_int8(network: Network, threads: int) -> Engine:
    runs = _runs("onnx-int8", to_int8(graphs(network)), OnnxGraph, threads)
    return GraphEngine("onnx-int8", network, runs, alone=True)


def _open_openvino(network: Network, threads: int) -> Engine:
    return _checked(GraphEngine("openvino", network, _runs("openvino", graphs(network), OpenVinoGraph, threads)))


_OPEN: dict[str, Callable[[Network, int], Engine]] = {
    TORCH: _open_torch,
    "torch-bf16": _open_halved,
    "onnx": _open_onnx,
    "onnx-int8": _open_int8,
    "openvino": _open_openvino,
}


def _runs(name: str, models: dict[str, bytes], load: Callable[[bytes, int], Run], threads: int) -> dict[str, Run]:
    """Return what runs each of ``models``; what an engine refuses is said with the operation that it names."""
    runs: dict[str, Run] = {}
    for part, model in models.items():
        try:
            runs[part] = load(model, threads)
        except Exception as error:
            raise InvalidInputError(
                f"the engine {name} can't run this model: part `{part}`, operation {operation(error)}."
            ) from error
    return runs


def _checked(engine: GraphEngine) -> GraphEngine:
    """Return ``engine`` if it answers what PyTorch answers, on a few random inputs."""
    found = differences(engine)
    part = max(found, key=lambda name: found[name])
    if not found[part] <= LARGEST_DIFFERENCE:  # NaN is refused too
        raise InvalidInputError(
            f"the engine {engine.name} computes another model than this: its `{part}` is {found[part]:.2g} away."
        )
    return engine
