"""Callers and a backend for the deduplicator: they count, and keep how each caller ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator, Shared
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import VirtualClock

__all__ = ["KEY", "OTHER", "Backend", "Callers", "Collapse", "engine", "run", "settle", "urgency"]

KEY = DeduplicationKey(digest=b"k" * 32)
OTHER = DeduplicationKey(digest=b"o" * 32)


class Collapse(BaseException):
    """Stands for KeyboardInterrupt and SystemExit, which would end the test run."""


def engine(config: DeduplicationConfig = DeduplicationConfig()) -> Deduplicator[str]:  # noqa: B008 - frozen
    return Deduplicator(config, clock=VirtualClock(), size_of=len)


def urgency(priority: Priority = Priority.NORMAL, *, timeout_s: float = 30.0) -> Urgency:
    return Urgency(priority, Deadline.after(timeout_s, VirtualClock()))


class Backend:
    """Answers after a second, and counts."""

    def __init__(self, *, error: BaseException | None = None, seconds: float = 1.0) -> None:
        self.calls = 0
        self.cancelled = 0
        self.error = error
        self.seconds = seconds

    async def __call__(self, urgency: Urgency) -> str:
        self.calls += 1
        try:
            await anyio.sleep(self.seconds)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return f"answer {self.calls}"


async def run(shared: Deduplicator[str], work: Callable[[Urgency], Awaitable[str]]) -> Shared[str]:
    return await shared.run(KEY, work, urgency=urgency())


class Callers:
    """Starts callers one after the other, and keeps how each ended and the scope that cancels it, in that order."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._ended: dict[int, Shared[str] | Exception] = {}
        self.scopes: list[anyio.CancelScope] = []

    async def start(self, call: Callable[[], Awaitable[Shared[str]]]) -> None:
        """Start a caller and let it run until it waits."""
        self.scopes.append(anyio.CancelScope())
        self._tasks.start_soon(self._run, call, len(self.scopes) - 1)
        await settle()

    async def _run(self, call: Callable[[], Awaitable[Shared[str]]], number: int) -> None:
        with self.scopes[number]:
            try:
                self._ended[number] = await call()
            except Exception as error:  # noqa: BLE001 - what a test looks at
                self._ended[number] = error

    @property
    def ended(self) -> list[Shared[str] | Exception]:
        return [ended for _, ended in sorted(self._ended.items(), key=lambda item: item[0])]

    @property
    def errors(self) -> list[Exception]:
        return [ended for ended in self.ended if isinstance(ended, Exception)]


async def settle() -> None:
    """Let every task run until it waits for time."""
    await anyio.wait_all_tasks_blocked()
