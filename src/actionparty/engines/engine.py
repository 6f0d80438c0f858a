"""What sampling asks of a network, as an interface, and the answer by PyTorch itself.

An engine knows nothing of noise, lots or rollouts: it turns tensors into tensors, on its device.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from actionparty.model.network import Network
from actionparty.model.observe import Observed
from actionparty.model.palette import KnownTiles
from actionparty.model.render import CellChoice, Rendered, Resolved
from actionparty.model.tokens import Subjects
from actionparty.model.update import UpdateMemory


class Engine(Protocol):
    """The parts of a network in the order of a step; shapes are those of the network's own methods."""

    @property
    def name(self) -> str:
        """One of ``config.ENGINES``."""

    @property
    def network(self) -> Network:
        """What is run; its configuration, known tiles and chances are read from here."""

    def observe(self, context: Tensor, subjects: Subjects, grid: tuple[int, int], world: Tensor) -> Observed:
        """See ``Observe.forward``."""

    def remember(self, observed: Observed) -> UpdateMemory:
        """See ``Update.remember``."""

    def update(self, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Update.forward``."""

    def point(self, observed: Observed, features: Tensor) -> Tensor:
        """See ``Update.point``."""

    def resolve(self, observed: Observed, next_state: Tensor, position: Tensor, alive: Tensor) -> Resolved:
        """See ``Render.resolve``."""

    def render(
        self,
        observed: Observed,
        resolved: Resolved,
        choice: CellChoice,
        noisy: Tensor,
        time: Tensor,
        known: KnownTiles | None,
    ) -> Rendered:
        """See ``Render.forward``."""

    def heads(self, rendered: Tensor, observed: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Heads.forward``."""


class TorchEngine:
    """The network as it is, on whatever device it is."""

    name = "torch"

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def runs(self) -> Network:
        """The module that computes."""
        return self.network

    def observe(self, context: Tensor, subjects: Subjects, grid: tuple[int, int], world: Tensor) -> Observed:
        """See ``Observe.forward``."""
        observed: Observed = self.network.observe(context, subjects, grid, world)
        return observed

    def remember(self, observed: Observed) -> UpdateMemory:
        """See ``Update.remember``."""
        return self.network.update.remember(observed)

    def update(self, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Update.forward``."""
        said: tuple[Tensor, Tensor] = self.network.update(observed, memory, noisy, time)
        return said

    def point(self, observed: Observed, features: Tensor) -> Tensor:
        """See ``Update.point``."""
        return self.network.update.point(observed, features)

    def resolve(self, observed: Observed, next_state: Tensor, position: Tensor, alive: Tensor) -> Resolved:
        """See ``Render.resolve``."""
        return self.network.render.resolve(observed, next_state, position, alive)

    def render(
        self,
        observed: Observed,
        resolved: Resolved,
        choice: CellChoice,
        noisy: Tensor,
        time: Tensor,
        known: KnownTiles | None,
    ) -> Rendered:
        """See ``Render.forward``."""
        rendered: Rendered = self.network.render(observed, resolved, choice, noisy, time, known)
        return rendered

    def heads(self, rendered: Tensor, observed: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Heads.forward``."""
        said: tuple[Tensor, Tensor, Tensor] = self.network.heads(rendered, observed, mask)
        return said
