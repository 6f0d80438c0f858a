"""Rollouts that stay on a device: the same worlds as other rollouts, without a wait, and new episodes by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partialmethod
from typing import Any

import numpy as np
import pytest
import torch
from tests.rollout.samples import SUBJECTS, actions, model, scene, started
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from actionparty.checkpoints import find_checkpoint
from actionparty.config import RolloutConfig
from actionparty.environment.resident import ResidentRollout, ResidentStep
from actionparty.errors import InvalidInputError
from actionparty.model.network import Network
from actionparty.model.palette import KnownTiles
from actionparty.rollout.recorded import Recorded
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths
from actionparty.training.checkpoint import load_network
from actionparty.types import Scene

META = torch.device("meta")
SHIPPED = "coins"


def resident(size: int, scenes: Sequence[Scene] | None = None, **options: Any) -> ResidentRollout:
    return ResidentRollout(model(), scenes or [scene()], size, **options)


def chosen(steps: int, batch: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(actions(steps, batch, seed))


def steps_of(going: ResidentRollout, rows: Tensor) -> list[ResidentStep]:
    """Steps are kept: on a CPU each has tensors of its own."""
    return [going.step(row) for row in rows]


def shipped(world: str = SHIPPED) -> tuple[Network, list[Scene]]:
    folder = find_checkpoint("all")
    return load_network(folder), [load_scene(path) for path in scene_paths(folder, world)]


def assert_alike(network: Network, scenes: list[Scene], rows: Tensor, seeds: list[int]) -> None:
    """With room for all cells it is the same world as that of a ``BatchRollout``, but for the last bits of sums."""
    going = ResidentRollout(network, scenes[:1], len(seeds), capacity=1)
    plain = BatchRollout(network)
    plain.reset([scenes[0]] * len(seeds), seeds)
    going.reset(seeds)
    for row in rows:
        step, expected = going.step(row), plain.step(row.numpy())
        difference = step.frames.int() - torch.from_numpy(expected.frames).int()
        assert difference.abs().max() <= 1
        assert torch.equal(step.position, torch.from_numpy(expected.states.position))
        assert torch.equal(step.facing, torch.from_numpy(expected.states.facing))
        assert torch.equal(step.alive, torch.from_numpy(expected.states.alive))
        torch.testing.assert_close(step.rewards, torch.from_numpy(expected.rewards))
        assert not step.waiting.any()


def test_it_generates_what_other_rollouts_do() -> None:
    assert_alike(model(), [scene()], chosen(6, 3), [3, 0, 2**63 - 1])


def test_it_generates_what_other_rollouts_do_with_shipped_weights() -> None:
    network, scenes = shipped()
    rows = torch.randint(len(scenes[0].world.actions), (12, 2, 2), generator=torch.Generator().manual_seed(0))
    assert_alike(network, scenes, rows, [0, 1])


def test_a_row_is_what_it_would_be_alone_across_episodes() -> None:
    scenes, rows = [scene(5), scene(9), scene(12, 1)], chosen(7, 3)
    together, alone = resident(3, scenes, max_steps=3), resident(1, scenes, max_steps=3)
    first = together.reset([4, 5, 6])
    assert torch.equal(alone.reset([5])[0], first[1])
    for one, many in zip(steps_of(alone, rows[:, 1:2]), steps_of(together, rows), strict=True):
        for name, value in vars(one).items():
            if name not in ("rewards", "frames", "final_frames"):
                assert torch.equal(value[0], getattr(many, name)[1]), name
        assert (one.frames[0].int() - many.frames[1].int()).abs().max() <= 1


def test_episodes_that_are_long_enough_begin_anew_from_a_scene() -> None:
    scenes = [scene(5), scene(9), scene(12, 1)]
    going = resident(8, scenes, max_steps=3)
    first = going.reset(range(8)).clone()
    steps = steps_of(going, chosen(6, 8))
    assert [bool(step.truncated.all()) for step in steps] == [False, False, True, False, False, True]
    assert not any(step.ended.any() for step in steps)
    starts = [torch.from_numpy(start.frames[-1]) for start in scenes]
    begun = [[k for k, start in enumerate(starts) if torch.equal(frame, start)] for frame in steps[2].frames]
    assert all(len(found) == 1 for found in begun), "each shows one of the scenes"
    assert len({found[0] for found in begun}) > 1, "which one is drawn"
    assert any(not torch.equal(a, b) for a, b in zip(first, steps[2].frames, strict=True)), "and drawn anew"
    assert not torch.equal(steps[2].frames, steps[2].final_frames)
    assert torch.equal(steps[1].frames, steps[1].final_frames)
    for row in range(8):
        assert not torch.equal(steps[5].final_frames[row], steps[2].final_frames[row]), "each has another future"


def test_an_episode_that_ends_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    going = resident(2)
    first = going.reset([1, 2])
    ends = model().heads.end.bias
    monkeypatch.setattr(ends, "data", torch.full_like(ends.data, 100.0))
    step = going.step(chosen(1, 2)[0])
    assert step.ended.all()
    assert not step.truncated.any()
    assert torch.equal(step.frames, first)


@pytest.mark.parametrize("world", [None, "clean_up"])
def test_what_is_no_number_cuts_the_episode(world: str | None) -> None:
    """Shipped weights know chances, by which lives are drawn whatever else is said."""
    network, scenes = (copy.deepcopy(model()), [scene()]) if world is None else shipped(world)
    with torch.no_grad():
        network.update.out.bias.fill_(float("nan"))
    going = ResidentRollout(network, scenes[:1], 2)
    first = going.reset(1).clone()
    step = going.step(torch.zeros(2, going.spec.subjects, dtype=torch.long))
    assert step.truncated.all()
    assert not step.ended.any()
    assert torch.equal(step.frames, first)
    assert (step.rewards == 0).all()


def test_where_there_is_no_room_cells_wait_and_subjects_come_first() -> None:
    full, tight = resident(2, capacity=1), resident(2, capacity=0.2)
    assert (full.capacity, tight.capacity) == (42, 8)
    before = full.reset([1, 2])
    tight.reset([1, 2])
    row = chosen(1, 2)[0]
    wide, narrow = full.step(row), tight.step(row)
    assert torch.equal(wide.position, narrow.position), "states never wait"

    def cells(frames: Tensor) -> Tensor:
        tiles = frames.reshape(2, 6, 8, 7, 8, 3).transpose(2, 3).flatten(3)
        return (tiles != before.reshape(2, 6, 8, 7, 8, 3).transpose(2, 3).flatten(3)).any(-1)

    assert (cells(narrow.final_frames).flatten(1).sum(1) <= 8).all()
    assert narrow.waiting.min() > 0
    changed = cells(wide.final_frames).flatten(1).sum(1)
    assert torch.equal(narrow.waiting + 8, changed), "with a random network every cell that is rendered differs"
    was = torch.from_numpy(scene().states.position[-1])
    moved = narrow.alive & (narrow.position != was).any(-1)
    assert moved.any()
    x, y = narrow.position.round().long().unbind(-1)
    drawn = cells(narrow.final_frames)[torch.arange(2)[:, None], y, x]
    assert drawn[moved].all(), "where somebody goes comes before chance"


class HostWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that has to do with a tensor that is not on the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elsewhere: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += 1
        if any(isinstance(x, Tensor) and x.device != META for x in tree_leaves((args, kwargs, result))):
            self.elsewhere.append(str(func))
        return result


def placeless(network: Network, world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the known tiles of ``world`` have no values: what makes them is not part of a step."""
    known = network.known(world)
    assert known is not None
    parts = {name: value.to(META) for name, value in vars(known).items() if isinstance(value, Tensor)}
    made = KnownTiles(**parts)
    monkeypatch.setattr(network, "known", lambda _: made)


