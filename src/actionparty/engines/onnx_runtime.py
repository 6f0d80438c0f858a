"""ONNX Runtime: it runs graphs on the processor, and makes them smaller."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = ("observe", "remember", "render")
"""Graphs that see many tokens at once: others gain little from fewer bits, and decide what lives and what changes."""


class OnnxGraph:
    """One graph, ready to run; threads that wait sleep, so that a busy machine does not make it collapse."""

    def __init__(self, model: bytes, threads: int) -> None:
        import onnxruntime

        options = _options(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]

    def __call__(self, inputs: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Return the outputs, new arrays."""
        found: list[NDArray[np.generic]] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return found


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def to_int8(models: dict[str, bytes]) -> dict[str, bytes]:
    """Return the same graphs, large ones with matrix products in 8 bits.

    Each matrix that is multiplied gets one scale for all of it, so a rollout must not share it with others.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made = dict(models)
    with tempfile.TemporaryDirectory() as scratch:
        for name in LARGE:
            plain, path = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
            _fold(models[name], plain)
            logging.disable(logging.WARNING)  # it would recommend what was just done
            try:
                quantize_dynamic(
                    plain,
                    path,
                    op_types_to_quantize=["MatMul"],
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    extra_options={"MatMulConstBOnly": True},
                )
            finally:
                logging.disable(logging.NOTSET)
            made[name] = path.read_bytes()
    return made


def _fold(model: bytes, path: Path) -> None:
    """Write ``model`` with everything computed that depends on weights alone, such as their transposes."""
    import onnxruntime

    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
