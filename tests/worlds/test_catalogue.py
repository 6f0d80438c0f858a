"""Worlds by name, with and without Melting Pot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actionparty.data.recording import record
from actionparty.errors import InvalidInputError, MissingDependencyError, UnknownNameError
from actionparty.vocabulary import MOVES, action_ids
from actionparty.worlds import catalogue, meltingpot_sources
from actionparty.worlds.arena import ArenaWorld
from actionparty.worlds.catalogue import entries, make_world, world_names, world_spec
from actionparty.worlds.substrates import SUBSTRATES


def test_the_catalogue_lists_the_arena_and_49_substrates() -> None:
    names = world_names()
    assert names == sorted(set(names))
    assert len(names) == 50
    assert [entry.spec.name for entry in entries()] == names


@pytest.mark.parametrize("name", world_names())
def test_every_spec_uses_the_shared_vocabulary(name: str) -> None:
    spec = world_spec(name)
    assert spec.name == name
    assert spec.actions[: len(MOVES)] == MOVES
    assert len(set(action_ids(spec.actions))) == len(spec.actions)


def test_the_arena_is_made_with_any_number_of_subjects() -> None:
    assert isinstance(make_world("arena"), ArenaWorld)
    assert make_world("arena").spec == world_spec("arena")
    assert make_world("arena", 13).spec.subjects == 13
    with pytest.raises(InvalidInputError, match="1 to 64"):
        make_world("arena", 65)


@pytest.mark.parametrize("ask", [world_spec, make_world])
def test_an_unknown_name_suggests_the_nearest(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(UnknownNameError, match="clean_up"):
        ask("cleanup")


def test_without_melting_pot_its_worlds_are_listed_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meltingpot_sources, "_missing", lambda: ["dmlab2d"])
    monkeypatch.delitem(sys.modules, "meltingpot", raising=False)
    for entry in entries():
        assert entry.available == (entry.family == "arena")
        assert ("pip install" in entry.install) != entry.available
    with pytest.raises(MissingDependencyError, match=r'dmlab2d.*pip install -e "\.\[meltingpot\]"'):
        make_world("coins")
    make_world("arena").reset(seed=0)


def test_without_melting_pot_nothing_is_recorded_or_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(meltingpot_sources, "_missing", lambda: ["dmlab2d"])
    catalogue.check_available("arena")
    with pytest.raises(MissingDependencyError, match=r"dmlab2d.*pip install"):
        record(["arena", "coins"], 10, 0, 1, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_listing_imports_neither_the_simulator_nor_torch() -> None:
    code = (
        "import sys; from actionparty.worlds.catalogue import entries; entries(); "
        "print([m for m in ('torch', 'dmlab2d', 'meltingpot', 'ml_collections') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_has_the_default_of_the_issue() -> None:
    assert SUBSTRATES["collaborative_cooking__crowded"][:3] == (9, 9, 13)
