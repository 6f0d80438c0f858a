"""The loop: exact resume, interruption, non-finite values, run folders, and that it learns."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.samples import CPU, QUICK, TINY, arena_clips, play, trainer
from torch import Tensor

from actionparty.checkpoints import read_json
from actionparty.config import RolloutConfig, TrainConfig
from actionparty.data.clips import Clips, WorldClips
from actionparty.engines.halved import native_bf16
from actionparty.errors import CheckpointError, DatasetError, InvalidInputError, UnknownNameError
from actionparty.model.network import Network
from actionparty.training.checkpoint import load_network, load_tensors
from actionparty.training.failures import LostProcessError, NonFiniteError, OutOfMemoryError
from actionparty.training.log import CURVES, PARTS, Progress, TrainingLog
from actionparty.training.lots import StepNoise
from actionparty.training.objective import Objective, subjects_of
from actionparty.training.run import start_run
from actionparty.training.sampling import sample_step
from actionparty.training.trainer import Trainer, batch_generator

BF16 = pytest.mark.skipif(not native_bf16(CPU), reason="this processor does not compute in bfloat16")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are quicker on one processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def interrupt_at(frames: int) -> Callable[[Progress], None]:
    """Return a watcher that presses Ctrl-C after ``frames``."""

    def watch(progress: Progress) -> None:
        if progress.frames >= frames:
            signal.raise_signal(signal.SIGINT)

    return watch


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the log without its clock."""
    with (folder / "log.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k} for row in found]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that differ."""
    assert set(a) == set(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("bf16", ["off", pytest.param("on", marks=BF16)])
@pytest.mark.parametrize("unroll", [0.0, 0.5])
def test_two_and_two_steps_equal_four_bit_for_bit(tmp_path: Path, bf16: str, unroll: float) -> None:
    config = replace(QUICK, bf16=bf16, unroll=unroll)
    whole = trainer(tmp_path / "whole", config)
    whole.run(log_every=1)
    first = trainer(tmp_path / "halves", config)
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt_at(8), log_every=1)
    second = trainer(tmp_path / "halves", replace(config, seed=config.seed))
    assert second.resume()
    assert (second.frames, second.steps) == (8, 2)
    second.run(log_every=1)
    assert second.bf16 == (bf16 == "on")
    assert same(whole.network.state_dict(), second.network.state_dict()) == []
    assert same(whole.average.weights, second.average.weights) == []
    assert same(whole.optimizer.tensors(), second.optimizer.tensors()) == []
    assert rows(tmp_path / "whole") == rows(tmp_path / "halves")
    assert [row["frames"] for row in rows(tmp_path / "whole")] == ["4", "8", "12", "16"]
    saved = [load_tensors(tmp_path / name / "weights" / "model.safetensors") for name in ("whole", "halves")]
    assert same(*saved) == []


def test_another_seed_learns_something_else(tmp_path: Path) -> None:
    runs = [trainer(tmp_path / str(seed), replace(QUICK, frames=4, seed=seed)) for seed in (0, 1)]
    for run in runs:
        run.run()
    assert same(runs[0].network.state_dict(), runs[1].network.state_dict())


def test_every_batch_has_its_own_generator() -> None:
    places = [(seed, frames, batch) for seed in range(4) for frames in range(0, 40, 4) for batch in range(8)]
    draws = {float(torch.rand((), generator=batch_generator(*place, CPU))) for place in places}
    assert len(draws) == len(places)


def test_the_first_batch_of_a_step_is_drawn_as_it_was_before_steps_had_several() -> None:
    assert batch_generator(3, 64, 0, CPU).initial_seed() == 3 * 1_000_003 + 64 * 7919 + 12345


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_never_leaves_half_a_step_on_disk(tmp_path: Path, presses: int) -> None:
    run = trainer(tmp_path, replace(QUICK, checkpoint_seconds=0))
    update, calls = run.optimizer.parts["muon"].step, []

    def interrupted() -> None:
        update()
        calls.append(run.frames)
        if len(calls) == 3:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

    run.optimizer.parts["muon"].step = interrupted  # type: ignore[assignment, method-assign]
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert signal.getsignal(signal.SIGINT) == before
    other = trainer(tmp_path)
    assert other.resume()
    assert other.frames == {1: 12, 2: 8}[presses], "the first lets the step end, the second stops at once"
    other.run()
    uninterrupted = trainer(tmp_path / "other")
    uninterrupted.run()
    assert same(other.network.state_dict(), uninterrupted.network.state_dict()) == []


def test_the_wish_of_another_program_to_end_is_heard_between_steps(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    update, before = run.optimizer.parts["muon"].step, signal.getsignal(signal.SIGTERM)

    def interrupted() -> None:
        update()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)

    run.optimizer.parts["muon"].step = interrupted  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_json(tmp_path / "state.json")["progress"]["frames"] == 4


def test_a_run_may_start_from_other_weights(tmp_path: Path) -> None:
    first = trainer(tmp_path / "first")
    first.run()
    grown = start_run(tmp_path / "grown", replace(TINY, update_layers=2), QUICK, worlds_of_two(), init=weights(first))
    fresh = [name for name in grown.network.state_dict() if name.startswith("update.blocks.1.")]
    assert fresh
    saved = load_tensors(weights(first) / "model.safetensors")
    for name, value in grown.network.state_dict().items():
        assert name in fresh or torch.equal(value.cpu(), saved[name].float()), name
        assert torch.equal(grown.average.weights[name], value)
    assert grown.frames == 0
    with pytest.raises(CheckpointError, match=r"shape"):
        start_run(tmp_path / "wide", replace(TINY, width=64), QUICK, worlds_of_two(), init=weights(first))
    assert not (tmp_path / "wide").exists()


def weights(run: Trainer) -> Path:
    return run.folder / "weights"


def worlds_of_two() -> dict[str, WorldClips]:
    return trainer(Path()).worlds


class Broken(Objective):
    """An objective that spoils its loss from the third call on."""

    def __init__(self, config: TrainConfig, spoil: Callable[[Tensor, Network], Tensor]) -> None:
        super().__init__(config)
        self.calls, self.spoil = 0, spoil

    def __call__(
        self, network: Network, world: WorldClips, clips: Clips, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = super().__call__(network, world, clips, generator)
        self.calls += 1
        return (self.spoil(loss, network) if self.calls > 2 else loss), parts


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("loss became nan", lambda loss, _: loss * float("nan")),
        ("loss became inf", lambda loss, _: loss + float("inf")),
        ("gradient became nan", lambda loss, net: loss + (net.heads.end.weight * 0).sqrt().sum()),
    ],
)
def test_non_finite_values_stop_the_run_and_are_never_saved(
    tmp_path: Path, what: str, spoil: Callable[[Tensor, Network], Tensor]
) -> None:
    run = trainer(tmp_path, replace(QUICK, checkpoint_seconds=0))
    run.learner.objective = Broken(QUICK, spoil)
    with pytest.raises(NonFiniteError, match=f"{what} on arena.* after 8 frames"):
        run.run()
    other = trainer(tmp_path)
    assert other.resume()
    assert other.frames == 8
    assert all(v.isfinite().all() for v in other.network.state_dict().values())
    assert all(v.isfinite().all() for v in load_network(tmp_path / "weights").state_dict().values())


