"""`coverage`, and `inspect` and `verify` of packed folders, from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.interfaces.calls import complaint, run, runner
from tests.training.samples import play, renamed

from actionparty.data.packed import write_packed
from actionparty.data.tables import WorldTable
from actionparty.interfaces.cli import app


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    tables = [WorldTable.of([play(40, 1)]), WorldTable.of([renamed(play(40, 2), "other")])]
    write_packed(iter(tables), tmp_path / "packed", part_bytes=9_000)
    assert (tmp_path / "packed" / "part-001.zip").exists()
    return tmp_path / "packed"


def test_coverage_for_programs_and_for_people(packed: Path) -> None:
    found = run("coverage", packed, "--json")
    assert [world["world"]["name"] for world in found["worlds"]] == ["arena", "other"]
    arena = found["worlds"][0]
    assert sum(arena["actions"].values()) == 39 * 2
    assert (arena["rows"], arena["removals"], found["least"]) == (40, 0, 20)
    shown = run("coverage", packed, "--least", 1000)
    assert "forward" in shown
    assert "Few collisions (under 1000):\n  arena, 2 subjects: " in shown


def test_the_document_is_written_again_but_nothing_else_is(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "coverage.md"
    assert str(out) in run("coverage", packed, "--out", out)
    first = out.read_text()
    assert "| arena | 2 | 40 |" in first
    assert "2 worlds, 80 rows" in first
    run("coverage", packed, "--out", out, "--least", 7)
    assert "fewer than 7" in out.read_text()
    out.write_text("my notes")
    assert "not a coverage report" in complaint("coverage", packed, "--out", out)
    assert out.read_text() == "my notes"
    assert "a folder" in complaint("coverage", packed, "--out", tmp_path)
    assert "no such folder" in complaint("coverage", packed, "--out", tmp_path / "no" / "file.md")


def test_coverage_refuses_what_is_no_dataset_and_names_a_missing_part(packed: Path, tmp_path: Path) -> None:
    assert "no dataset" in complaint("coverage", tmp_path / "nothing")
    assert "not a dataset" in complaint("coverage", tmp_path)
    (packed / "part-001.zip").unlink()
    out = tmp_path / "coverage.md"
    assert "part-001.zip" in complaint("coverage", packed, "--out", out)
    assert not out.exists()


def test_several_recordings_are_named_in_what_is_written(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 5)):
        run("record", "arena", "--steps", 30, "--seed", seed, "--workers", 1, "--out", tmp_path / name)
    folders, out = (tmp_path / "one", tmp_path / "two"), tmp_path / "coverage.md"
    run("coverage", *folders, "--out", out)
    command = f"actionparty coverage {folders[0]} {folders[1]} --least 20 --out {out}"
    assert f"1 worlds, 60 rows. Written by `{command}`." in out.read_text()
    found = run("coverage", *folders, "--json")
    assert found["datasets"] == [str(folder) for folder in folders]


def test_verify_checks_the_parts_of_a_packed_dataset(packed: Path) -> None:
    assert run("verify", packed, "--json")["ok"]
    part = packed / "part-000.zip"
    part.write_bytes(part.read_bytes()[:-1])
    found = run("verify", packed, "--json", code=1)
    assert [part.name in problem for problem in found["problems"]] == [True]
    assert part.name in run("verify", packed, code=1)


def test_inspect_summarises_a_packed_dataset(packed: Path, tmp_path: Path) -> None:
    found = run("inspect", packed, "--json")
    assert [(world["name"], world["rows"]) for world in found["worlds"]] == [("arena", 40), ("other", 40)]
    assert found["bytes"] == sum(path.stat().st_size for path in packed.glob("part-*"))
    assert "2 worlds, 80 rows" in run("inspect", packed)
    assert "--filmstrips" in complaint("inspect", packed, "--filmstrips", tmp_path / "strips")
    shutil.move(packed / "part-001.zip", tmp_path)
    broken = runner.invoke(app, ["inspect", str(packed)])
    assert broken.exit_code == 0
    assert "part-001.zip" in broken.stderr
