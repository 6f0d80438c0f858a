"""Where graphs are kept: those of shipped models in the package, others in the user's cache, made when first needed.

A graph without weights fits every model of its configuration, so nothing is exported for new weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from actionparty.config import ModelConfig, to_json
from actionparty.errors import ActionPartyError, InvalidInputError
from actionparty.model.network import Network
from actionparty.worlds.meltingpot_sources import cache_dir

FORMAT = 1
"""Raised when the graphs of a configuration change."""
SHIPPED = Path(__file__).resolve().parent / "shipped"
_LOG = logging.getLogger("actionparty.engines")


def key_of(config: ModelConfig) -> str:
    """Return what the graphs of ``config`` are called: a hash of what differs from the defaults.

    So a new setting renames nothing. The worlds that were trained don't matter: they only make a table longer.
    """
    usual = to_json(ModelConfig())
    values = to_json(replace(config, worlds=()))
    text = json.dumps([FORMAT, {name: value for name, value in values.items() if value != usual[name]}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def graphs(network: Network) -> dict[str, bytes]:
    """Return the ONNX model of each part of ``network``, by name, with its weights.

    Raises:
        InvalidInputError: an operation of this model can't be exported; it is named.
        ActionPartyError: the cache can't be written.
        ImportError: a package is missing that is needed to export a model of this configuration.
    """
    import onnx
    from onnx import numpy_helper

    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    filled = {}
    with zipfile.ZipFile(io.BytesIO(_structure(network))) as file:
        for name in file.namelist():
            model: Any = onnx.load_model_from_string(file.read(name))
            for value in model.graph.initializer:
                array = weights[value.name].detach().cpu().float().contiguous().numpy()
                value.CopyFrom(numpy_helper.from_array(array, value.name))
            filled[Path(name).stem] = model.SerializeToString()
    return filled


def ready(network: Network) -> bool:
    """Whether the graphs of ``network`` are at hand, so that it starts at once."""
    return network.joint is None and any(path.is_file() for path in _places(network.config))


def _places(config: ModelConfig) -> tuple[Path, Path]:
    name = f"{key_of(config)}.zip"
    return SHIPPED / name, cache_dir() / "graphs" / name


def _structure(network: Network) -> bytes:
    if network.joint is not None:
        raise InvalidInputError(
            "only PyTorch runs this model: graphs are made of its stages, and it has one joint flow (`Joint.forward`)."
        )
    shipped, kept = _places(network.config)
    for place in (shipped, kept):
        if place.is_file():
            return place.read_bytes()
    from actionparty.engines.export import export

    _LOG.info("preparing the graphs of a model of this shape, once (a minute or so); kept in %s", kept)
    content = export(network.config)
    _keep(kept, content)
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whoever else does the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".making-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(scratch).replace(path)
    except OSError as error:
        raise ActionPartyError(
            f"cannot store graphs in {path.parent}: {error}. Set ACTIONPARTY_CACHE to a folder you can write."
        ) from error
