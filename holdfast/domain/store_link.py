"""Whether a store that several processes share can be asked now.

Responsibility: ask it within a time limit, go on without it while it is away, and notice when it is back or emptied.
Guarantees: nobody waits for the store for longer than the limit he gives, and not at all while it is known to be away;
    it is lost once and found once, with one event each, however many calls noticed; it counts as found when each member
    is up to date again, and has been told if everything was lost meanwhile; nothing that the store does is raised to a
    caller.
Not responsible for: what is kept there, and what a member does without it: see the members, such as
    `holdfast.domain.shared_breaker`.

Each round asks for the epoch first: a store that was killed and restarted empty between two rounds answers as if
nothing had happened, and an absent key means "closed" or "nobody is at it".
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.validation import require_positive
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.events import EventSink, SharedStoreEmptied, SharedStoreLost, SharedStoreRejoined
from holdfast.ports.shared_store import SharedStore
from holdfast.ports.statistics import SharedStoreStatistics

__all__ = ["AWAY", "Away", "StoreLink", "StoreLinkConfig", "StoreMember"]

T = TypeVar("T")


class Away(enum.Enum):
    """In place of an answer: the store was not asked, or did not answer."""

    AWAY = enum.auto()


AWAY: Final = Away.AWAY


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLinkConfig:
    """How a shared store is followed.

    Args:
        timeout_s: seconds that one question of a round may take; default 0.5, unmeasured.
        refresh_s: seconds from one round to the next while the store is there; what one process knows, the others know
            after about so long. Default 0.25, a quarter of the second within which an open breaker has to be known.
        rejoin_s: seconds from one attempt to find it again to the next, and half of that more or less, so that many
            processes do not come back as one; default 1, unmeasured.
        refused_s: the same while it refuses us, which somebody has to mend; default 30, unmeasured.

    Raises:
        ConfigurationError: if a value is not above 0.
    """

    timeout_s: float = 0.5
    refresh_s: float = 0.25
    rejoin_s: float = 1.0
    refused_s: float = 30.0

    def __post_init__(self) -> None:
        require_positive("shared.link.timeout_s", self.timeout_s)
        require_positive("shared.link.refresh_s", self.refresh_s)
        require_positive("shared.link.rejoin_s", self.rejoin_s)
        require_positive("shared.link.refused_s", self.refused_s)


class StoreMember(Protocol):
    """Something that is kept in the store, as one process sees it."""

    async def refresh(self, *, emptied: bool) -> None:
        """Tell the store what it has to know, and learn what it knows; asked once in each round.

        Args:
            emptied: whether the store lost everything since the last time.

        Raises:
            StoreError: as the store does; the link handles it.
        """
        ...


class StoreLink:
    """One process's side of a shared store. Open it with ``async with``, after the members were added.

    On entering, the store is asked once, so that what the others know is known before the first request; a store that
    is away delays that by ``timeout_s`` and is looked for from then on.

    Args:
        store: what is asked for its epoch.
        config: how often, and how long one waits.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told when the store is lost, found and emptied.
    """

    _tasks: TaskGroup

    def __init__(
        self,
        store: SharedStore,
        config: StoreLinkConfig = StoreLinkConfig(),
        *,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._random = random
        self._events = events
        self._members: list[StoreMember] = []
        self._epoch: str | None = None
        self._owes_emptied = False  # whether a member has not heard yet that everything was lost
        self._lost_at_s: float | None = clock.monotonic_s()  # away until it has answered
        self._is_told = False  # whether its absence is
        self._refused = False
        self._hurried = anyio.Event()
        self._asked = self._answered = self._failed = self._cancelled = self._skipped = 0
        self._found = 0  # how often it was, the first time included
        self._lost = self._rejoined = self._emptied = 0

    async def __aenter__(self) -> Self:
        await self._round()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._follow, name=f"follow {self._store.name}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    @property
    def is_joined(self) -> bool:
        """Whether the store answered when it was asked last."""
        return self._lost_at_s is None

    def add(self, member: StoreMember) -> None:
        """Let `member` be kept up to date."""
        self._members.append(member)

    def discard(self, member: StoreMember) -> None:
        """Leave `member` alone from the next round on."""
        self._members.remove(member)

    def hurry(self) -> None:
        """Begin the next round now: a member has something to tell."""
        self._hurried.set()

    async def ask(self, work: Callable[[], Awaitable[T]], *, timeout_s: float) -> T | Away:
        """Return what `work` asks the store for, or `AWAY`; whatever fails makes the store one that is away.

        Args:
            work: one call of the store.
            timeout_s: seconds that it may take.

        Cancellation: cancels the call, and says nothing about the store.
        """
        if self._lost_at_s is not None:
            self._skipped += 1
            return AWAY
        return await self._ask(work, timeout_s)

    def statistics(self) -> SharedStoreStatistics:
        """Return whether it is there, and what became of every question."""
        return SharedStoreStatistics(
            name=self._store.name,
            joined=self.is_joined,
            asked=self._asked,
            in_flight=self._asked - self._answered - self._failed - self._cancelled,
            answered=self._answered,
            failed=self._failed,
            cancelled=self._cancelled,
            skipped=self._skipped,
            lost=self._lost,
            rejoined=self._rejoined,
            emptied=self._emptied,
        )

    async def _follow(self) -> None:
        while True:
            with anyio.move_on_after(self._pause_s()):
                await self._hurried.wait()
                # A member that hurries while the store is away, or again and again, must not turn this into a storm.
                await anyio.sleep(self._least_pause_s())
            self._hurried = anyio.Event()
            await self._round()

    def _pause_s(self) -> float:
        if self.is_joined:
            return self._config.refresh_s
        return (self._config.refused_s if self._refused else self._config.rejoin_s) * (0.5 + self._random())

    def _least_pause_s(self) -> float:
        return self._config.refresh_s / 10 if self.is_joined else self._pause_s()

    async def _round(self) -> None:
        epoch = await self._ask(self._store.epoch, self._config.timeout_s)
        if epoch is AWAY:
            return
        if self._epoch is not None and epoch != self._epoch:
            self._emptied += 1
            self._owes_emptied = True
            if self._events is not None:
                self._events.emit(SharedStoreEmptied(store=self._store.name))
        self._epoch = epoch
        for member in tuple(self._members):
            refresh = partial(member.refresh, emptied=self._owes_emptied)
            if await self._ask(refresh, self._config.timeout_s) is AWAY:
                return
        self._owes_emptied = False
        self._find()

    async def _ask(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T | Away:
        self._asked += 1
        found = self._found
        try:
            with anyio.move_on_after(timeout_s):
                answer = await work()
                self._answered += 1
                return answer
        except Exception as error:  # noqa: BLE001 - the supervisor of the store: requests go on without it
            self._failed += 1
            self._lose(error, since=found)
            return AWAY
        except BaseException:
            self._cancelled += 1
            raise
        self._failed += 1
        too_slow = StoreUnavailableError(f"did not answer within {timeout_s:g} s", store=self._store.name)
        self._lose(too_slow, since=found)
        return AWAY

    def _lose(self, error: Exception, *, since: int) -> None:
        if since != self._found:
            return  # it was asked before the store was found again, and says nothing about it now
        self._refused = isinstance(error, StoreRefusedError)
        if self._lost_at_s is None:
            self._lost_at_s = self._clock.monotonic_s()
        if not self._is_told:
            self._is_told = True
            self._lost += 1
            if self._events is not None:
                self._events.emit(
                    SharedStoreLost(store=self._store.name, error=type(error).__name__, is_refusal=self._refused)
                )

    def _find(self) -> None:
        lost_at_s, self._lost_at_s = self._lost_at_s, None
        self._found += lost_at_s is not None
        if self._is_told and lost_at_s is not None:
            self._is_told = False
            self._rejoined += 1
            if self._events is not None:
                away_s = self._clock.monotonic_s() - lost_at_s
                self._events.emit(SharedStoreRejoined(store=self._store.name, away_s=away_s))
