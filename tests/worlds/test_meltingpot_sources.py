"""How Melting Pot's sources are found, fetched whole or not at all, and what is said when that fails."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actionparty.errors import ActionPartyError, MissingDependencyError
from actionparty.worlds import meltingpot_sources as sources

FILES = {
    "dm_meltingpot-2.4.1/meltingpot/__init__.py": b"raise RuntimeError('never run')",
    "dm_meltingpot-2.4.1/meltingpot/lua/levels/a.lua": b"return {}",
    "dm_meltingpot-2.4.1/setup.py": b"no",
    "dm_meltingpot-2.4.1/meltingpot/../../escaped.py": b"no",
}


def sdist(folder: Path) -> Path:
    path = folder / "dm_meltingpot-2.4.1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def fake_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served = sdist(tmp_path)
    monkeypatch.setattr(sources, "SHA256", hashlib.sha256(served.read_bytes()).hexdigest())
    monkeypatch.setattr(sources, "_download", lambda folder: served)


@pytest.mark.usefixtures("fake_index")
def test_fetching_unpacks_the_package_and_nothing_else(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    home = sources.fetch(cache)
    found = {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}
    prefix = home.relative_to(cache).as_posix()
    assert found == {f"{prefix}/__init__.py", f"{prefix}/lua/levels/a.lua"}
    assert not (tmp_path / "escaped.py").exists()


@pytest.mark.usefixtures("fake_index")
def test_many_may_fetch_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        homes = set(pool.map(sources.fetch, [tmp_path / "cache"] * 16))
    assert len(homes) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"dm-meltingpot-{sources.VERSION}"]


@pytest.mark.usefixtures("fake_index")
def test_what_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = sources.fetch(tmp_path)
    monkeypatch.setattr(sources, "_download", lambda folder: pytest.fail("fetched again"))
    assert sources.fetch(tmp_path) == home


@pytest.mark.usefixtures("fake_index")
def test_another_file_than_expected_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHA256", "0" * 64)
    with pytest.raises(ActionPartyError, match="SHA-256"):
        sources.fetch(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_says_which_variable_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ActionPartyError, match="ACTIONPARTY_CACHE"):
        sources.fetch(tmp_path / "file" / "cache")


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="ensurepip"):
        sources.fetch(tmp_path)


def test_an_index_that_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip", reason="this Python has no pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(MissingDependencyError, match=r"No matching distribution.*package index"):
        sources.fetch(tmp_path / "cache")


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIONPARTY_CACHE", str(tmp_path / "here"))
    assert sources.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("ACTIONPARTY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert sources.cache_dir() == tmp_path / "actionparty"


def test_an_installed_melting_pot_is_used_without_running_its_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "meltingpot"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this would import TensorFlow')")
    (package / "inner.py").write_text("ANSWER = 42")
    for name in [name for name in sys.modules if name.split(".")[0] == "meltingpot"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sources, "_missing", list)
    monkeypatch.setattr(sources, "fetch", lambda cache: pytest.fail("fetched though installed"))
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert sources._module("meltingpot.inner").ANSWER == 42
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "meltingpot"]:
            del sys.modules[name]
