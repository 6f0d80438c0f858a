"""The server: HTTP routes, who may use them, and the page. No path of a request ever reaches the file system."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import mimetypes
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from actionparty.errors import ActionPartyError, CheckpointError, UnknownNameError
from actionparty.interfaces.agents.guests import Guests
from actionparty.interfaces.agents.mcp_server import PATH, Endpoint
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.hub import Hub
from actionparty.interfaces.play.limits import Door, Limits, household
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.services import TYPES, Services

PAGE = Path(__file__).resolve().parents[1] / "page"
"""The built page."""
MOST_BODY = 4_000
_WORTH_IT = 0.95
WRONG_KEY_SECONDS = 0.5
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
_NO_PAGE = b"""<!doctype html><meta charset="utf-8"><title>ActionParty</title>
<p>The server runs, but this copy of the package has no page in it: build it by <code>npm run build</code> in web/.</p>
"""


@dataclass(frozen=True)
class Asset:
    """One file of the page, in memory."""

    content: bytes
    kind: str
    hashed: bool
    """Whether its name changes with its content, so that browsers may keep it."""
    packed: bytes | None = None
    """The content compressed, where that is worth it."""


@dataclass(frozen=True)
class Page:
    """The files of the page by address: a fixed table made at start-up."""

    files: Mapping[str, Asset] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path = PAGE) -> Page:
        """Read all files of a built page."""
        found = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
        table = {f"/{p.relative_to(folder).as_posix()}": _asset(p, folder) for p in found}
        table["/"] = table.get("/index.html", Asset(_NO_PAGE, "text/html", hashed=False))
        return Page(table)


def _asset(path: Path, folder: Path) -> Asset:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    kind = "text/javascript" if path.suffix in (".js", ".mjs") else kind
    content = path.read_bytes()
    packed = gzip.compress(content, mtime=0)
    hashed = path.parent != folder and path.parent.name == "assets"
    return Asset(content, kind, hashed, packed if len(packed) < _WORTH_IT * len(content) else None)


class Guard:
    """Refuses requests from elsewhere and adds the security headers; outermost, so that nothing passes it by."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        if self._door.host_allowed(headers.get("host", "")) and self._door.origin_allowed(headers):
            await self._app(scope, receive, send if scope["type"] == "websocket" else _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _problem("this page may not ask this server.", 403)(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


def _problem(message: str, status: int) -> JSONResponse:
    return JSONResponse({"message": message}, status)


class _Routes:
    """The endpoints."""

    def __init__(self, hub: Hub, page: Page, door: Door) -> None:
        self._hub, self._page, self._door = hub, page, door

    def table(self) -> list[Route | WebSocketRoute]:
        return [
            Route("/api/worlds", self.worlds),
            Route("/api/worlds/{world}/{scene:int}.png", self.thumbnail),
            Route("/api/worlds/{world}/film.png", self.film),
            Route("/api/rooms", self.rooms, methods=["GET"]),
            Route("/api/rooms", self.open_room, methods=["POST"]),
            Route("/api/rooms/{room}.png", self.still),
            Route("/api/exports/{number}", self.export),
            WebSocketRoute("/ws/{room}", self.socket),
            *(Route(address, self.asset) for address in self._page.files),
        ]

    async def asset(self, request: Request) -> Response:
        asset = self._page.files[request.url.path]
        headers = {"cache-control": "public, max-age=31536000, immutable" if asset.hashed else "no-cache"}
        if asset.packed is None:
            return Response(asset.content, media_type=asset.kind, headers=headers)
        headers["vary"] = "accept-encoding"
        if not _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(asset.content, media_type=asset.kind, headers=headers)
        return Response(asset.packed, media_type=asset.kind, headers={**headers, "content-encoding": "gzip"})

    async def worlds(self, request: Request) -> Response:
        return JSONResponse(self._hub.menu.cards())

    async def thumbnail(self, request: Request) -> Response:
        try:
            png = self._hub.menu.thumbnail(request.path_params["world"], request.path_params["scene"])
        except ActionPartyError as error:
            return _problem(str(error), 404)
        return Response(png, media_type="image/png", headers={"cache-control": "max-age=3600"})

    async def film(self, request: Request) -> Response:
        if refused := await self._locked(request):
            return refused
        try:
            made, png = self._hub.previews.film(request.path_params["world"])
        except ActionPartyError as error:
            return _problem(str(error), 404)
        if png is None:
            return Response(status_code=204 if made else 202, headers={"cache-control": "no-store"})
        return Response(png, media_type="image/png", headers={"cache-control": "max-age=3600"})

    async def rooms(self, request: Request) -> Response:
        return await self._locked(request) or JSONResponse(self._hub.listing())

    async def still(self, request: Request) -> Response:
        if refused := await self._locked(request):
            return refused
        live = self._hub.rooms.get(request.path_params["room"])
        if live is None:
            return _problem("there is no such room (any more).", 404)
        png, headers = live.still(), {"cache-control": "no-store"}
        return Response(png, 200 if png else 204, headers=headers, media_type="image/png" if png else None)

    async def open_room(self, request: Request) -> Response:
        if refused := await self._locked(request):
            return refused
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return _problem("send JSON.", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                return _problem("that is too much for opening a room.", 413)
        try:
            opener = household(request.client.host if request.client else None)
            room = await self._hub.open(m.parse_room(body), opener)
        except ActionPartyError as error:
            return _problem(str(error), 404 if isinstance(error, UnknownNameError | CheckpointError) else 400)
        return JSONResponse({"room": room}, 201)

    async def export(self, request: Request) -> Response:
        file = self._hub.services.take(request.path_params["number"])
        if file is None:
            return _problem("this file was taken already, or is too old: export it again.", 404)
        disposition = f'attachment; filename="{file.name}"'
        headers = {"content-disposition": disposition, "cache-control": "no-store"}
        return Response(file.content, media_type=TYPES[file.kind], headers=headers)

    async def socket(self, socket: WebSocket) -> None:
        if not self._door.key_fits(socket.query_params.get("key")):
            await asyncio.sleep(WRONG_KEY_SECONDS)
            await socket.close(1008, "wrong key")
            return
        await socket.accept()
        await self._hub.serve(socket, socket.path_params["room"])

    async def _locked(self, request: Request) -> Response | None:
        """Return what refuses a request without the right key."""
        if self._door.key_fits(request.query_params.get("key")):
            return None
        await asyncio.sleep(WRONG_KEY_SECONDS)
        return _problem("this server is open to a network and needs its key: use the whole invite link.", 403)


def _takes_gzip(accepted: str) -> bool:
    parts = [part.replace(" ", "").lower() for part in accepted.split(",")]
    return any(part.split(";")[0] == "gzip" and not part.endswith(";q=0") for part in parts)


async def _not_found(request: Request, error: Exception) -> Response:
    return _problem("there is nothing here.", 404)


async def _failed(request: Request, error: Exception) -> Response:
    return _problem("that went wrong on the server.", 500)


def make_app(
    menu: ShippedMenu,
    engine: Engine,
    *,
    door: Door | None = None,
    page: Page | None = None,
    limits: Limits | None = None,
) -> ASGIApp:
    """Return the server's application; ``door`` says who may come in, ``limits`` how much there may be at once."""
    door = door or Door()
    services = Services(menu, engine.settings, exact=not engine.joint)
    hub = Hub(menu, engine, services, limits=limits)
    agents = Endpoint(Guests(hub, hub.desk), door)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        services.close()
        await agents.close()
        await hub.close()

    routes = [*_Routes(hub, page or Page.read(), door).table(), Route(PATH, agents)]
    handlers: dict[Any, Any] = {404: _not_found, 405: _not_found, Exception: _failed}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.state.hub = hub
    return Guard(app, door)
