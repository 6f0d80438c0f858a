"""PyTorch in bfloat16: half the bits, where the processor computes in them natively."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from actionparty.engines.engine import TorchEngine
from actionparty.model.network import Network
from actionparty.model.observe import Observed
from actionparty.model.render import Rendered, Resolved
from actionparty.model.update import UpdateMemory


class HalvedEngine:
    """The network with its matrices in bfloat16; sums, norms and what it answers stay as autocast keeps them."""

    name = "torch-bf16"

    def __init__(self, network: Network) -> None:
        self.network = network
        self._inner = TorchEngine(_halved(network))

    @property
    def runs(self) -> Network:
        """The module that computes: a copy with narrow matrices."""
        return self._inner.network

    def _narrow(self) -> torch.autocast:
        device = self.network.heads.end.weight.device.type
        return torch.autocast(device, torch.bfloat16, cache_enabled=False)  # a recorded graph must not read a cache

    def observe(self, *arguments: Any, **named: Any) -> Observed:
        """See ``Observe.forward``."""
        with self._narrow():
            return self._inner.observe(*arguments, **named)

    def remember(self, *arguments: Any, **named: Any) -> UpdateMemory:
        """See ``Update.remember``."""
        with self._narrow():
            return self._inner.remember(*arguments, **named)

    def update(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """See ``Update.forward``."""
        with self._narrow():
            return self._inner.update(*arguments, **named)

    def point(self, *arguments: Any, **named: Any) -> Tensor:
        """See ``Update.point``."""
        with self._narrow():
            return self._inner.point(*arguments, **named)

    def resolve(self, *arguments: Any, **named: Any) -> Resolved:
        """See ``Render.resolve``."""
        with self._narrow():
            return self._inner.resolve(*arguments, **named)

    def render(self, *arguments: Any, **named: Any) -> Rendered:
        """See ``Render.forward``."""
        with self._narrow():
            return self._inner.render(*arguments, **named)

    def heads(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Heads.forward``."""
        with self._narrow():
            return self._inner.heads(*arguments, **named)


def _halved(network: Network) -> Network:
    shared = (network.palettes, network.chances, network._known)
    copied = copy.deepcopy(network, {id(part): part for part in shared})
    for module in copied.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)
    return copied


def native_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices natively (emulated, they are 40 to 500 times slower)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _processor_has_bf16()


def _processor_has_bf16() -> bool:
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    named = any(capable.get(kind) for kind in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and named
