"""A resource provider that keeps count of what is done with each resource, and does as it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.lowlevel import checkpoint

from holdfast.ports.resource import ResourceProvider

__all__ = ["FakeProvider", "Thing"]


class Thing:
    """A resource; knows how often it was validated, reset and closed, and that no two of these overlap."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.validations = self.resets = self.closings = 0
        self.in_use = False

    def __repr__(self) -> str:
        return f"Thing({self.number})"


class FakeProvider:
    """Makes numbered things. Each `on_…` runs in the midst of the call of its name, and may wait or raise.

    Things that were handed to the provider while another call about them was going on are in `overlaps`.
    """

    def __init__(self, *, resettable: bool = False) -> None:
        self.resettable = resettable
        self.made: list[Thing] = []
        self.attempts = 0
        self.creating = self.most_creating = 0
        self.overlaps: list[Thing] = []
        self.is_good: Callable[[Thing], bool] = lambda thing: True
        self.on_create: Callable[[], Awaitable[None]] = checkpoint
        self.on_validate: Callable[[], Awaitable[None]] = checkpoint
        self.on_reset: Callable[[], Awaitable[None]] = checkpoint
        self.on_close: Callable[[], Awaitable[None]] = checkpoint

    @property
    def open_things(self) -> list[Thing]:
        return [thing for thing in self.made if thing.closings == 0]

    async def create(self) -> Thing:
        self.attempts += 1
        self.creating += 1
        self.most_creating = max(self.most_creating, self.creating)
        try:
            await self.on_create()
        finally:
            self.creating -= 1
        thing = Thing(len(self.made))
        self.made.append(thing)
        return thing

    async def validate(self, resource: Thing) -> bool:
        resource.validations += 1
        await self._use(resource, self.on_validate)
        return self.is_good(resource)

    async def reset(self, resource: Thing) -> None:
        resource.resets += 1
        await self._use(resource, self.on_reset)

    async def close(self, resource: Thing) -> None:
        resource.closings += 1
        await self._use(resource, self.on_close)

    async def _use(self, thing: Thing, work: Callable[[], Awaitable[None]]) -> None:
        if thing.in_use:
            self.overlaps.append(thing)
        thing.in_use = True
        try:
            await work()
        finally:
            thing.in_use = False


_: type[ResourceProvider[Thing]] = FakeProvider
