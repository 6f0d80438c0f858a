"""The command ``play``: a server on this machine, and a page in which people play generated worlds together."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.config import AUTO
from actionparty.errors import InvalidInputError, MissingDependencyError
from actionparty.interfaces import console
from actionparty.interfaces.engines import EngineOption

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

DEFAULT_PORT = 8765
LOOPBACK_ADDRESS = "127.0.0.1"
SHORTEST_KEY = 8
MOST_MESSAGE = 280_000
"""Bytes of one WebSocket message: a scene file fits, nothing much larger."""
SEND_BUFFER = 128 * 1024
"""Bytes that the system keeps for a connection that does not read; more would only be old frames."""
ROOMS_EACH, PEOPLE_EACH = 5, 80
"""As ``play.limits.Limits`` has them; that is not imported here, so that the command line starts fast."""
_TRIED = 50


def play(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="Address to serve on; 0.0.0.0 lets others on the network in, with a key.")
    ] = LOOPBACK_ADDRESS,
    world: Annotated[list[str] | None, typer.Option(help="Only this world; may be given several times.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Run folder, or name of shipped weights.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Key of the rooms. (default where others are let in: a new one)")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    joint: Annotated[
        bool, typer.Option("--joint", help="Compute rooms in one batch: more rooms, but no exact replays.")
    ] = False,
    rooms_each: Annotated[int, typer.Option(min=1, help="Rooms that one address may have open.")] = ROOMS_EACH,
    people_each: Annotated[int, typer.Option(min=1, help="Connections of one address.")] = PEOPLE_EACH,
    engine: EngineOption = AUTO,
) -> None:
    """Play generated worlds together in the browser.

    Every frame is generated, live, on this machine. Others join by the link;
    free seats are played by policies. Only this machine is let in unless
    --host says otherwise; then the invite link carries a key.

    Examples:
      actionparty play
      actionparty play --world coins --port 9000 --no-browser
      actionparty play --host 0.0.0.0
    """
    with listen(host, port) as listening:  # first: a port in use is said before any work
        key = room_key(host, key)
        app = make_app(checkpoint, world, key, joint=joint, engine=engine, each=(rooms_each, people_each))
        query = f"/?key={key}" if key else "/"
        link = f"http://{'localhost' if host in _OPEN else _bracketed(host)}:{port}{query}"
        console.tell(f"Play:    {link}")
        if key:
            console.tell(f"Invite:  http://{_bracketed(_own_address(host))}:{port}{query}")
        console.tell("Stop with Ctrl-C.")
        if browser and _has_screen():
            webbrowser.open(link)
        _serve(app, listening)


_OPEN = ("0.0.0.0", "::", "")


def room_key(host: str, key: str | None) -> str | None:
    """Return the key that a server on ``host`` asks for; None where only this machine can reach it.

    Raises:
        InvalidInputError: a key that is too short to keep anybody out.
    """
    if key is not None and (
        len(key) < SHORTEST_KEY or not key.isascii() or not key.replace("-", "").replace("_", "").isalnum()
    ):
        raise InvalidInputError(f"--key: at least {SHORTEST_KEY} letters, digits, - or _; without it one is made up.")
    return key or (None if _is_loopback(host) else secrets.token_urlsafe(12))


def _has_screen() -> bool:
    """Return whether a browser could show anything; without a screen a text browser would take over the terminal."""
    return os.name != "posix" or sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _own_address(host: str) -> str:
    """Return the address under which others reach this machine; asks the routing table, sends nothing."""
    if host not in _OPEN:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: nothing is there
            address: str = probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
        return address


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``.

    Raises:
        InvalidInputError: the port is in use (the message offers a free one), or there is no such address here.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        free = next((p for p in range(port + 1, min(port + _TRIED, 65535)) if _is_free(host, p)), None)
        if free is None:
            raise InvalidInputError(f"can't serve on {host}:{port} ({error.strerror or error}).") from error
        raise InvalidInputError(
            f"port {port} is in use on {host}, perhaps by another `actionparty play`. Free is: --port {free}"
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        made.bind((host, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _is_free(host: str, port: int) -> bool:
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def make_app(
    checkpoint: str | None,
    worlds: list[str] | None,
    key: str | None,
    *,
    joint: bool,
    engine: str = AUTO,
    each: tuple[int, int] = (ROOMS_EACH, PEOPLE_EACH),
) -> ASGIApp:
    """Return the application of a playground; ``each``: rooms and connections that one address may have.

    Raises:
        MissingDependencyError: no web server is installed.
        ActionPartyError: the checkpoint or a world can't be played; the message says why.
    """
    try:
        from actionparty.interfaces.play import server
    except ImportError as error:
        raise MissingDependencyError("playing needs a web server: pip install 'actionparty[serve]'") from error
    from actionparty.engines.choice import choose_by_opening
    from actionparty.interfaces.play.engine import Engine
    from actionparty.interfaces.play.limits import Door, Limits
    from actionparty.interfaces.play.menu import ShippedMenu

    menu = ShippedMenu(*_folders(checkpoint), only=worlds)
    rooms = Engine.from_checkpoints(menu.homes, joint=joint)
    networks = {rooms.network(world) for world in menu.homes}
    opened = choose_by_opening(engine, None, networks)  # before any room is open, since replays name it
    rooms.settings = replace(rooms.settings, engine=opened)
    console.say(f"engine {rooms.settings.engine}")
    limits = Limits(rooms_each=each[0], people_each=each[1])
    return server.make_app(menu, rooms, door=Door(key), limits=limits)


def _folders(checkpoint: str | None) -> list[Path]:
    from actionparty.checkpoints import find_checkpoint, shipped_names

    return [find_checkpoint(name) for name in ([checkpoint] if checkpoint is not None else shipped_names())]


def _serve(app: ASGIApp, listening: socket.socket) -> None:
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it
        web_server(app).run(sockets=[listening])


def web_server(app: ASGIApp) -> uvicorn.Server:
    """Return a web server for the application of a playground."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=MOST_MESSAGE,
        ws_max_queue=8,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
