"""The page that is shipped: small, and built from the sources that lie beside it."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "src" / "actionparty" / "interfaces" / "page"
WEB = ROOT / "web"
MOST_BYTES = 150_000
"""Of the whole page as it travels compressed."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_small() -> None:
    assert sum(len(gzip.compress(content)) for content in contents(PAGE).values()) <= MOST_BYTES


@pytest.mark.slow
def test_the_page_is_what_its_sources_build(tmp_path: Path) -> None:
    vite = WEB / "node_modules" / "vite" / "bin" / "vite.js"
    node = shutil.which("node")
    if node is None or not vite.is_file():
        pytest.skip("needs Node and Vite to build the page: npm ci in web/")
    options = ("--outDir", tmp_path / "page", "--logLevel", "error")
    environment = {**os.environ, "NODE_ENV": "production"}  # what a plain `npm run build` sets; pytest does not
    subprocess.run([node, vite, "build", *options], cwd=WEB, env=environment, check=True, capture_output=True)
    built, shipped = contents(tmp_path / "page"), contents(PAGE)
    assert built.keys() == shipped.keys(), "web/ has changed: npm run build"
    assert built == shipped
