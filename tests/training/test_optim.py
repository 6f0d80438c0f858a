from __future__ import annotations

import pytest
import torch
from tests.training.samples import TINY
from torch import Tensor, nn

from actionparty.config import TrainConfig
from actionparty.model.network import Network
from actionparty.training.optim import MovingAverage, Optimizer, learning_rate

CONFIG = TrainConfig(frames=1000, batch=10, warmup_frames=100, decay_share=0.4, learning_rate=1e-2, final_rate=0.05)


@pytest.mark.parametrize(
    ("frames", "share"), [(0, 0.1), (40, 0.5), (90, 1), (600, 1), (800, 0.525), (1000, 0.05), (9999, 0.05)]
)
def test_the_rate_warms_up_stays_and_falls(frames: int, share: float) -> None:
    assert learning_rate(CONFIG, frames) == pytest.approx(1e-2 * share)


def network() -> Network:
    torch.manual_seed(0)
    return Network(TINY)


def push(net: nn.Module, optimizer: Optimizer, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=g)
    optimizer.step(1e-3)


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def test_muon_has_the_matrices_of_the_blocks_and_adamw_all_else() -> None:
    net = network()
    optimizer = Optimizer(net, CONFIG)
    names = {id(p): name for name, p in net.named_parameters()}
    parts = {
        part: {names[id(p)] for group in o.param_groups for p in group["params"]} for part, o in optimizer.parts.items()
    }
    assert parts["muon"] | parts["adamw"] == set(names.values())
    assert not parts["muon"] & parts["adamw"]
    assert "update.blocks.0.attention.query.weight" in parts["muon"]
    assert {"update.blocks.0.modulation.weight", "update.out.weight", "observe.world.weight"} <= parts["adamw"]


def test_both_rates_follow_the_schedule() -> None:
    net = network()
    optimizer = Optimizer(net, CONFIG)
    push(net, optimizer, 0)
    rates = {part: o.param_groups[0]["lr"] for part, o in optimizer.parts.items()}
    assert rates == pytest.approx({"adamw": 1e-3, "muon": CONFIG.muon_rate / 10})


def test_a_restored_optimizer_goes_on_exactly() -> None:
    first = network()
    optimizer = Optimizer(first, CONFIG)
    for seed in range(3):
        push(first, optimizer, seed)
    second = network()
    second.load_state_dict(first.state_dict())
    other = Optimizer(second, CONFIG)
    other.restore({k: v.clone() for k, v in optimizer.tensors().items()})
    assert set(other.tensors()) == set(optimizer.tensors())
    for seed in (3, 4):
        push(first, optimizer, seed)
        push(second, other, seed)
    for name, value in weights(first).items():
        assert torch.equal(weights(second)[name], value), name


def test_without_its_state_an_optimizer_goes_elsewhere() -> None:
    """The test above would pass with a ``restore`` that does nothing, were the state without effect."""
    first = network()
    optimizer = Optimizer(first, CONFIG)
    push(first, optimizer, 0)
    second = network()
    second.load_state_dict(first.state_dict())
    push(first, optimizer, 1)
    push(second, Optimizer(second, CONFIG), 1)
    assert not torch.equal(first.heads.end.weight, second.heads.end.weight)
    name = "blocks.0.attention.query.weight"
    assert not torch.equal(first.update.get_parameter(name), second.update.get_parameter(name))


def test_forgotten_gradients_are_gone() -> None:
    net = network()
    optimizer = Optimizer(net, CONFIG)
    push(net, optimizer, 0)
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_the_average_is_the_closed_form() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, decay=0.5)
    value = float(average.weights["weight"])
    for step, new in ((1, 3.0), (2, -1.0), (30, 5.0)):
        with torch.no_grad():
            net.weight.fill_(new)
        average.follow(net, step)
        kept = min(0.5, step / (step + 10))
        value = kept * value + (1 - kept) * new
        assert float(average.weights["weight"]) == pytest.approx(value, rel=1e-6)
