"""A store that processes share, with all that can go wrong with it: away, refusing, deaf, mute, slow, emptied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.shared_store import SharedStore

__all__ = ["SharedPlace"]

T = TypeVar("T")


class SharedPlace:
    """One process' side of it, or, where it is handed to several, the place itself.

    Attributes:
        fails_with: what every question is answered with, if not None.
        deaf: never answers; the question is not heard.
        mute: never answers; the question is heard.
        latency_s: seconds until a question is heard.
        asked: the questions that were begun, by name.
        emptied: how often it lost everything.
    """

    name = "place"

    def __init__(self) -> None:
        self.fails_with: Exception | None = None
        self.deaf = self.mute = False
        self.latency_s = 0.0
        self.asked: list[str] = []
        self.emptied = 0

    def leave(self) -> None:
        self.fails_with = StoreUnavailableError("is away", store=self.name)

    def refuse(self) -> None:
        self.fails_with = StoreRefusedError("wrong password", store=self.name)

    def come_back(self) -> None:
        self.fails_with = None
        self.deaf = self.mute = False

    async def epoch(self) -> str:
        return await self.ask("epoch", self._epoch)

    async def ask(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Let everything that is wrong happen to one question."""
        self.asked.append(name)
        await anyio.lowlevel.checkpoint()
        if self.fails_with is not None:
            raise self.fails_with
        if self.deaf:
            await anyio.sleep_forever()
        if self.latency_s:
            await anyio.sleep(self.latency_s)
        answer = await work()
        if self.mute:
            await anyio.sleep_forever()
        return answer

    async def _epoch(self) -> str:
        return f"epoch {self.emptied}"


_: type[SharedStore] = SharedPlace
