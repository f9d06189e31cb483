"""Nesting policies around a call.

Responsibility: the one shape that every policy has, and putting several of them around one call.
Guarantees: the first policy is the outermost; the deadline is handed to each unchanged.
Not responsible for: choosing the order: `holdfast.application.routing` does, for the wired path.
Source: failsafe-go, `policy.Executor`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from holdfast.domain.deadline import Deadline

__all__ = ["Policy", "compose"]

T = TypeVar("T")


class Policy(Protocol):
    """Wraps an async callable: a retry, a breaker, a timeout, a limit."""

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Call `work` under this policy and return what it returns."""
        ...


class _Composed:
    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Policy, inner: Policy) -> None:
        self._outer = outer
        self._inner = inner

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        return await self._outer.call(partial(self._inner.call, work, deadline=deadline), deadline=deadline)


def compose(outermost: Policy, *inner: Policy) -> Policy:
    """Return one policy that applies all of them, the first one outermost.

    Cancellation: passes through every policy, innermost first, as the same exception.
    """
    return _Composed(outermost, compose(*inner)) if inner else outermost
