"""The instances of one backend, as routes that come and go.

Responsibility: open a route for each instance that appears, and close it when the instance has vanished and nobody
    waits for it any more.
Guarantees: an instance that has vanished gets no new request, in the very moment in which that is known; what is under
    way there is finished first; an instance of which nothing can be made disturbs no other.
Not responsible for: which instances there are: see `holdfast.domain.discovery`; which one is asked: see
    `holdfast.application.routing`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from holdfast.application.route import Route
from holdfast.application.routing import FallbackRouter
from holdfast.domain.discovery import InstanceListener
from holdfast.ports.events import EventSink, InstanceRefused
from holdfast.ports.registry import ServiceInstance

__all__ = ["LiveRoutes"]


@dataclass(eq=False, slots=True)
class _Serving:
    """One instance in use; its route, once that is open."""

    opened: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    route: Route | None = None


class LiveRoutes:
    """Keeps the routes of one backend; open it with ``async with``, once. For one event loop.

    Leaving closes every route at once: whoever leaves sees to it that nobody waits for one.

    Args:
        backend: its name.
        open_route: opens the route to an instance, for the length of an ``async with`` block.
        router: who asks the routes.
        events: told of an instance that cannot be used.
    """

    _tasks: TaskGroup

    def __init__(
        self,
        backend: str,
        open_route: Callable[[ServiceInstance], AbstractAsyncContextManager[Route]],
        *,
        router: FallbackRouter,
        events: EventSink | None = None,
    ) -> None:
        self._backend = backend
        self._open_route = open_route
        self._router = router
        self._events = events
        self._serving: dict[str, _Serving] = {}

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    def appear(self, instance: ServiceInstance) -> None:
        """Open a route to `instance`; it takes requests as soon as it is open."""
        self._serving[instance.address] = serving = _Serving()
        self._tasks.start_soon(self._serve, instance, serving, name=f"route to {self._backend}@{instance.address}")

    def vanish(self, instance: ServiceInstance) -> None:
        """Let the route to `instance` take no new requests, and close it when those under way are over."""
        serving = self._serving.pop(instance.address)
        serving.gone.set()
        if serving.route is not None:
            self._router.remove(self._backend, serving.route)

    async def wait_opened(self) -> None:
        """Return when there is a route to every instance that has appeared, and of which one can be made."""
        for serving in list(self._serving.values()):
            await serving.opened.wait()

    async def _serve(self, instance: ServiceInstance, serving: _Serving) -> None:
        try:
            async with self._open_route(instance) as route:
                if serving.gone.is_set():
                    return
                serving.route = route
                self._router.add(self._backend, route)
                serving.opened.set()
                try:
                    await serving.gone.wait()
                finally:
                    self._router.remove(self._backend, route)
                await route.wait_unused()
        except Exception as error:  # noqa: BLE001 - this supervises the route: the instance is left out, and told of
            if self._events is not None:
                self._events.emit(
                    InstanceRefused(service=instance.service, instance=instance.address, error=type(error).__name__)
                )
        finally:
            serving.opened.set()


_: type[InstanceListener] = LiveRoutes
