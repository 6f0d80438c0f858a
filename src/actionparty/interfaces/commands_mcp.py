"""The command ``mcp``: a playground for AI agents, over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.errors import MissingDependencyError
from actionparty.interfaces import commands_play, console

if TYPE_CHECKING:
    import uvicorn


def mcp(
    url: Annotated[
        str | None,
        typer.Option(help="Link of a running playground. (default: start one here)", show_default=False),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Its key, where the link has none.", show_default=False)] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of one that is started; 0: any free one.")] = 0,
    world: Annotated[list[str] | None, typer.Option(help="Only this world; may be given several times.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Run folder, or name of shipped weights.", show_default=False)
    ] = None,
) -> None:
    """Let an AI agent play, over standard input and output (MCP).

    For hosts that start MCP servers as programs. With --url the agent joins a
    running playground, its people and its rooms; without, a playground starts
    here, and its link is told on stderr, so that people can join the agent.
    A running playground also speaks MCP itself, at /mcp.

    Examples:
      actionparty mcp --url http://localhost:8765/
      actionparty mcp --world coins
    """
    try:
        from actionparty.interfaces.agents import stdio
        from actionparty.interfaces.agents.mcp_server import MISSING
    except ImportError as error:
        raise MissingDependencyError("agents need a web server: pip install 'actionparty[agents]'") from error
    if importlib.util.find_spec("mcp") is None:
        raise MissingDependencyError(MISSING)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it
        if url is not None:
            address = stdio.endpoint(url, key)
            stdio.check(address)
            asyncio.run(stdio.forward(address))
        else:
            with commands_play.listen(commands_play.LOOPBACK_ADDRESS, port) as listening:
                app = commands_play.make_app(checkpoint, world, None, joint=False)
                asyncio.run(_with_own(commands_play.web_server(app), listening))


async def _with_own(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve a playground of our own, and the agent from it, until stdin ends."""
    from actionparty.interfaces.agents import stdio

    link = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.02)
    console.say(f"The agent plays at {link}")
    try:
        await stdio.forward(stdio.endpoint(link))
    finally:
        server.should_exit = True
        await serving
