"""Several processes learn what one learns, to 1e-6; they save, resume and end together. Gloo, on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.ports import free_port
from tests.training.samples import PAIR, TINY, trainer
from torch import Tensor

from actionparty.checkpoints import read_json
from actionparty.data.recording import record
from actionparty.errors import InvalidInputError
from actionparty.interfaces.commands_train import training_clips
from actionparty.training.checkpoint import load_tensors
from actionparty.training.log import Progress
from actionparty.training.processes import Processes, joined
from actionparty.training.run import start_run

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
sys.modules["matplotlib"] = None  # nothing draws curves, which takes long
from tests.training.samples import PAIR, trainer
from actionparty.errors import ActionPartyError
from actionparty.training.log import Progress
from actionparty.training.processes import joined
torch.set_num_threads(1)
"""
LEARN = """
def learn(processes, folder, worlds_per_step, until):
    run = trainer(Path(folder), replace(PAIR, worlds_per_step=worlds_per_step), processes=processes)
    run.resume()
    run.check_same()
    def stop(progress):
        if progress.frames >= until:
            signal.raise_signal(signal.SIGINT)
    try:
        run.run(stop, log_every=1)
    except KeyboardInterrupt:
        print("stopped at", run.frames)

def learn_all(processes, folder):
    for name, worlds_per_step, until in (("whole", 2, 1000), ("four", 4, 16), ("first", 2, 16), ("second", 2, 1000)):
        learn(processes, f"{folder}/{name}", worlds_per_step, until)
"""
TROUBLE = """
def trouble(processes, folder, what):
    run = trainer(Path(folder), replace(PAIR, checkpoint_seconds=0), processes=processes)
    step = run.step
    def troubled():
        if processes.rank == 1 and run.frames == 8:
            what(run)
        return step()
    run.step = troubled
    try:
        run.run(lambda progress: print("watched by", processes.rank))
    except KeyboardInterrupt:
        print("stopped at", run.frames)
    except ActionPartyError as error:
        print(type(error).__name__, error)

def spoil(run):
    run.network.heads.end.weight.data[0, 0] = float("nan")

def asked_to_end(processes, folder):
    trouble(processes, f"{folder}/asked", lambda run: os.kill(os.getpid(), signal.SIGTERM))

def not_finite(processes, folder):
    trouble(processes, f"{folder}/not-finite", spoil)
"""
LOSE = """
with joined() as processes:
    trouble(processes, sys.argv[1], lambda run: os.kill(os.getpid(), signal.SIGKILL))
"""
AGREE = """
def tried(action):
    try:
        print("fine", action())
    except ActionPartyError as error:
        print(type(error).__name__, error)

def fail():
    print("acting")
    raise ActionPartyError("the disk is full")

def agree(processes, folder):
    rank = processes.rank
    tried(lambda: processes.agree(rank == 1, False))
    tried(lambda: processes.main_only(fail))
    tried(lambda: processes.check_same({"frames": 8, "seed": 3}))
    tried(lambda: processes.check_same({"frames": 8 * rank, "seed": 3}))
"""
PILE = """
class Sometimes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.rarely, self.never = (torch.nn.Parameter(torch.ones(())) for _ in range(3))

    def forward(self, batch):
        return self.always * batch + (self.rarely * 8 if batch == 1 else 0)

def pile(processes, folder):
    module = Sometimes()
    parallel = processes.parallel(module)
    first, last = processes.share(4)
    with processes.alone(parallel):
        (parallel(first) / 2).backward()
    (parallel(last) / 2).backward()
    print("gradients", [None if p.grad is None else p.grad.item() for p in module.parameters()])
"""
EVERYTHING = f"""
{LEARN}{TROUBLE}{AGREE}{PILE}
with joined() as processes:
    for part in (agree, pile, learn_all, asked_to_end, not_finite):
        print("==", part.__name__)
        part(processes, sys.argv[1])
"""
"""In one group, for the processes take longer to start than to do all of it."""