def full_cpu() -> Tensor:
    return torch.empty(2**60, dtype=torch.uint8)


def full_gpu() -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def lost_peer() -> Tensor:
    raise RuntimeError("[.../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234")


def bug() -> Tensor:
    return torch.zeros(2) + torch.zeros(3)


@pytest.mark.parametrize(
    ("cause", "error", "words"),
    [
        (full_cpu, OutOfMemoryError, r"Lower --batch \(now 4\), or --batch-tokens \(now no limit\).*--size"),
        (full_gpu, OutOfMemoryError, r"Lower --batch"),
        (lost_peer, LostProcessError, r"--resume"),
        (bug, RuntimeError, r"size of tensor"),
    ],
)
def test_what_a_user_can_mend_is_said_and_bugs_stay_bugs(
    tmp_path: Path, cause: Callable[[], Tensor], error: type[Exception], words: str
) -> None:
    run = trainer(tmp_path)
    run.learner.objective = Broken(QUICK, lambda loss, _: loss + cause().sum())
    with pytest.raises(error, match=words) as caught:
        run.run()
    assert type(caught.value) is error


LONG = replace(QUICK, frames=24, checkpoint_seconds=0)
SCRIPT = """
import sys, time
from pathlib import Path
import torch
sys.modules["matplotlib"] = None  # nothing draws curves, which takes long
from tests.training.samples import trainer
from tests.training.test_trainer import LONG
torch.set_num_threads(int(sys.argv[2]))
trainer(Path(sys.argv[1]), LONG).run(lambda progress: time.sleep(0.5), log_every=1)
"""


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    root = Path(__file__).resolve().parents[2]
    code = f"import sys; sys.path[:0] = {[str(root), str(root / 'src')]!r}\n{SCRIPT}"
    command = [sys.executable, "-c", code, str(folder), str(torch.get_num_threads())]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 240
        while not (folder / "state.json").exists() or read_json(folder / "state.json")["progress"]["frames"] < 8:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    run = trainer(folder, LONG)
    assert run.resume()
    assert 8 <= run.frames < LONG.frames
    run.run(log_every=1)
    whole = trainer(tmp_path / "whole", LONG)
    whole.run(log_every=1)
    assert same(whole.network.state_dict(), run.network.state_dict()) == []
    assert rows(folder) == rows(tmp_path / "whole")


