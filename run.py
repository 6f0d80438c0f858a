"""Set up everything and run it: ``python3 run.py demo``, ``python3 run.py test`` or any ``actionparty`` command.

Needs nothing but Python 3.11. Installs into ``.venv`` once, as a stamp there says; what fails can be given again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "actionparty.json"
HALF_MADE = VENV / "half-made"
EXTRAS = {
    "demo": ("onnx", "video"),
    "play": ("agents", "onnx", "video"),
    "mcp": ("agents", "onnx"),
    "test": ("agents", "dev", "envs", "meltingpot", "onnx", "openvino", "ray", "rl", "train", "video"),
    "record": ("meltingpot",),
    "evaluate": ("meltingpot", "train"),
}
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", "--strict"))


def say(text: str) -> None:
    """Tell the user on stderr, so that ``--json`` output stays clean."""
    print(f"run.py: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> SystemExit:
    """Say what the user can mend and return the exit to raise."""
    say(text)
    return SystemExit(2)


def check_python() -> None:
    """Raise a clear exit where this Python is too old or lacks the means to make a virtual environment."""
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever starts this has not installed anything that could check)
        newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        hint = f"run it as: {newer[0]} run.py ..." if newer else "install Python 3.11 or newer."
        raise stop(f"this is Python {sys.version.split()[0]}, but ActionParty needs 3.11 or newer: {hint}")
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise stop("this Python can't make virtual environments; on Debian or Ubuntu: sudo apt install python3-venv")


def wait_turn() -> IO[bytes]:
    """Wait until no other start of this script installs; closing the result lets the next one go on."""
    handle = Path(__file__).open("rb")  # noqa: SIM115 (closed by the caller, or by exec)
    if importlib.util.find_spec("fcntl"):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def fingerprint() -> str:
    """Return a hash of all that an installation depends on: project file, Python of the venv, this folder."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), (VENV / "pyvenv.cfg").read_bytes(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def installed_extras() -> set[str] | None:
    """Return the extras that a finished, still valid installation has, None where there is no such installation."""
    try:
        stamp = json.loads(STAMP.read_text())
        valid = PYTHON.exists() and not HALF_MADE.exists() and stamp["fingerprint"] == fingerprint()
        return set(stamp["extras"]) if valid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_venv() -> None:
    """Make ``.venv``, replacing one that an earlier start left half made or whose Python is gone."""
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and not HALF_MADE.exists() and any(VENV.iterdir()):
        raise stop(f"{VENV} exists but is no virtual environment: move it away and try again.")
    if HALF_MADE.exists() or not PYTHON.exists():
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        HALF_MADE.touch()
        say(f"making {VENV}")
        if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
            raise stop("no virtual environment could be made (see above); on Debian: sudo apt install python3-venv")


def torch_requirement() -> list[str]:
    """Return what to ask pip for so that a machine without an NVIDIA GPU gets a CPU build, where one is on offer."""
    probe = "import importlib.metadata as m; m.version('torch')"
    present = subprocess.call([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL) == 0
    if present or not sys.platform.startswith("linux"):
        return []
    if subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True).stdout:
        say("an NVIDIA GPU is here: installing PyTorch with CUDA (about 3 GB, once)")
        return []
    offered = subprocess.run([str(PYTHON), "-m", "pip", "index", "versions", "torch"], capture_output=True, text=True)
    cpu_builds = re.findall(r"\b(\d+)\.(\d+)([\w.]*\+cpu)\b", offered.stdout)  # newest first
    recent = [f"torch=={a}.{b}{rest}" for a, b, rest in cpu_builds if (int(a), int(b)) >= (2, 6)]
    if not recent:
        say("no index that pip knows of here offers a CPU-only PyTorch: installing the plain one (about 3 GB, once)")
    return recent[:1]


def install(extras: set[str]) -> None:
    """Install this folder with ``extras`` and stamp the result."""
    STAMP.unlink(missing_ok=True)
    names = ",".join(sorted(extras))
    say(f"installing ActionParty with {names} (once; a few minutes)")
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *([] if sys.stderr.isatty() else ["-q"])]
    if subprocess.call([*pip, *torch_requirement(), "-e", f"{ROOT}[{names}]"], stdout=sys.stderr):
        raise stop("installing failed (see above). If there is no network: connect, then give the same command again.")
    HALF_MADE.unlink(missing_ok=True)
    STAMP.write_text(json.dumps({"fingerprint": fingerprint(), "extras": sorted(extras)}))


def main(arguments: list[str]) -> int:
    """Set up what the command needs and run it."""
    check_python()
    command = arguments[0] if arguments else "--help"
    wanted = set(EXTRAS.get(command, ("onnx", "train", "video")))
    with wait_turn():
        if (have := installed_extras()) is None or not wanted <= have:
            make_venv()
            install(wanted | (have or set()))
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # waiting threads that spin make torch on busy cores ten times slower
    if command == "test":
        checks = [*CHECKS, ("pytest", *arguments[1:])]
        failed = [" ".join(check) for check in checks if subprocess.call([str(PYTHON), "-m", *check], cwd=ROOT)]
        say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
        return int(bool(failed))
    line = [str(PYTHON), "-m", "actionparty.interfaces.cli", *(arguments or ["--help"])]
    if os.name == "posix":
        os.execv(line[0], line)  # Ctrl-C reaches the command alone, which may have something to save
    return subprocess.call(line)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("stopped; give the same command again to go on.")
        sys.exit(130)
