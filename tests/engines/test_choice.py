"""Which engine is used, and what is said where one can't be."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.engines.samples import engines, network
from tests.model.samples import TINY
from tests.model.samples import network as random_network

from actionparty.config import AUTO, ENGINES, RolloutConfig
from actionparty.engines import choice, export, halved, store
from actionparty.engines.check import differences
from actionparty.engines.choice import FASTEST, choose, choose_by_opening, lacks, open_engine
from actionparty.engines.graphs import Part, parts
from actionparty.engines.onnx_runtime import OnnxGraph
from actionparty.engines.openvino_runtime import OpenVinoGraph
from actionparty.errors import ActionPartyError, InvalidInputError, MissingDependencyError, UnknownNameError
from actionparty.rollout.rollout import BatchRollout


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTIONPARTY_CACHE", str(tmp_path))
    return tmp_path / "graphs"


def only(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    """Pretend that of the engines only ``installed`` can be used here."""
    monkeypatch.setattr(
        choice, "lacks", lambda name, _=None: None if name in installed else f"the engine {name} needs more"
    )


def test_the_fastest_that_is_installed_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in enumerate(FASTEST):
        only(monkeypatch, *FASTEST[place:])
        assert choose(AUTO, None, [network()]) == name
    assert set(FASTEST) <= set(ENGINES)


def test_an_engine_that_is_not_installed_is_named_and_the_next_best_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    only(monkeypatch, "torch")
    with caplog.at_level(logging.WARNING):
        made = BatchRollout(network(), engine="openvino")
    assert made.settings.engine == made.engine.name == "torch"
    assert caplog.messages == ["the engine openvino needs more. Using torch instead."]


def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert lacks("torch") is None
    assert str(lacks("onnx-int8")).endswith("pip install 'actionparty[onnx]'")
    assert "openvino, onnx, not installed" in str(lacks("openvino"))


def test_half_precision_needs_a_processor_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halved, "_processor_has_bf16", lambda: False)
    assert "bfloat16, and cpu here does not" in str(lacks("torch-bf16"))
    assert lacks("torch-bf16", torch.device("mps")) is not None


def test_half_precision_on_a_gpu_is_asked_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for has in (True, False):
        monkeypatch.setattr(halved, "_processor_has_bf16", lambda has=has: not has)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has: has)
        assert (lacks("torch-bf16", gpu) is None) == has
        assert choose("torch-bf16", gpu, [network()]) == ("torch-bf16" if has else "torch")


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="openvino"):
        RolloutConfig(engine="opnvino")
    with pytest.raises(UnknownNameError, match="onnx"):
        choose("onx", None, [])


def test_a_gpu_is_left_to_pytorch() -> None:
    gpu = torch.device("cuda")
    assert choose(AUTO, gpu, [network()]) == "torch"
    with pytest.raises(InvalidInputError, match="not on cuda"):
        choose("onnx", gpu, [network()])


def test_a_model_of_another_shape_is_run_by_pytorch_until_its_graphs_are_there(cache: Path) -> None:
    own = random_network(config=TINY)
    assert choose(AUTO, None, [own]) == choose(AUTO, None, [network(), own]) == "torch"
    cache.mkdir()
    (cache / f"{store.key_of(TINY)}.zip").write_bytes(b"")
    assert store.ready(own)


def test_worlds_change_no_graph_and_everything_else_does() -> None:
    assert store.key_of(TINY) == store.key_of(replace(TINY, worlds=()))
    assert store.key_of(TINY) != store.key_of(replace(TINY, width=64))
    assert store.key_of(TINY) != store.key_of(replace(TINY, together=False))


@pytest.mark.parametrize("name", engines(("onnx", "onnx-int8", "openvino")))
def test_a_joint_flow_is_refused_by_name_and_left_to_pytorch_by_itself(name: str) -> None:
    joint = random_network(config=replace(TINY, staged=False))
    with pytest.raises(InvalidInputError, match=r"Joint\.forward"):
        open_engine(name, joint)
    assert open_engine(AUTO, joint).name == "torch"


class _Strange(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.special.bessel_j0(x)
        return result


@pytest.mark.parametrize("name", engines(("onnx",)))
def test_an_operation_that_cannot_be_exported_is_named(name: str) -> None:
    part = Part("heads", _Strange(), {"x": (torch.float32, ("batch", 3))}, ("y",))
    with pytest.raises(InvalidInputError, match=r"`heads`.*bessel_j0"):
        export._graph(part)


@pytest.mark.parametrize("name", engines(("onnx", "openvino")))
def test_an_operation_that_an_engine_does_not_have_is_named(name: str) -> None:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(kind, TensorProto.FLOAT, [1]) for kind in "xy")
    graph = helper.make_graph([helper.make_node("Teleport", ["x"], ["y"])], "strange", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", export.OPSET)], ir_version=9)
    load = OnnxGraph if name == "onnx" else OpenVinoGraph
    with pytest.raises(InvalidInputError, match=r"part `observe`.*Teleport"):
        choice._runs(name, {"observe": model.SerializeToString()}, load, 1)


@pytest.mark.parametrize("name", engines(("onnx", "openvino")))
def test_graphs_of_another_model_are_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = random_network(1, network().config)
    monkeypatch.setattr(choice, "graphs", lambda _: store.graphs(other))
    with pytest.raises(InvalidInputError, match="another model"):
        open_engine(name, network())
    assert open_engine(AUTO, network()).name == "torch"


@pytest.mark.parametrize("name", engines(("onnx",)))
def test_one_engine_is_chosen_that_opens_for_all(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = network(), random_network(1, network().config)
    assert choose_by_opening(AUTO, None, [good]) == choose(AUTO, None, [good]) == name
    assert choose_by_opening("openvino", None, [good]) == choose("openvino", None, [good]), "as wanted, unopened"
    right = store.graphs(good)
    monkeypatch.setattr(choice, "graphs", lambda given: right if given is good else dict.fromkeys(right, b"no graph"))
    with caplog.at_level(logging.WARNING):
        assert choose_by_opening(AUTO, None, [good, bad]) == "torch"
    assert [message for message in caplog.messages if "Using torch instead of onnx" in message] == caplog.messages


def test_what_is_needed_to_make_graphs_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(config: object) -> bytes:
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "export", lacking)
    monkeypatch.setattr(choice, "lacks", lambda name, _=None: None)
    with pytest.raises(MissingDependencyError, match=r"needs onnxscript.*actionparty\[onnx\]"):
        open_engine("onnx", random_network(config=TINY))


def test_graphs_are_made_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    shipped = (store.SHIPPED / f"{store.key_of(network().config)}.zip").read_bytes()
    made: list[object] = []

    def export_once(config: object) -> bytes:
        made.append(config)
        return shipped

    monkeypatch.setattr(store, "SHIPPED", cache / "nothing")
    monkeypatch.setattr(export, "export", export_once)
    first, again = store.graphs(network()), store.graphs(network())
    assert first == again
    assert len(made) == 1
    assert [path.name for path in cache.iterdir()] == [f"{store.key_of(network().config)}.zip"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ActionPartyError, match="ACTIONPARTY_CACHE"):
        store._keep(tmp_path / "file" / "graphs" / "x.zip", b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", engines(("onnx",)))
def test_a_model_of_another_shape_is_exported_and_answers_as_pytorch_does(name: str, cache: Path) -> None:
    pytest.importorskip("onnxscript")
    own = random_network(config=TINY)
    made = open_engine(name, own)
    assert made.name == name
    assert max(differences(made, (5, 7), 3, batch=2).values()) < 2e-5
    assert choose(AUTO, None, [own]) != "torch"


def test_graphs_take_their_axes_from_the_model() -> None:
    made = {part.name: part for part in parts(random_network(config=TINY))}
    assert len(made["update"].inputs) == 4 + 2 * TINY.update_layers
    assert [tuple(value.shape) for value in made["heads"].example()] == [(2, 3, TINY.width)] * 2
