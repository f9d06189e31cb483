"""Faults for any port.

Responsibility: put an adapter behind faults that a network and a busy machine make: delay, error, hang, duplicate and
    reorder.
Guarantees: the same seed and the same order of calls give the same faults; with every ratio at 0 the adapter behaves
    as it does alone; a cancelled call leaves nothing behind here.
Not responsible for: faults inside of an adapter (a broken connection, a full disk): break what it talks to.
"""

from __future__ import annotations

import enum
import functools
import inspect
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, cast

import anyio

from holdfast.domain.validation import require, require_at_least
from holdfast.ports.clock import Clock

__all__ = ["FaultInjector", "FaultPlan", "InjectedFault"]

T = TypeVar("T")


class InjectedFault(enum.StrEnum):
    """What happens to one call."""

    DELAY = "delay"
    """It begins late."""
    LOST_CALL = "lost_call"
    """It fails and was never made."""
    LOST_REPLY = "lost_reply"
    """It is made, and fails all the same: nobody knows that it took effect."""
    HANG = "hang"
    """It never begins, until it is cancelled."""
    DUPLICATE = "duplicate"
    """It is made twice, and the second result returned, as at-least-once delivery does."""
    REORDER = "reorder"
    """It begins after the next call that does, or after the longest delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """How often what happens. Each ratio is the share of calls, from 0 to 1; what is left goes through untouched.

    Args:
        seed: of the choices; print it when a test fails.
        error: makes the error of a lost call or reply; one of those that the port allows.
        delay_ratio: calls that are delayed.
        lost_call_ratio: calls that fail before they are made.
        lost_reply_ratio: calls that fail after they were made.
        hang_ratio: calls that hang.
        duplicate_ratio: calls that are made twice.
        reorder_ratio: calls that are overtaken.
        max_delay_s: the longest delay, in seconds, and the longest time for which a call waits to be overtaken.

    Raises:
        ConfigurationError: if a ratio is below 0, or they add up to more than 1.
    """

    seed: int
    error: Callable[[], Exception]
    delay_ratio: float = 0.0
    lost_call_ratio: float = 0.0
    lost_reply_ratio: float = 0.0
    hang_ratio: float = 0.0
    duplicate_ratio: float = 0.0
    reorder_ratio: float = 0.0
    max_delay_s: float = 1.0

    def __post_init__(self) -> None:
        for fault, ratio in self.ratios().items():
            require_at_least(f"faults.{fault}_ratio", ratio, 0.0)
        total = sum(self.ratios().values())
        require(total <= 1, f"the ratios add up to {total:g}, which is more than 1", path="faults")
        require_at_least("faults.max_delay_s", self.max_delay_s, 0.0)

    def ratios(self) -> Mapping[InjectedFault, float]:
        """Return the share of calls that each fault gets."""
        return {
            InjectedFault.DELAY: self.delay_ratio,
            InjectedFault.LOST_CALL: self.lost_call_ratio,
            InjectedFault.LOST_REPLY: self.lost_reply_ratio,
            InjectedFault.HANG: self.hang_ratio,
            InjectedFault.DUPLICATE: self.duplicate_ratio,
            InjectedFault.REORDER: self.reorder_ratio,
        }


class FaultInjector:
    """Puts adapters behind one plan of faults.

    Args:
        plan: how often what happens.
        clock: what delays are waited on.

    Example:
        >>> from holdfast.adapters.memory import MemoryRetriever
        >>> from holdfast.ports import RetrievalError
        >>> from holdfast.testing import VirtualClock
        >>> plan = FaultPlan(seed=1, error=lambda: RetrievalError("is gone", path="docs"), lost_call_ratio=1.0)
        >>> retriever = FaultInjector(plan, clock=VirtualClock()).wrap(MemoryRetriever(()))
        >>> anyio.run(lambda: retriever.retrieve("why?", limit=1))
        Traceback (most recent call last):
            ...
        holdfast.ports.errors.RetrievalError: docs: is gone
    """

    def __init__(self, plan: FaultPlan, *, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._random = random.Random(plan.seed)  # noqa: S311 - repeatable on purpose
        self._counts: Counter[InjectedFault] = Counter()
        self._begun = anyio.Event()

    @property
    def injected(self) -> Mapping[InjectedFault, int]:
        """How many faults of each kind there were."""
        return MappingProxyType(self._counts)

    def wrap(self, adapter: T, *, methods: Collection[str] | None = None) -> T:
        """Return `adapter` behind the plan.

        Args:
            adapter: any implementation of a port; one that has to be opened is opened before, by itself.
            methods: names of the methods that get faults; None for every coroutine method. A synchronous method must be
                named, and gets lost calls, lost replies and duplicates only: it cannot wait.
        """
        return cast("T", _Faulty(adapter, self, methods))  # it has every attribute of the adapter, and no other

    def call(self, method: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - any port's
        """Call a synchronous `method`, or fail as the plan says."""
        match self._draw():
            case InjectedFault.LOST_CALL:
                raise self._plan.error()
            case InjectedFault.LOST_REPLY:
                method(*args, **kwargs)
                raise self._plan.error()
            case InjectedFault.DUPLICATE:
                method(*args, **kwargs)
            case _:
                pass
        return method(*args, **kwargs)

    async def call_async(self, method: Callable[..., Awaitable[Any]], *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - any port's
        """Await a coroutine `method`, or do to it as the plan says."""
        match self._draw():
            case InjectedFault.DELAY:
                await self._clock.sleep(self._random.uniform(0, self._plan.max_delay_s))
            case InjectedFault.LOST_CALL:
                raise self._plan.error()
            case InjectedFault.LOST_REPLY:
                await self._begin(method, *args, **kwargs)
                raise self._plan.error()
            case InjectedFault.HANG:
                await anyio.sleep_forever()
            case InjectedFault.DUPLICATE:
                await self._begin(method, *args, **kwargs)
            case InjectedFault.REORDER:
                with anyio.move_on_after(self._plan.max_delay_s):
                    await self._begun.wait()
            case None:
                pass
        return await self._begin(method, *args, **kwargs)

    async def _begin(self, method: Callable[..., Awaitable[Any]], *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - any port's
        begun, self._begun = self._begun, anyio.Event()
        begun.set()
        return await method(*args, **kwargs)

    def _draw(self) -> InjectedFault | None:
        drawn = self._random.random()
        for fault, ratio in self._plan.ratios().items():
            if drawn < ratio:
                self._counts[fault] += 1
                return fault
            drawn -= ratio
        return None


class _Faulty:
    def __init__(self, adapter: object, injector: FaultInjector, methods: Collection[str] | None) -> None:
        self._adapter = adapter
        self._injector = injector
        self._methods = methods

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the adapter has
        value = getattr(self._adapter, name)
        waits = inspect.iscoroutinefunction(value)
        if name.startswith("_") or not (waits if self._methods is None else name in self._methods):
            return value
        return functools.partial(self._injector.call_async if waits else self._injector.call, value)
