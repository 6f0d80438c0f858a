"""The recipe for a GPU, run end to end without one: stop at the limit, go on, bring back; no outcome needs a clock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from actionparty.checkpoints import about, read_json
from actionparty.config import TrainConfig, from_json
from actionparty.data.dataset import load_episodes
from actionparty.data.packed import write_packed
from actionparty.data.recording import record
from actionparty.data.tables import WorldTable
from actionparty.training.checkpoint import load_network

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks" / "gpu"
CONFIGS = ROOT / "benchmarks" / "configs"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the scripts are for Linux: bash, GNU timeout and split"
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    record(["arena"], 120, 0, 1, folder / "set")
    write_packed([WorldTable.of(load_episodes(folder / "set"))], folder / "packed")
    (folder / "recipe.json").write_text(json.dumps({"train": {"frames": 10_000_000, "batch": 4, "chance_rows": 0}}))
    heads = {"learn": "heads", "frames": 8, "batch": 4, "chance_rows": 12}
    (folder / "heads.json").write_text(json.dumps({"train": heads}))
    return folder / "packed"


def train(packed: Path, tmp_path: Path, *given: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {
        "DATA": str(packed),
        "CONFIG": str(packed.with_name("recipe.json")),
        "HEADS": str(packed.with_name("heads.json")),
        "BENCH": "",
        "OUT": str(tmp_path / "out"),
        "WHEELS": str(tmp_path / "no-wheels"),
        "SITE": str(tmp_path / "site"),
        "PYTHON": sys.executable,
        "RESERVE": "120",
    }
    command = [str(SCRIPTS / "train.sh"), *given]
    return subprocess.run(command, env=os.environ | own | environment, capture_output=True, text=True, check=False)


def unpack(folder: Path, name: str, out: Path) -> Path:
    parts = sorted(folder.glob(f"{name}.tar.gz.*"))
    assert parts
    out.mkdir(exist_ok=True)
    archive = b"".join(part.read_bytes() for part in parts)
    subprocess.run(["tar", "-xz", "-C", str(out)], input=archive, check=True)
    return out


def saved(run: Path) -> int:
    return int(read_json(run / "state.json")["progress"]["frames"])


def stopped(packed: Path, tmp_path: Path) -> Path:
    """Train until 120 seconds before a limit; on a slow machine the first limits may come before the first step."""
    for limit in (130, 145, 180, 400):
        ended = train(packed, tmp_path, str(limit), str(tmp_path / "run"), "--size", "tiny")
        if not ended.returncode:
            assert "call again to go on" in ended.stdout
            return tmp_path / "run"
        too_short = any(words in ended.stderr for words in ("no weights yet", "nothing is left"))
        assert too_short, ended.stderr
    raise AssertionError("not one step in 280 s")


def test_shipped_weights_are_measured_by_engine_and_batch_and_what_cannot_run_is_said(tmp_path: Path) -> None:
    own = {"OUT": str(tmp_path), "PYTHON": sys.executable, "DEVICE": "cpu", "CHECKPOINT": "starter"}
    asked = {"WORLDS": "collaborative_cooking__circuit", "ENGINES": "torch nonsense", "BATCHES": "2"}
    command = [str(SCRIPTS / "bench.sh"), "300", "--steps", "2", "--threads", "1"]
    ended = subprocess.run(command, env=os.environ | own | asked, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 measured" in ended.stdout
    (file,) = tmp_path.iterdir()
    assert file.name == "bench-collaborative_cooking__circuit-torch-2.json"
    found = read_json(file)
    assert (found["engine"], found["batch"], found["subjects"]) == ("torch", 2, 2)
    assert found["fps_batched"] > 0
    assert "circuit-nonsense-2.json is not measured" in ended.stderr
    assert subprocess.run([str(SCRIPTS / "bench.sh"), "soon"], capture_output=True, check=False).returncode == 2


@pytest.mark.slow
def test_a_run_stops_at_the_limit_comes_back_and_goes_on_elsewhere(packed: Path, tmp_path: Path) -> None:
    before = stopped(packed, tmp_path)
    frames = saved(before)
    assert 0 < frames < 10_000_000
    out = tmp_path / "out"
    assert {path.name.split(".tar.gz.")[0] for path in out.iterdir()} - {"mfu.json"} == {"weights", "state"}

    moved = unpack(out, "state", unpack(out, "weights", tmp_path / "moved"))
    files = {path.relative_to(before) for path in before.rglob("*") if path.is_file()}
    assert {path.relative_to(moved) for path in moved.rglob("*") if path.is_file()} == files
    shutil.rmtree(before)

    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "matplotlib.py").write_text("raise ImportError")  # the curves were drawn once already
    path = str(tmp_path / "plain")
    ended = train(packed, tmp_path, "300", str(moved), "--frames", str(frames + 8), PYTHONPATH=path)
    assert ended.returncode == 0, ended.stderr
    assert "finished" in ended.stdout
    assert frames < saved(moved) <= frames + 8
    assert [run["from_frames"] for run in read_json(moved / "run.json")["commands"]] == [0, frames]
    last = unpack(out, "weights", tmp_path / "last")
    assert not (last / "weights").exists(), "the weights of the last stage are enough"
    assert (last / "finished").exists()
    heads = load_network(last / "heads" / "weights")
    assert heads.config.worlds == ("arena",)
    assert set(heads.chances) == {"arena"}
    before = about(last / "heads" / "weights")["ancestry"]
    assert ([run["frames"] for run in before["runs"]], before["whole"]) == ([saved(moved)], True)
    body = load_network(moved / "weights").state_dict()
    moved_weights = {name for name, value in heads.state_dict().items() if not value.equal(body[name])}
    assert moved_weights
    assert all(name.startswith("heads.") for name in moved_weights)
    used: dict[str, Any] = json.loads((out / "mfu.json").read_text())
    assert 0 < used["mfu"] < 1
    assert used["gflop_per_frame"] > 0


def test_what_does_not_fit_stays_and_the_weights_come_first(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "weights").mkdir(parents=True)
    (run / "weights" / "model.safetensors").write_bytes(os.urandom(20 << 20))
    (run / "state-1.safetensors").write_bytes(os.urandom(45 << 20))
    done = subprocess.run([SCRIPTS / "send.sh", run, out], capture_output=True, text=True, check=True)
    assert "the state" in done.stderr
    assert "stays in" in done.stderr
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert sorted(sizes) == ["weights.tar.gz.000", "weights.tar.gz.001"]
    assert max(sizes.values()) <= 16 << 20
    back = unpack(out, "weights", tmp_path / "back") / "weights" / "model.safetensors"
    assert back.read_bytes() == (run / "weights" / "model.safetensors").read_bytes()


def test_a_run_without_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = subprocess.run([SCRIPTS / "send.sh", tmp_path / "run", tmp_path / "out"], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"no weights yet" in done.stderr


def test_wheels_are_installed_beside_the_machines_own_packages(packed: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    about = "probe-1.0.dist-info"
    with zipfile.ZipFile(wheels / "probe-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("probe.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    done = train(packed, tmp_path, "1", str(tmp_path / "run"), WHEELS=str(wheels))
    assert done.returncode == 2, "one second is too short"
    assert "nothing is left" in done.stderr
    assert "torch" in done.stdout
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"probe.py", about, ".wheels"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [(), ("60",), ("soon", "run"), ("0", "run")])
def test_wrong_arguments_end_with_usage(packed: Path, tmp_path: Path, given: tuple[str, ...]) -> None:
    done = train(packed, tmp_path, *given)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_missing_data_is_said(tmp_path: Path) -> None:
    done = train(tmp_path / "nowhere", tmp_path, "60", "run")
    assert done.returncode == 2
    assert "prepare.sh" in done.stderr


def test_packed_data_need_neither_arrow_nor_pillow(packed: Path) -> None:
    code = (
        "import sys, pathlib\nsys.modules['pyarrow'] = sys.modules['PIL'] = None\n"
        "import actionparty.interfaces.cli\nfrom actionparty.interfaces.commands_train import training_clips\n"
        f"print(len(training_clips([pathlib.Path({str(packed)!r})], None)['arena']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_the_gpu_recipe_has_the_loss_settings_of_the_one_in_use() -> None:
    gpu, cpu = (read_json(CONFIGS / f"all-worlds-{kind}.json")["train"] for kind in ("gpu", "cpu"))
    sizes = {"frames", "batch", "batch_tokens", "warmup_frames", "learning_rate", "muon_rate", "decay_share"}
    assert set(cpu) <= set(gpu)
    assert {key for key in cpu if cpu[key] != gpu[key]} <= sizes | {"checkpoint_seconds"}
    assert gpu["chance_rows"] == 0, "the heads, which come after it, fit the chances"


@pytest.mark.parametrize("name", ["all-worlds-cpu", "all-worlds-gpu", "all-worlds-heads"])
def test_the_recipes_are_valid(name: str) -> None:
    recipe = read_json(CONFIGS / f"{name}.json")
    assert from_json(TrainConfig, recipe["train"]).batch_tokens > 0
    assert ("UNTESTED" in recipe["about"]) == name.endswith("gpu")
