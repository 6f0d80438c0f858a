"""Where the sources of dm-meltingpot are found: installed, in the cache, or fetched from the package index.

Only Melting Pot's Lua levels and Python configurations are wanted. Its own ``__init__`` imports the bots, and with them
TensorFlow, and its build downloads the bots' weights; a parent package object with the right ``__path__`` avoids the
first, and unpacking the source distribution without building it avoids the second. This module knows no world.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from actionparty.errors import ActionPartyError, MissingDependencyError, unknown_name

VERSION = "2.4.1"
SHA256 = "572e3512b089ced24e3e4fe17857d54029d5937d3d8c0c0b5e32229d02f609f7"
"""Of the source distribution ``dm_meltingpot-2.4.1.tar.gz``."""
REQUIRED = ("dmlab2d", "dm_env", "tree", "immutabledict", "ml_collections", "absl", "networkx")
INSTALL = 'pip install -e ".[meltingpot]"'
"""In a clone of the repository; ``python3 run.py record`` and ``python3 run.py test`` do it by themselves."""


def available() -> bool:
    """Tell whether Melting Pot worlds can be made, apart from fetching the sources; imports nothing."""
    return not _missing()


def require() -> None:
    """Raise ``MissingDependencyError`` with the command that installs what is missing, if anything is."""
    if missing := _missing():
        raise MissingDependencyError(
            f"Melting Pot worlds need {', '.join(missing)}, not installed here. Install them in the folder of "
            f"ActionParty with: {INSTALL} (or start the command as `python3 run.py record ...`, which does)."
        )


def substrate_names() -> tuple[str, ...]:
    """Return the names of all substrates of the dm-meltingpot in use."""
    return tuple(sorted(_module("meltingpot.configs.substrates").SUBSTRATES))


def substrate_config(name: str) -> Any:
    """Return the configuration (an ``ml_collections.ConfigDict``) of a substrate; raise ``UnknownNameError``."""
    if name not in (known := substrate_names()):
        raise unknown_name("Melting Pot substrate", name, known)
    return _module("meltingpot.configs.substrates").get_config(name)


def builder() -> ModuleType:
    """Return the module ``meltingpot.utils.substrates.builder``."""
    return _module("meltingpot.utils.substrates.builder")


def cache_dir() -> Path:
    """Return the folder for fetched sources: ``$ACTIONPARTY_CACHE`` or ``actionparty`` in the user's cache."""
    if chosen := os.environ.get("ACTIONPARTY_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "actionparty"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actionparty"


def fetch(cache: Path) -> Path:
    """Download and unpack the sources below ``cache`` unless they are there, and return their ``meltingpot`` folder.

    The folder appears whole or not at all, so any number of processes may do this at once.

    Raises:
        MissingDependencyError: there is no pip, or it could not download.
        ActionPartyError: the download is not the expected file, or the cache can't be written.
    """
    home = cache / f"dm-meltingpot-{VERSION}"
    if (home / "meltingpot").is_dir():
        return home / "meltingpot"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
            staged = Path(scratch) / "staged"
            _unpack(_checked(_download(Path(scratch))), staged)
            _publish(staged, home)
    except OSError as error:
        raise ActionPartyError(
            f"cannot store Melting Pot's sources in {cache}: {error}. Set ACTIONPARTY_CACHE to a folder you can write."
        ) from error
    return home / "meltingpot"


def _missing() -> list[str]:
    return [name for name in REQUIRED if name not in sys.modules and importlib.util.find_spec(name) is None]


def _module(name: str) -> ModuleType:
    _ensure_package()
    return importlib.import_module(name)


def _ensure_package() -> None:
    """Make ``import meltingpot.<submodule>`` work, without running Melting Pot's own ``__init__``."""
    if "meltingpot" in sys.modules:
        return
    require()
    path = _installed() or str(fetch(cache_dir()))
    package = ModuleType("meltingpot")
    package.__path__ = [path]
    package.__spec__ = importlib.machinery.ModuleSpec("meltingpot", None, is_package=True)
    package.__spec__.submodule_search_locations = [path]
    sys.modules["meltingpot"] = package


def _installed() -> str | None:
    spec = importlib.util.find_spec("meltingpot")
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(spec.submodule_search_locations))


def _download(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            "Melting Pot's sources have to be fetched once, but this Python has no pip. "
            "Add it with: python -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--no-binary", "dm-meltingpot", "--dest", str(folder), f"dm-meltingpot=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("dm[_-]meltingpot-*.tar.gz"))
    if done.returncode != 0 or not found:
        last = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "no message")
        raise MissingDependencyError(
            f"pip could not download the sources of dm-meltingpot {VERSION} ({last.strip()}). "
            f"Check which package index pip uses; this has to work: pip download --no-deps dm-meltingpot=={VERSION}"
        )
    return found[0]


def _checked(sdist: Path) -> Path:
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SHA256:
        raise ActionPartyError(
            f"{sdist.name} from the package index has SHA-256 {found}, expected {SHA256}: it was not unpacked. "
            "Check which index pip uses."
        )
    return sdist


def _unpack(sdist: Path, target: Path) -> None:
    """Write the regular files of the ``meltingpot`` package below ``target``."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            content = archive.extractfile(member) if member.isfile() else None
            if content is None or parts[:1] != ("meltingpot",) or ".." in parts:
                continue
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def _publish(staged: Path, home: Path) -> None:
    """Rename ``staged`` to ``home``; another process that was faster has made the same folder."""
    try:
        staged.rename(home)
    except OSError:
        if not (home / "meltingpot").is_dir():
            raise


def lab2d_settings(config: Any, roles: tuple[str, ...]) -> Any:
    """Return new, writable simulator settings of a substrate for these roles, one per subject."""
    config_dict = importlib.import_module("ml_collections").config_dict
    settings: Mapping[str, Any] = config.lab2d_settings_builder(roles=roles, config=config)
    return config_dict.ConfigDict(settings).unlock()