def test_a_step_never_asks_what_tensors_hold_nor_copies_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on the device ``meta`` have no values, so whatever a GPU would have to be waited for fails here."""
    network, scenes = shipped()
    placeless(network, SHIPPED, monkeypatch)
    going = ResidentRollout(network, scenes, 3, device=META)
    going.reset([1, 2, 3])
    row = torch.zeros(3, 2, dtype=torch.long, device=META)
    with HostWatch() as watch:
        step = going.step(row, checked=False)
    assert step.frames.shape == (3, 136, 136, 3)
    assert watch.count > 500, "all of a step was seen"
    assert watch.elsewhere == []
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        going.step(row)  # a check has to look


def test_the_recorded_step_of_a_batch_never_asks_either(monkeypatch: pytest.MonkeyPatch) -> None:
    network, scenes = shipped()
    placeless(network, SHIPPED, monkeypatch)
    going = BatchRollout(network, device=META)
    going.reset(scenes[:2], [1, 2])
    row = torch.zeros(2, 2, dtype=torch.long, device=META)
    with torch.inference_mode(), HostWatch() as watch:
        made = going._flat(*vars(going._started()).values(), row)
    assert [tuple(x.shape) for x in made[-4:]] == [(2, 2), (2,), (2,), (2, 2)]
    assert watch.elsewhere == []


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_compiled_blocks_say_what_plain_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last stage of the compiler, which makes code for the machine and takes a minute."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(whole, backend="aot_eager", fullgraph=True))
    torch._dynamo.reset()
    plain, network = resident(2, capacity=1), copy.deepcopy(model())
    going = ResidentRollout(network, [scene()], 2, capacity=1, compiled=True)
    going.reset(1)
    plain.reset(1)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for row in chosen(2, 2):
        step, expected = going.step(row), plain.step(row)
        assert (step.frames.int() - expected.frames.int()).abs().max() <= 1
        assert torch.equal(step.position, expected.position)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > compiled


class StandInGraph:
    """What a CUDA graph does: replayed, it computes what was recorded from the same buffers into the same buffers."""

    recording: StandInGraph | None = None

    def __init__(self) -> None:
        self.run: Callable[[], tuple[Tensor, ...]] | None = None
        self.outputs: tuple[Tensor, ...] = ()

    def replay(self) -> None:
        assert self.run is not None
        for own, new in zip(self.outputs, self.run(), strict=True):
            own.copy_(new)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[StandInGraph]:
    """Stand-ins for the calls to CUDA, so that what surrounds them is run; returns the graphs made."""
    made: list[StandInGraph] = []

    class Stream:
        def __init__(self, device: object = None) -> None:
            pass

        def wait_stream(self, other: object) -> None:
            pass

    @contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    @contextmanager
    def graph(own: StandInGraph, **_: object) -> Iterator[None]:
        made.append(own)
        yield

    for name, value in (
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", nothing),
        ("device", nothing),
        ("graph", graph),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
    return made


def recorded(function: Callable[..., tuple[Tensor, ...]], cuda: list[StandInGraph]) -> Recorded:
    """Return a recorded function whose stand-in graph learns what to run as it is recorded."""

    def watched(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = function(*tensors)
        if cuda and cuda[-1].run is None:
            cuda[-1].run, cuda[-1].outputs = lambda: function(*tensors), outputs
        return outputs

    return Recorded(watched)


def test_what_is_recorded_is_replayed_on_new_inputs_and_recorded_anew_for_other_shapes(
    cuda: list[StandInGraph],
) -> None:
    double = recorded(lambda x, y: (x * 2, x + y), cuda)
    for value in (1.0, 5.0):
        twice, total = double(torch.tensor([value]), torch.tensor([3.0]))
        assert (float(twice), float(total)) == (2 * value, value + 3)
    assert len(cuda) == 1
    assert double(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))[0].tolist() == [2.0, 4.0]
    assert len(cuda) == 2


def test_what_it_returned_can_be_what_it_is_given_next(cuda: list[StandInGraph]) -> None:
    count = recorded(lambda x: (x + 1,), cuda)
    value = torch.tensor([0.0])
    for expected in (1, 2, 3):
        (value,) = count(value)
        assert float(value) == expected


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(
    cuda: list[StandInGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refused(*_: object) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch.cuda, "Stream", refused)

    def function(x: Tensor) -> tuple[Tensor, ...]:
        calls.append(x)
        return (x + 1,)

    plain = Recorded(function)
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph, so they are slower: no driver"):
        assert float(plain(torch.tensor([1.0]))[0]) == 2
    assert float(plain(torch.tensor([2.0]))[0]) == 3


def test_a_rollout_played_from_a_recording_is_that_rollout(
    cuda: list[StandInGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cells are rendered in a recorded step, so pixels differ in the last bits."""
    monkeypatch.setattr(BatchRollout, "_is_recorded", lambda self, _: self._recorded is not None)
    going, plain = started([1, 2]), started([1, 2])
    going._recorded = recorded(going._flat, cuda)
    for row in actions(4, 2):
        step, expected = going.step(row), plain.step(row)
        assert abs(step.frames.astype(int) - expected.frames).max() <= 1
        assert (step.states.position == expected.states.position).all()
        assert (step.states.alive == expected.states.alive).all()
    assert len(cuda) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "the number of worlds must be a whole number of at least 1, but is 0"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, but is 0"),
        ({"max_steps": 2.5}, "max_steps must be a whole number of at least 1, but is 2.5"),
        ({"capacity": 0.0}, "capacity must be above 0 and at most 1, but is 0.0"),
        ({"capacity": 1.5}, "capacity must be above 0 and at most 1, but is 1.5"),
        ({"scenes": []}, "give one seed per scene, at least one"),
        ({"settings": RolloutConfig(engine="onnx")}, "run without snap and with engine torch or torch-bf16, not onnx"),
    ],
)
def test_wrong_rollouts_are_refused(options: dict[str, Any], said: str) -> None:
    wanted = {"scenes": [scene()], "size": 2, **options}
    with pytest.raises(InvalidInputError, match=said):
        ResidentRollout(model(), wanted.pop("scenes"), wanted.pop("size"), **wanted)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.zeros(2, SUBJECTS), "expected int64 actions of shape .2, 3. on cpu, but got torch.float32"),
        (torch.zeros(1, SUBJECTS, dtype=torch.long), "but got torch.int64 of shape .1, 3. on cpu"),
        (torch.full((2, SUBJECTS), 9), "actions are 0 .noop. to 8 .*, but they reach from 9 to 9"),
        (torch.full((2, SUBJECTS), -1), "but they reach from -1 to -1"),
    ],
)
def test_wrong_actions_are_refused_and_nothing_moves(wrong: Tensor, said: str) -> None:
    going, other = resident(2), resident(2)
    going.reset([1, 2])
    other.reset([1, 2])
    with pytest.raises(InvalidInputError, match=said):
        going.step(wrong)
    row = chosen(1, 2)[0]
    assert torch.equal(going.step(row).frames, other.step(row).frames)


def test_it_starts_with_reset_and_a_seed_for_each() -> None:
    going = resident(2)
    with pytest.raises(InvalidInputError, match="no episode is running; call reset first"):
        going.step(chosen(1, 2)[0])
    for wrong, said in (
        ([1, 2, 3], "one for each of the 2 worlds, but got 3"),
        (0.5, "seed must be"),
        (-1, "seed must"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            going.reset(wrong)  # type: ignore[arg-type]
    seeds: list[Any] = [np.int64(4), np.arange(4, 6)]
    numbered, listed = (going.reset(seed).clone() for seed in seeds)
    assert torch.equal(numbered, listed)
    assert going.reset().shape == numbered.shape
