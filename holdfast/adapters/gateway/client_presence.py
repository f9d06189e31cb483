"""Whether the client is still there.

Responsibility: end the work for a client that has left.
Guarantees: the work is cancelled as soon as the server tells of it, also before anything was answered; its errors
    surface as they are, never in a group.
Not responsible for: clients that stay and read nothing: see `holdfast.adapters.gateway.guarded_protocol`.

Every server of ASGI tells of it to whoever waits for the next event, which takes a task of its own for each request.
The server of this gateway knows at once, and tells a `ClientPresence` that comes with the connection instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio

__all__ = ["PRESENCE", "AsgiApplication", "ClientPresence", "Message", "Receive", "Scope", "Send", "while_connected"]

T = TypeVar("T")

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


PRESENCE: Final = "holdfast.presence"
"""Where in the ``state`` of a scope the `ClientPresence` of its connection is, if the server has one."""


class ClientPresence:
    """Whether the client of one connection is there. For one event loop; several requests may follow each other.

    Args:
        listen: makes sure that the server hears of it if the client leaves; called whenever somebody wants to know.
    """

    __slots__ = ("_has_left", "_listen", "_scopes")

    def __init__(self, listen: Callable[[], None]) -> None:
        self._listen = listen
        self._has_left = False
        self._scopes: set[anyio.CancelScope] = set()

    def leave(self) -> None:
        """Cancel whatever requires that the client is there, now and from now on."""
        self._has_left = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def required(self) -> Generator[None]:
        """Cancel the ``with`` block once the client has left, or at once if it has; nothing is raised then."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self._has_left:
                    scope.cancel()
                else:
                    self._listen()
                yield
            finally:
                self._scopes.discard(scope)


async def while_connected(scope: Scope, receive: Receive, work: Callable[[], Awaitable[T]]) -> T | None:
    """Return what `work` does, or None if the client leaves first: then it is cancelled, and nothing is raised.

    Args:
        scope: of the request.
        receive: read by this function alone, once the body has been read.
        work: what the client waits for.
    """
    presence: ClientPresence | None = scope.get("state", {}).get(PRESENCE)
    if presence is None:
        return await _while_watched(receive, work)
    with presence.required():
        return await work()
    return None


async def _while_watched(receive: Receive, work: Callable[[], Awaitable[T]]) -> T | None:
    result: T | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001 - re-raised below, out of the group
            failure = error
        tasks.cancel_scope.cancel()
    try:
        if failure is not None:
            raise failure
        return result
    finally:
        failure = None  # or this frame and the error's traceback would keep each other alive