def child(rank: int, count: int, port: int, code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start one process as torchrun would."""
    torchrun = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    calm = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    environment = {**os.environ, **calm, **{name: str(value) for name, value in torchrun.items()}}
    command = [sys.executable, "-c", START + code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def together(code: str, *arguments: object, count: int = 2) -> list[tuple[int, str]]:
    """Run ``code`` in ``count`` processes of one group; return exit code and output of each."""
    port = free_port()
    children = [child(rank, count, port, code, *arguments) for rank in range(count)]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in children]
    finally:
        for process in children:
            process.kill()
    return [(process.returncode, output) for process, output in zip(children, outputs, strict=True)]


def state(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / read_json(folder / "state.json")["tensors"])


def losses(folder: Path) -> list[list[float]]:
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()[1:]]
    return [[float(cell or "nan") for cell in row[:1] + row[3:]] for row in rows]


def alone(folder: Path, worlds_per_step: int = 2, frames: int = 1000) -> Path:
    """Train with one process, to the end or until ``frames``; continue what is in ``folder``."""

    def stop(progress: Progress) -> None:
        if progress.frames >= frames:
            signal.raise_signal(signal.SIGINT)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run = trainer(folder, replace(PAIR, worlds_per_step=worlds_per_step))
    run.resume()
    with pytest.raises(KeyboardInterrupt) if frames < 32 else nullcontext():
        run.run(stop, log_every=1)
    torch.set_num_threads(before)
    return folder


def assert_same_weights(one: Path, other: Path, part: str = "") -> None:
    a, b = state(one), state(other)
    assert set(a) == set(b)
    for name in (name for name in a if part in name):
        torch.testing.assert_close(b[name], a[name], rtol=1e-6, atol=1e-6)


def assert_same(one: Path, other: Path, part: str = "") -> None:
    """Compare network, average and optimiser (or a part of them), and all losses of the logs, to 1e-6."""
    assert_same_weights(one, other, part)
    torch.testing.assert_close(losses(other), losses(one), rtol=1e-6, atol=1e-6, equal_nan=True)


@dataclass(frozen=True)
class Pair:
    """What two processes left in a folder, and what each said in each part of ``EVERYTHING``."""

    folder: Path
    said: tuple[dict[str, str], ...]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pairs")
    alone(folder / "second", frames=16)
    done = together(EVERYTHING, folder)
    assert [code for code, _ in done] == [0, 0], done
    parts = [re.split(r"^== (\w+)\n", output, flags=re.M)[1:] for _, output in done]
    return Pair(folder, tuple(dict(zip(part[::2], part[1::2], strict=True)) for part in parts))


@pytest.fixture(scope="module")
def pairs(pair: Pair) -> Path:
    """Runs of two processes: a whole one, one step of four batches, the first half of one, the second half of one."""
    assert all("stopped at 16" in said["learn_all"] for said in pair.said), pair.said
    return pair.folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    return alone(tmp_path_factory.mktemp("alone"))


def test_two_processes_learn_what_one_learns(pairs: Path, whole: Path) -> None:
    assert_same(whole, pairs / "whole")
    assert len(losses(whole)) == 4


def test_two_processes_go_on_where_one_stopped(pairs: Path, whole: Path) -> None:
    assert_same(whole, pairs / "second")


def test_one_process_goes_on_where_two_stopped(pairs: Path, whole: Path) -> None:
    assert read_json(pairs / "first" / "state.json")["progress"]["frames"] == 16
    assert_same(whole, alone(pairs / "first"))


@pytest.mark.parametrize("part", ["momentum_buffer", "exp_avg"])
def test_gradients_that_pile_up_in_two_processes_are_those_of_one(pairs: Path, tmp_path: Path, part: str) -> None:
    """After one step the optimisers' averages hold nothing but the gradients, cut to their norm.

    The weights need not agree to 1e-6 here: more than two gradients are summed in another order, and Muon
    orthogonalises in bfloat16, which makes more of the last bit.
    """
    assert_same(alone(tmp_path, 4, 16), pairs / "four", part)


def test_one_process_that_is_asked_to_end_ends_all_after_saving(pair: Pair) -> None:
    said = [parts["asked_to_end"] for parts in pair.said]
    assert all("stopped at 16" in text for text in said), said
    assert read_json(pair.folder / "asked" / "state.json")["progress"]["frames"] == 16


def test_a_loss_that_is_not_finite_in_one_process_stops_all(pair: Pair) -> None:
    said = [parts["not_finite"] for parts in pair.said]
    assert all("NonFiniteError the loss became nan on arena" in text and "after 8 frames" in text for text in said), (
        said
    )
    assert all(value.isfinite().all() for value in state(pair.folder / "not-finite").values())
    assert read_json(pair.folder / "not-finite" / "state.json")["progress"]["frames"] == 8


def test_who_loses_another_process_says_how_to_go_on(tmp_path: Path) -> None:
    said = [output for _, output in together(TROUBLE + LOSE, tmp_path)]
    assert "LostProcessError" in said[0], said
    assert "--resume" in said[0]
    assert read_json(tmp_path / "state.json")["progress"]["frames"] == 8


def test_processes_agree(pair: Pair) -> None:
    said = [parts["agree"] for parts in pair.said]
    lines = [[line for line in text.splitlines() if line.startswith(("fine", "acting", "Act", "Inv"))] for text in said]
    assert lines[0].pop(1) == "acting"
    other = "InvalidInputError process 1 has other frames (8) than process 0 (0): all processes must be started with"
    assert lines[0] == lines[1]
    assert lines[0][:3] == ["fine [True, False]", "ActionPartyError the disk is full", "fine None"]
    assert lines[0][3].startswith(other)


def test_what_only_one_batch_uses_gets_its_gradient_everywhere_and_what_none_uses_gets_none(pair: Pair) -> None:
    for said in pair.said:
        assert "gradients [1.5, 2.0, None]" in said["pile"]


def test_batches_are_dealt_out_evenly() -> None:
    assert [[*Processes(rank, 3).share(6)] for rank in range(3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(InvalidInputError, match=r"multiple of 4, such as 8"):
        Processes(0, 4).share(6)
    with pytest.raises(InvalidInputError, match=r"--worlds-per-step to a multiple of 2, such as 2"):
        Processes(1, 2).share(1)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "0"}, r"WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not: .* with torchrun"),
        (
            {"RANK": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            r"must be whole numbers",
        ),
    ],
)
def test_half_an_environment_is_said_so(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match=words), joined():
        pass


def test_without_torchrun_a_process_is_alone() -> None:
    with joined() as processes:
        assert (processes.rank, processes.count, processes.main) == (0, 1, True)
        assert not torch.distributed.is_initialized()


def actionparty(*line: object) -> list[str]:
    return [sys.executable, "-m", "actionparty", *map(str, line)]


def saved(folder: Path) -> int:
    return int(read_json(folder / "state.json")["progress"]["frames"]) if (folder / "state.json").exists() else 0


@pytest.mark.slow
def test_torchrun_ends_when_a_worker_is_lost_and_the_run_goes_on_with_one_process(tmp_path: Path) -> None:
    data, folder, config = tmp_path / "data", tmp_path / "run", replace(PAIR, frames=160, checkpoint_seconds=0.0)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "matplotlib.py").write_text("raise ImportError")  # nothing draws curves, which takes long
    path = os.pathsep.join([str(ROOT / "src"), str(tmp_path / "plain")])
    calm = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "PYTHONPATH": path}
    record(["arena"], 100, 0, 1, data)
    start_run(folder, TINY, config, training_clips([data], None))
    train = actionparty("train", data, "--out", folder, "--resume", "--json")
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    with subprocess.Popen([sys.executable, *torchrun, *train[1:]], env=calm, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 240
        while saved(folder) < 16:
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(children.split()[-1]), signal.SIGKILL)
        said = run.communicate(timeout=240)[1]
    assert run.returncode == 1
    assert "exitcode  : -9" in said
    at = saved(folder)
    assert 16 <= at < 160
    done = subprocess.run(train, env=calm, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["frames"] == 160
    commands = read_json(folder / "run.json")["commands"]
    assert [(c["processes"], c["from_frames"]) for c in commands] == [(1, 0), (2, 0), (1, at)]
    whole = start_run(tmp_path / "whole", TINY, replace(config, checkpoint_seconds=1e9), training_clips([data], None))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole.run()
    torch.set_num_threads(before)
    assert_same_weights(whole.folder, folder)
