"""The tools over MCP: an endpoint of the playground's own application. Only this and ``stdio`` know the SDK.

MCP has no connections to hold a seat with (each request stands alone), so a seat is a token, and every call brings it.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import logging
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from actionparty.data.dataset import package_version
from actionparty.errors import ActionPartyError, MissingDependencyError
from actionparty.interfaces.play.limits import Door

if TYPE_CHECKING:
    import mcp.types as types
    from mcp.server import Server, ServerRequestContext

    from actionparty.interfaces.agents.guests import Guests
    from actionparty.interfaces.agents.tools import Answer, Tool, Tools

PATH = "/mcp"
MOST_REQUEST = 64_000
"""Bytes of one request."""
WRONG_KEY_SECONDS = 0.5
MISSING = "agents over MCP need its SDK: pip install 'actionparty[agents]'"
INSTRUCTIONS = (
    "Rooms in which people, policies and agents play one generated world together. list_worlds and list_rooms show "
    "what there is; open_room or join one; take_seat gives you a subject; then look and act. All see the same."
)
_LOG = logging.getLogger(__name__)


def make_server(tools: Tools) -> Server[Any]:
    """Return an MCP server that offers ``tools``."""
    import mcp.types as types
    from mcp.server import Server

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in tools.table.values()])

    async def call_tool(_: ServerRequestContext[Any], wanted: types.CallToolRequestParams) -> types.CallToolResult:
        return await _called(tools, wanted.name, wanted.arguments or {})

    return Server(
        "actionparty",
        title="ActionParty",
        version=package_version(),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(tool: Tool) -> types.Tool:
    import mcp.types as types

    schema = tool.arguments.model_json_schema()
    hints = types.ToolAnnotations(read_only_hint=tool.reads_only, open_world_hint=False)
    return types.Tool(name=tool.name, description=tool.about, input_schema=schema, annotations=hints)


async def _called(tools: Tools, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    try:
        return _result(await tools.call(name, arguments))
    except ActionPartyError as error:
        return failed(str(error))
    except Exception as error:  # noqa: BLE001 (a bug in one answer must not end anybody's game; it is logged)
        _LOG.exception("the tool %s failed", name)
        return failed(f"that went wrong on the server ({type(error).__name__}).")


def _result(answer: Answer) -> types.CallToolResult:
    import mcp.types as types

    content: list[types.ContentBlock] = [types.TextContent(type="text", text=answer.text)]
    if answer.picture is not None:
        data = base64.b64encode(answer.picture).decode()
        content.append(types.ImageContent(type="image", data=data, mime_type="image/png"))
    return types.CallToolResult(content=content, structured_content=answer.data or None)


def failed(why: str) -> types.CallToolResult:
    """Return what tells a client that a tool could not do what was asked."""
    import mcp.types as types

    return types.CallToolResult(content=[types.TextContent(type="text", text=why)], is_error=True)


class Endpoint:
    """MCP over HTTP as an ASGI application; the SDK is loaded with the first request, which takes half a second."""

    def __init__(self, guests: Guests, door: Door) -> None:
        self._guests, self._door = guests, door
        self._app: ASGIApp | None = None
        self._starting = asyncio.Lock()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = await self._refusal(scope)
        if answer is None:
            try:
                answer = await self._started()
            except MissingDependencyError as error:
                answer = JSONResponse({"message": str(error)}, 501)
        await answer(scope, receive, send)

    async def close(self) -> None:
        """End what is under way and let all guests out."""
        self._guests.close()
        self._stop.set()
        if self._task:
            await self._task

    async def _refusal(self, scope: Scope) -> ASGIApp | None:
        scheme, _, bearer = Headers(scope=scope).get("authorization", "").partition(" ")
        key = bearer if scheme.lower() == "bearer" else QueryParams(scope["query_string"]).get("key")
        if not self._door.key_fits(key):
            await asyncio.sleep(WRONG_KEY_SECONDS)
            return JSONResponse({"message": "this server is open to a network and needs its key."}, 403)
        if scope["method"] != "POST":  # nothing is ever sent unasked
            return JSONResponse({"message": "MCP is spoken by POST here."}, 405, {"allow": "POST"})
        return None

    async def _started(self) -> ASGIApp:
        async with self._starting:
            if self._app is None:
                self._app = await self._start()
            return self._app

    async def _start(self) -> ASGIApp:
        try:
            await asyncio.to_thread(importlib.import_module, "mcp.server")
        except ImportError as error:
            raise MissingDependencyError(MISSING) from error
        from mcp.server.transport_security import TransportSecuritySettings

        from actionparty.interfaces.agents.tools import Tools

        server = make_server(Tools(self._guests))
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            max_request_body_size=MOST_REQUEST,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # Guard has done that
        )
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._hold(server, ready))
        await ready.wait()
        return app

    async def _hold(self, server: Server[Any], ready: asyncio.Event) -> None:
        async with server.session_manager.run():
            ready.set()
            await self._stop.wait()
