"""Make the graphs of a model with ``torch.onnx``, without its weights: they are the same for all weights of a shape.

The graphs of shipped models come with the package. After a change of the model raise ``store.FORMAT`` and write them
anew (it takes a minute or two): python -m actionparty.engines.export
"""

from __future__ import annotations

import inspect
import io
import re
import warnings
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from actionparty.checkpoints import CONFIG, find_checkpoint, read_json, shipped_names
from actionparty.config import ModelConfig, from_json
from actionparty.engines.graphs import Part, parts
from actionparty.engines.store import SHIPPED, key_of
from actionparty.errors import InvalidInputError
from actionparty.model.network import Network

OPSET = 20
_COMPLAINTS = (
    r"\b((?:aten|prims?|torchvision)(?:\.|::?)\w+)",
    r"Op registered for (\w+)",
    r"implementation for (\w+)",
    r"rule found for operations: ([\w.]+)",
)
"""How PyTorch, ONNX Runtime and OpenVINO name an operation that they don't have."""


def export(config: ModelConfig) -> bytes:
    """Return a zip file with the ONNX graph of each part of a model of ``config``; seconds to minutes.

    Raises:
        InvalidInputError: an operation of this model can't be exported; it is named.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        network = Network(config).eval().requires_grad_(requires_grad=False)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for part in parts(network):
                info = zipfile.ZipInfo(f"{part.name}.onnx")  # without the time of day: the same graphs, the same file
                file.writestr(info, _graph(part), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _graph(part: Part) -> bytes:
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return _bare(_exported(part))
    except ImportError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"only PyTorch runs this model: its part `{part.name}` can't be exported to ONNX ({operation(error)})."
        ) from error


def _exported(part: Part) -> Any:
    shapes = [{i: a for i, a in enumerate(axes) if isinstance(a, str)} for _, axes in part.inputs.values()]
    taken = inspect.signature(part.module.forward).parameters.values()
    named = sum(parameter.kind is not inspect.Parameter.VAR_POSITIONAL for parameter in taken)
    rest = [tuple(shapes[named:])] if len(shapes) > named else []
    program = torch.onnx.export(
        part.module,
        part.example(),
        input_names=list(part.inputs),
        output_names=list(part.outputs),
        dynamic_shapes=(*shapes[:named], *rest),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
        optimize=False,  # engines do that when they have the weights; here they would lose their names
    )
    assert program is not None
    return program.model_proto


def _bare(model: Any) -> bytes:
    """Return ``model`` without weights, and without what only says how it was made."""
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")
    for thing in (model, model.graph, *model.graph.node):
        del thing.metadata_props[:]
        thing.doc_string = ""
    del model.graph.value_info[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def operation(error: BaseException) -> str:
    """Return what an exporter or an engine complains of: the operation where it names one, else its first line."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    text = "\n".join(str(cause) for cause in reversed(causes))
    named = next((found for pattern in _COMPLAINTS if (found := re.search(pattern, text))), None)
    return named.group(1) if named else text.strip().partition("\n")[0]


def ship() -> None:
    """Write the graphs of every model that comes with the package, where they are missing."""
    SHIPPED.mkdir(exist_ok=True)
    for name in shipped_names():
        config = from_json(ModelConfig, read_json(find_checkpoint(name) / CONFIG)["model"])
        path = SHIPPED / f"{key_of(config)}.zip"
        if not path.exists():
            path.write_bytes(export(config))


if __name__ == "__main__":
    ship()
