"""Whether the client is still there.

Responsibility: end the work for a client that has left.
Guarantees: the work is cancelled as soon as the server tells of it, also before anything was answered; its errors
    surface as they are, never in a group.
Not responsible for: clients that stay and read nothing: see `holdfast.adapters.gateway.guarded_protocol`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

__all__ = ["AsgiApplication", "Message", "Receive", "Scope", "Send", "while_connected"]

Scope = MutableMapping[str, Any]
"""What ASGI tells of a connection."""

Message = MutableMapping[str, Any]
"""An event of ASGI."""

Receive = Callable[[], Awaitable[Message]]
"""Gives the next event from the client."""

Send = Callable[[Message], Awaitable[None]]
"""Takes the next event for the client, and waits while it is too far behind."""

AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
"""What a server calls for each request."""


async def while_connected(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, unless the client leaves first: then it is cancelled, and nothing is raised.

    Args:
        receive: read by this function alone, once the body has been read.
        work: what the client waits for.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - re-raised below, out of the group
            failure = error
        tasks.cancel_scope.cancel()
    try:
        if failure is not None:
            raise failure
    finally:
        failure = None  # or this frame and the error's traceback would keep each other alive
