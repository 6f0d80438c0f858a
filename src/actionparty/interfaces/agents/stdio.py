"""MCP over standard input and output: passes everything on to a playground's own endpoint. Knows no rooms."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from actionparty.data.dataset import package_version
from actionparty.errors import InvalidInputError
from actionparty.interfaces.agents.mcp_server import PATH, failed

if TYPE_CHECKING:
    import mcp.types as types
    from mcp.server import ServerRequestContext

CALL_SECONDS = 120.0
"""How long an answer is waited for; a plan takes less than a minute."""


def endpoint(link: str, key: str | None = None) -> str:
    """Return the address of the MCP endpoint of the playground that ``link`` opens (an invite link will do).

    Raises:
        InvalidInputError: not the address of a web server.
    """
    parts = urlsplit(link if "://" in link else f"http://{link}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError(f"--url: {link!r} is no address of a playground, such as http://localhost:8765/.")
    given = key or next(iter(parse_qs(parts.query).get("key", [])), None)
    return f"{parts.scheme}://{parts.netloc}{PATH}" + (f"?key={quote(given)}" if given else "")


def check(address: str) -> None:
    """Raise ``InvalidInputError`` unless a playground answers at ``address`` and lets us in."""
    rooms = address.replace(PATH, "/api/rooms", 1)
    shown = address.split("?")[0]
    try:
        with urllib.request.urlopen(rooms, timeout=10):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 403:
            raise InvalidInputError(f"{shown}: wrong key; give the whole invite link as --url.") from error
        raise InvalidInputError(f"{shown}: this server is no playground ({error.code}).") from error
    except OSError as error:
        raise InvalidInputError(f"{shown}: no playground answers here; start one: actionparty play") from error


async def forward(address: str) -> None:
    """Serve MCP on stdin and stdout by the endpoint at ``address``, until stdin ends."""
    import mcp.types as types
    from mcp import Client
    from mcp.server import Server
    from mcp.server.stdio import stdio_server

    async with Client(address, read_timeout_seconds=CALL_SECONDS) as playground:

        async def list_tools(
            _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
        ) -> types.ListToolsResult:
            return types.ListToolsResult(tools=(await playground.list_tools()).tools)

        async def call_tool(_: ServerRequestContext[Any], wanted: types.CallToolRequestParams) -> types.CallToolResult:
            try:
                return await playground.call_tool(wanted.name, wanted.arguments or {})
            except Exception as error:  # noqa: BLE001 (whatever became of the playground, the agent is told and may go on)
                return failed(f"the playground does not answer ({type(error).__name__}); perhaps it was stopped.")

        server: Server[Any] = Server(
            "actionparty",
            title="ActionParty",
            version=package_version(),
            instructions=playground.instructions,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
