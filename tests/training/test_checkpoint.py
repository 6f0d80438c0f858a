from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.samples import QUICK, TINY

from actionparty.checkpoints import CONFIG, WEIGHTS, about, fingerprint
from actionparty.data.clips import to_pixels, to_unit
from actionparty.errors import CheckpointError
from actionparty.model.network import Network
from actionparty.model.palette import WorldTiles
from actionparty.training import checkpoint
from actionparty.training.checkpoint import (
    load_network,
    load_state,
    load_tensors,
    save_state,
    save_tensors,
    save_weights,
    start_from,
)
from actionparty.training.optim import MovingAverage, Optimizer

MODEL = replace(TINY, worlds=("arena",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_weights(tmp_path / "model", MODEL, Network(MODEL).state_dict(), {"frames": 12})
    return tmp_path / "model"


def test_weights_are_saved_in_bfloat16_and_loaded_again(folder: Path) -> None:
    torch.manual_seed(1)
    original = Network(MODEL).state_dict()
    assert {v.dtype for v in load_tensors(folder / WEIGHTS).values()} == {torch.bfloat16}
    network = load_network(folder)
    assert network.config == MODEL
    assert not network.training
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, original[name].bfloat16().float()), name
    assert about(folder) == {"frames": 12}


def test_known_tiles_come_with_the_weights_bit_for_bit(tmp_path: Path) -> None:
    tiles = torch.randint(0, 256, (5, 192), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = WorldTiles(to_unit(tiles), torch.tensor([[0, 3], [4, 1]]), torch.tensor([-1, 0, 1, 1, 2]))
    save_weights(tmp_path / "model", MODEL, Network(MODEL).state_dict(), {}, {"arena": seen})
    network = load_network(tmp_path / "model")
    assert list(network.palettes) == ["arena"]
    assert to_pixels(network.palettes["arena"].tiles).equal(tiles)
    assert network.palettes["arena"].changes.equal(seen.changes)
    assert network.palettes["arena"].looks.equal(seen.looks)
    assert start_from(Network(MODEL), tmp_path / "model") == []


def test_saving_again_replaces_the_weights_and_leaves_nothing_behind(folder: Path) -> None:
    before = fingerprint(folder)
    torch.manual_seed(2)
    save_weights(folder, MODEL, Network(MODEL).state_dict(), {})
    assert fingerprint(folder) != before
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]


def rejected(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_network(folder)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_a_file_that_is_not_safetensors_is_rejected(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"PK\x03\x04 a pickle in a zip" * 10)
    assert "not a readable safetensors file" in rejected(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_rejected(folder: Path, share: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    assert "not a readable safetensors file" in rejected(folder)


def test_a_folder_in_place_of_the_weights_is_rejected(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "no such file" in rejected(folder)
    (folder / WEIGHTS).mkdir()
    rejected(folder)


def test_tensors_of_another_shape_are_rejected_by_name(folder: Path) -> None:
    tensors = load_tensors(folder / WEIGHTS)
    tensors["update.out.weight"] = tensors["update.out.weight"][:3].contiguous()
    save_tensors(folder / WEIGHTS, tensors)
    assert "update.out.weight has shape (3, 32), but the model needs (8, 32)" in rejected(folder)


def test_missing_and_unexpected_tensors_are_named(folder: Path) -> None:
    tensors = load_tensors(folder / WEIGHTS)
    tensors["surplus"] = tensors.pop("update.out.weight")
    save_tensors(folder / WEIGHTS, tensors)
    text = rejected(folder)
    assert "missing ['update.out.weight']" in text
    assert "unexpected ['surplus']" in text


def test_a_missing_or_damaged_configuration_is_rejected(folder: Path) -> None:
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text[: len(text) // 2])
    assert "cannot be read" in rejected(folder)
    (folder / CONFIG).write_text("[1]")
    assert "expected a JSON object" in rejected(folder)
    (folder / CONFIG).write_bytes(b"\xff\xfe")
    rejected(folder)
    (folder / CONFIG).unlink()
    assert "cannot be read" in rejected(folder)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format", 99, "format 99, but this version reads 1"),
        ("model", {"width": 32, "depth": 3}, "ModelConfig setting 'depth'"),
        ("model", {"width": "wide"}, "wrong type"),
        ("model", {"head_width": 0}, "head_width must be at least 1"),
        ("model", [], "wrong type"),
        ("model", None, "not a model configuration"),
    ],
)
def test_a_configuration_of_another_version_or_meaning_is_rejected(
    folder: Path, key: str, value: object, expected: str
) -> None:
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | {key: value}))
    assert expected in rejected(folder)


def test_a_full_disk_leaves_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"disk full"):
        save_weights(folder, MODEL, Network(MODEL).state_dict(), {})
    assert fingerprint(folder) == before
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]


Parts = tuple[Network, Optimizer, MovingAverage]


def parts(seed: int, config: object = MODEL) -> Parts:
    torch.manual_seed(seed)
    network = Network(MODEL if config is MODEL else replace(MODEL, width=64))
    return network, Optimizer(network, QUICK), MovingAverage(network, 0.9)


def test_a_training_state_is_restored_and_the_old_one_removed(tmp_path: Path) -> None:
    network, optimizer, average = parts(0)
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step(1e-3)
    for frames in (4, 8):
        save_state(tmp_path, network, optimizer, average, {"frames": frames})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state-8.safetensors", "state.json"]
    other = parts(1)
    assert load_state(tmp_path, *other) == {"frames": 8}
    for name, value in network.state_dict().items():
        assert torch.equal(other[0].state_dict()[name], value)
        assert torch.equal(other[2].weights[name], average.weights[name])
    for name, value in optimizer.tensors().items():
        assert torch.equal(other[1].tensors()[name], value), name


def test_a_crash_before_the_json_leaves_the_state_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parts(0)
    save_state(tmp_path, *first, {"frames": 4})
    with monkeypatch.context() as patched:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(checkpoint, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, *parts(1), {"frames": 8})
    other = parts(2)
    assert load_state(tmp_path, *other) == {"frames": 4}
    assert torch.equal(other[0].heads.end.weight, first[0].heads.end.weight)


def test_a_state_of_another_model_format_or_kind_is_rejected(tmp_path: Path) -> None:
    save_state(tmp_path, *parts(0), {"frames": 4})
    with pytest.raises(CheckpointError, match=r"has shape"):
        load_state(tmp_path, *parts(0, config=None))
    values = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(values | {"format": 0}))
    with pytest.raises(CheckpointError, match=r"format 0, expected 1"):
        load_state(tmp_path, *parts(0))
    (tmp_path / "state.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(CheckpointError, match=r"not a training state"):
        load_state(tmp_path, *parts(0))


def test_embeddings_of_worlds_are_taken_over_by_name(folder: Path) -> None:
    saved = load_tensors(folder / WEIGHTS)["observe.world.weight"].float()
    network = Network(replace(TINY, worlds=("aardvark", "arena")))
    assert start_from(network, folder) == []
    assert torch.equal(network.observe.world.weight, saved[[0, 0, 1]]), "unknown, aardvark as unknown, arena"


def test_weights_that_do_not_fit_their_list_of_worlds_are_rejected(folder: Path) -> None:
    values = json.loads((folder / CONFIG).read_text())
    values["model"]["worlds"] = ["arena", "coins"]
    (folder / CONFIG).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="names 2 worlds"):
        start_from(Network(TINY), folder)
