"""The page that is shipped: small, and built from the sources that lie beside it."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
from starlette.testclient import TestClient

from actionparty.interfaces.play.server import Page, make_app

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "src" / "actionparty" / "interfaces" / "page"
WEB = ROOT / "web"
MOST_BYTES = 150_000
"""Of the whole page as it travels compressed."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_small() -> None:
    """What the server really sends to a browser that takes gzip."""
    page, engine = Page.read(PAGE), Mock()
    app = make_app(Mock(), engine, page=page)
    sent = 0
    with TestClient(app, base_url="http://localhost") as client:
        for address in set(page.files) - {"/index.html"}:  # that is / by another name
            with client.stream("GET", address, headers={"accept-encoding": "gzip, br"}) as answer:
                raw = b"".join(answer.iter_raw())
                assert int(answer.headers["content-length"]) == len(raw)
                sent += len(raw)
                packed = answer.headers.get("content-encoding") == "gzip"
            whole = client.get(address, headers={"accept-encoding": "identity, gzip;q=0"})
            assert "content-encoding" not in whole.headers
            assert (gzip.decompress(raw) if packed else raw) == whole.content == page.files[address].content
            assert packed or not address.endswith((".js", ".css", ".html", ".txt")), address
            assert packed == ("accept-encoding" in whole.headers.get("vary", ""))
    assert 10_000 < sent <= MOST_BYTES


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
