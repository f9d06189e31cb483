"""The same work for many items, a few at a time.

Responsibility: run an async callable over an iterable with bounded concurrency, and return how each item ended.
Guarantees: results stand in the order of the items; at most `limit` items are pulled ahead of those that have ended, so
    that a long iterable is never held in memory; one item's error ends no other item.
Not responsible for: retries and deadlines: wrap the work in a policy, or the call in a cancel scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

import anyio

from holdfast.domain.validation import require_at_least

__all__ = ["Err", "Ok", "map_bounded"]

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Ok(Generic[B]):
    """An item whose work returned."""

    value: B


@dataclass(frozen=True, slots=True)
class Err:
    """An item whose work raised."""

    error: Exception


async def map_bounded(items: Iterable[A], work: Callable[[A], Awaitable[B]], *, limit: int) -> list[Ok[B] | Err]:
    """Call `work` with every item, at most `limit` of them at once, and return how each one ended.

    Args:
        items: pulled one by one, as the work gets on.
        work: raises whatever it likes: an `Exception` becomes its item's `Err`.
        limit: items worked on at once; at least 1.

    Raises:
        ConfigurationError: if `limit` is below 1.
        BaseException: the first that `items` raises, or that `work` raises and is no `Exception`, as the same object,
            unless it is a group, which trio may rebuild; all other work has been cancelled and has ended by then.

    Cancellation: cancels the work in progress and waits for it; nothing is left running.
    Complexity: memory O(`limit`), and the results.

    Example:
        >>> import anyio
        >>> async def invert(number: int) -> float:
        ...     return 1 / number
        >>> async def main() -> None:
        ...     for result in await map_bounded([4, 0], invert, limit=2):
        ...         print(result)
        >>> anyio.run(main)
        Ok(value=0.25)
        Err(error=ZeroDivisionError('division by zero'))
    """
    require_at_least("limit", limit, 1)
    ended: dict[int, Ok[B] | Err] = {}
    source = enumerate(items)
    cancelled = anyio.get_cancelled_exc_class()
    cancellations: list[BaseException] = []

    async def worker(first: tuple[int, A]) -> None:
        try:
            for index, item in chain((first,), source):
                ended[index] = await _outcome(work, item)
        except cancelled as cancellation:
            cancellations.append(cancellation)
            raise

    try:
        async with anyio.create_task_group() as tasks:
            for first in islice(source, limit):
                tasks.start_soon(worker, first)
    except BaseExceptionGroup as group:
        # Wrapped by the task group, which is our own affair. Under trio the caller's cancellation may stand beside it.
        fatal = next(error for error in group.exceptions if not isinstance(error, cancelled))
    else:
        if not cancellations:
            # Popped, because an error's traceback leads back to `ended`: neither would be freed without the other.
            return [ended.pop(index) for index in range(len(ended))]
        # asyncio only: `work` awaited something that others had cancelled, which a task group takes for its own doing.
        fatal = cancellations[0]
    raise fatal


async def _outcome(work: Callable[[A], Awaitable[B]], item: A) -> Ok[B] | Err:
    try:
        return Ok(await work(item))
    except Exception as error:  # noqa: BLE001 - handed to the caller as this item's result
        return Err(error)