def test_worlds_of_different_sizes_are_learned_in_one_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(QUICK, frames=48))
    names = watch_worlds(run)
    found: set[str] = set()
    while run.frames < 48:
        parts = run.step()
        found |= set(parts)
        assert all(torch.tensor(value).isfinite() for value in parts.values())
    assert found == set(CURVES)
    assert set(names) == {"arena", "arena_large"}
    assert run.model.worlds == ("arena", "arena_large")


def watch_worlds(run: Trainer) -> list[str]:
    """Return a list that grows by the world of each batch that ``run`` learns from."""
    names: list[str] = []

    class Watched(Objective):
        def __call__(self, network: Network, world: WorldClips, *rest: Any) -> tuple[Tensor, dict[str, Tensor]]:
            names.append(world.spec.name)
            return super().__call__(network, world, *rest)

    run.learner.objective = Watched(run.config)
    return names


def test_a_step_can_be_the_mean_over_several_worlds(tmp_path: Path) -> None:
    config = replace(QUICK, worlds_per_step=4, clip_norm=1e9)
    run = trainer(tmp_path / "whole", config)
    names = watch_worlds(run)
    losses = run.step()
    assert run.frames == 4 * 4
    assert set(names) == {"arena", "arena_large"}
    grads, single = [], []
    for batch in range(4):
        other = trainer(tmp_path / str(batch), config)
        row = torch.zeros(len(CURVES) + 2, dtype=torch.float64)
        other._learn(batch, row)
        single.append(float(row[2 + CURVES.index("loss")]))
        grads.append({name: torch.zeros(()) if p.grad is None else p.grad for name, p in named(other)})
    assert len(set(single)) == 4, "each batch is another one"
    assert losses["loss"] == pytest.approx(sum(single) / 4)
    for name, parameter in named(run):
        mean = sum(grad[name] for grad in grads)
        assert parameter.grad is not None or not torch.as_tensor(mean).any(), name
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, mean, rtol=1e-4, atol=1e-6)


def named(run: Trainer) -> list[tuple[str, torch.nn.Parameter]]:
    return list(run.network.named_parameters())


def test_small_worlds_can_be_drawn_more_often(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(QUICK, sample_power=1.0))
    assert float(run.odds[0] / run.odds[1]) == pytest.approx((63 + 3) / (42 + 2))


