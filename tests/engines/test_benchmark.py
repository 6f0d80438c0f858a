"""The benchmark of engines measures what it says; nothing here looks at how fast they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import less_work
from benchmarks.engines import apart, main, measure, publish
from benchmarks.scaling import main as scaling
from tests.engines.samples import WORLD, engines

from actionparty.worlds.catalogue import world_spec


@pytest.mark.parametrize("name", engines(("onnx",)))
def test_engines_are_stepped_side_by_side_and_compared(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--world", WORLD, "--engine", name, "--pairs", "2", "--threads", "1", "--write", str(tmp_path / "it.md")]
    main(line)
    written = (tmp_path / "it.md").read_text()
    assert written in capsys.readouterr().out
    assert f"| `{WORLD}` | torch |" in written
    assert f"| `{WORLD}` | {name} |" in written
    assert "batch 1" in written


@pytest.mark.parametrize("count", [0, -1, 4096])
def test_threads_that_cannot_be_are_refused(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (main, scaling):
        with pytest.raises(SystemExit) as ended:
            command(["cost", "--threads", str(count)][command is main :])
        assert ended.value.code == 2
        assert f"error: --threads {count}: this process may use 1 to " in capsys.readouterr().err


def test_pytorch_beside_itself_is_as_fast_and_the_same() -> None:
    one, same = measure(WORLD, "all", ["torch"] * 1, 2) * 2
    assert one.ratio == same.ratio == 1.0
    assert set(apart("all", ["torch"])["torch"].values()) == {0.0}


def test_savings_are_left_out_one_by_one(tmp_path: Path) -> None:
    found = {cost.variant: cost for cost in less_work.measure(WORLD, "all", "torch", 2)}
    shipped = found[less_work.SHIPPED]
    assert list(found) == list(less_work.VARIANTS)
    assert (shipped.ratio, shipped.low, shipped.high) == (1.0, 1.0, 1.0)
    assert found[less_work.FORGETFUL].cells == shipped.cells
    h, w = world_spec(WORLD).grid
    assert found["every cell rendered"].cells == h * w > shipped.cells > 0
    publish(less_work.markdown(list(found.values())), tmp_path / "new" / "table.md")
    assert len((tmp_path / "new" / "table.md").read_text().strip().splitlines()) == 2 + len(found)