def test_hard_worlds_can_be_drawn_more_often(tmp_path: Path) -> None:
    plain = trainer(tmp_path).odds
    names = list(trainer(tmp_path).worlds)
    run = trainer(tmp_path, replace(QUICK, world_odds={names[1]: 3.0}))
    assert torch.allclose(run.odds, plain * torch.tensor([1.0, 3.0]))
    with pytest.raises(UnknownNameError, match="clean_up"):
        trainer(tmp_path, replace(QUICK, world_odds={"clean_up": 2.0}))
    with pytest.raises(InvalidInputError, match="no world"):
        trainer(tmp_path, replace(QUICK, world_odds=dict.fromkeys(names, 0.0)))
    with pytest.raises(InvalidInputError, match="world_odds"):
        replace(QUICK, world_odds={names[0]: -1.0})


@pytest.mark.parametrize("context_noise", [0.0, 0.1])
def test_unrolled_training_replaces_the_last_context_frame_only(context_noise: float) -> None:
    world = arena_clips()
    clips = world.at(world.targets[[0, 5, 9, 20]], TINY.context, TINY.memory)
    objective = Objective(replace(QUICK, unroll=1.0, corrupt=0.0, context_noise=context_noise))
    torch.manual_seed(0)
    network = Network(TINY)
    torch.nn.init.normal_(network.render.pixels.weight, 0, 0.1)
    index = torch.zeros(4, dtype=torch.long)
    inputs = objective.inputs(network, world, clips, index, torch.Generator().manual_seed(0))
    recorded = world.tiles[clips.context]
    assert torch.equal(inputs.context[:, :-1], recorded[:, :-1])
    assert torch.equal(inputs.context[0], recorded[0]), "nothing comes before the first row"
    assert not torch.equal(inputs.context[1:, -1], recorded[1:, -1])
    assert torch.equal(inputs.subjects.position, clips.position)
    loss, _ = objective(network, world, clips, torch.Generator().manual_seed(0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_weights_say_where_they_come_from(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.run()
    about = read_json(tmp_path / "weights" / "config.json")["about"]
    assert about["frames"] == 16
    assert about["parameters"] == run.network.parameters_count
    assert about["worlds"]["arena_large"] == {
        "subjects": 3,
        "grid": [7, 9],
        "actions": list(run.worlds["arena"].spec.actions),
        "recorded_frames": 30,
    }
    assert set(rows(tmp_path)[0]) == {"frames", "rate", *CURVES}


@pytest.mark.usefixtures("curves")
def test_every_curve_is_drawn_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn: list[dict[str, int]] = []
    save = figure.Figure.savefig

    def watched(self: Any, *arguments: object, **options: object) -> None:
        drawn.append({axis.get_title(): len(axis.lines[0].get_xdata()) for axis in self.axes})
        save(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", watched)
    trainer(tmp_path).run(log_every=2)
    found = rows(tmp_path)
    assert [row["frames"] for row in found] == ["8", "16"]
    assert drawn == [{name: sum(row[name] != "" for row in found) for name in CURVES}]
    assert all(row[name] for row in found for name in PARTS)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_without_some_curve_can_be_continued(tmp_path: Path) -> None:
    whole = TrainingLog(tmp_path / "log.csv", 0)
    for frames in (4, 8):
        whole.write(1.0, Progress(frames, 16, 4.0, dict.fromkeys(CURVES, 0.5), 0.1))
    with (tmp_path / "log.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    older = [{k: v for k, v in row.items() if k != "return"} for row in kept]
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, older[0])
        writer.writeheader()
        writer.writerows(older)
    TrainingLog(tmp_path / "log.csv", 4).write(2.0, Progress(8, 16, 4.0, dict.fromkeys(CURVES, 0.25), 0.1))
    assert [(row["frames"], row["return"], row["loss"]) for row in rows(tmp_path)] == [
        ("4", "", "0.5"),
        ("8", "0.25", "0.25"),
    ]


def worlds() -> dict[str, WorldClips]:
    return {"arena": arena_clips()}


def test_a_run_folder_says_how_to_repeat_it_and_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    start_run(folder, TINY, QUICK, worlds()).run()
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    recipe = json.loads(before["run.json"])
    assert recipe["train"]["frames"] == QUICK.frames
    assert recipe["model"]["worlds"] == ["arena"]
    with pytest.raises(InvalidInputError, match=r"--resume"):
        start_run(folder, TINY, QUICK, worlds())
    with pytest.raises(CheckpointError, match=r"another model"):
        start_run(folder, replace(TINY, update_layers=2), QUICK, worlds(), resume=True)
    with pytest.raises(CheckpointError, match=r"trained on arena"):
        start_run(folder, TINY, QUICK, {"other": arena_clips()}, resume=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    resumed = start_run(folder, TINY, QUICK, worlds(), resume=True)
    assert resumed.frames == 16
    assert [c["from_frames"] for c in read_json(folder / "run.json")["commands"]] == [0, 16]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InvalidInputError, match=r"not a training run"):
            start_run(tmp_path, TINY, QUICK, worlds(), resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_recipe_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"which model"):
        start_run(tmp_path, TINY, QUICK, worlds(), resume=True)


def test_nothing_to_train_on_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no worlds"):
        Trainer(tmp_path, TINY, QUICK, {}, CPU)


def accuracy(network: Network, world: WorldClips) -> tuple[float, float]:
    """Return how often the next state of a subject that changes is right, and the pixel error of changed cells."""
    clips = world.at(world.targets, TINY.context, TINY.memory)
    b = len(clips.rows)
    noise = StepNoise.of(torch.arange(b), torch.zeros(b, dtype=torch.long))
    context = world.tiles[clips.context]
    index = torch.full((b,), network.world_index(world.spec.name))
    settings = RolloutConfig(update_steps=1)
    with torch.no_grad():
        step = sample_step(network, context, subjects_of(clips, world.tiles), world.spec.grid, index, noise, settings)
    right = (step.position == clips.next_position).all(-1) & (step.facing == clips.next_facing)
    moved = (clips.next_position != clips.position[:, -1]).any(-1) | (clips.next_facing != clips.facing[:, -1])
    changed = clips.context[:, -1] != clips.target
    error = (step.pixels - world.tiles[clips.target])[changed].abs().mean()
    still = (context[:, -1] - world.tiles[clips.target])[changed].abs().mean()
    return float(right[moved].float().mean()), float(error / still)


LAYOUT = """
    #####
    #>..#
    #..v#
    #...#
    #####
"""
COINS = """
    #######
    #>.o.v#
    #.o.o.#
    #^.o.<#
    #######
"""
STEPS = 280


def test_a_tiny_model_learns_a_tiny_world(tmp_path: Path) -> None:
    world = WorldClips(play(120, seed, layout=LAYOUT) for seed in range(3))
    config = TrainConfig(frames=STEPS * 64, batch=64, warmup_frames=1280, bf16="off", render_cells=8, corrupt=0.0)
    run = Trainer(tmp_path, replace(TINY, memory=2), config, {"arena": world}, CPU)
    run.run()
    state, pixels = accuracy(run.network, world)
    assert state > 0.6, "where nothing moves this is 0"
    assert pixels < 0.6, "where nothing changes this is 1"


def test_the_heads_can_be_trained_alone_and_learn_who_is_paid(tmp_path: Path) -> None:
    world = WorldClips(play(120, seed, layout=COINS) for seed in range(3))
    config = TrainConfig(
        frames=150 * 32,
        batch=32,
        bf16="off",
        render_cells=8,
        corrupt=0.0,
        learn="heads",
        rare_share=0.5,
        reward_weight=1.0,
    )
    run = Trainer(tmp_path, replace(TINY, memory=2), config, {"arena": world}, CPU)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    first = float(np.mean([run.step()["reward"] for _ in range(20)]))
    run.run()
    last = float(np.mean([run.step()["reward"] for _ in range(20)]))
    changed = {name.split(".")[0] for name, value in run.network.state_dict().items() if not value.equal(before[name])}
    assert changed == {"heads"}
    assert last < 0.7 * first
    assert run.average.weights["render.pixels.weight"].equal(before["render.pixels.weight"])
