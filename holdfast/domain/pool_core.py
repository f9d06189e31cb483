"""The decisions of a pool.

Responsibility: who gets which resource, and which resources are made, checked, reset and closed; all of it synchronous.
Guarantees, after every call:
    - leased + idle + creating + closing ≤ max_size, where a resource that is being validated or reset counts as leased;
      closing counts, so never more than max_size resources exist;
    - created = closed + leased + idle + closing;
    - callers are served in the order they came;
    - nobody waits while a resource idles, unless one is being validated for them;
    - an idle resource is of the current generation.
Not responsible for: waiting, waking, time and doing the `jobs`: see `holdfast.domain.pool`, which passes `now_s` in.
Source: the decisions follow HikariCP's `HikariPool` and httpcore's `_async/connection_pool.py`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from holdfast.domain.failure_copy import copy_failure
from holdfast.domain.pool_backoff import CreationBackoff
from holdfast.domain.pool_config import PoolConfig
from holdfast.domain.pool_jobs import Close, Create, Job, Reset, Validate
from holdfast.domain.pool_lease import Lease, Member, TakeBack, Waiter
from holdfast.ports.errors import ClosedError, PoolExhaustedError, PoolTimeoutError
from holdfast.ports.events import EventSink, LeaseLeaked, PoolRefused, ResourceFailed
from holdfast.ports.statistics import PoolStatistics

__all__ = ["PoolCore"]

T = TypeVar("T")

_LIFETIME_JITTER_RATIO: Final = 0.025  # HikariCP, `createPoolEntry`


class PoolCore(Generic[T]):
    """The state of one pool.

    Args:
        name: what errors call it.
        config: see `PoolConfig`.
        resettable: whether an interrupted resource is reset rather than closed.
        random: returns a number in [0, 1).
        take_back: what a lease calls when it ends; it leads to `end`.
        events: told of refusals, failures and overdue leases, each once its decision is complete.

    Attributes:
        jobs: what is to be done, in order; whoever calls a method here takes them and has them done.
    """

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        *,
        resettable: bool,
        random: Callable[[], float],
        take_back: TakeBack[T],
        events: EventSink | None = None,
    ) -> None:
        self.jobs: deque[Job[T]] = deque()
        self._name = name
        self._config = config
        self._resettable = resettable
        self._random = random
        self._take_back = take_back
        self._events = events
        self._backoff = CreationBackoff(config, random)
        self._is_open = False
        self._generation = 0
        self._idle: list[Member[T]] = []  # in the order they came back
        self._leases: dict[Lease[T], Member[T]] = {}  # in the order they were granted
        self._waiters: OrderedDict[Waiter[T], None] = OrderedDict()
        self._validating = self._resetting = self._creating = self._closing = 0
        self._created = self._closed = self._granted = self._timeouts = self._refused = self._failures = 0

    def lease_nowait(self, now_s: float) -> Lease[T] | None:
        """Return a lease on the resource that came back last, or None if getting one takes any work or wait."""
        if not self._idle or self._waiters:
            return None
        member = self._idle[-1]
        if now_s >= member.expires_at_s or now_s - member.idle_since_s > self._config.validate_after_idle_s:
            return None
        self._idle.pop()
        return self._lease(member, now_s)

    def wait(self, waiter: Waiter[T], now_s: float) -> None:
        """Put a caller at the end of the line.

        Raises:
            ClosedError: the pool is not open.
            PoolExhaustedError: the line is full.
        """
        if not self._is_open:
            raise self._closed_error()
        if len(self._waiters) >= self._config.max_waiters:
            self._refused += 1
            self._tell_refused(waited_s=0.0)
            raise PoolExhaustedError(pool=self._name, waiters=len(self._waiters))
        self._waiters[waiter] = None
        self.balance(now_s)

    def collect(self, waiter: Waiter[T]) -> Lease[T]:
        """Return what a caller waited for, when the wait is over.

        Raises:
            Exception: what ended the wait instead, or `PoolTimeoutError` if nothing did.
        """
        if waiter.lease is not None:
            return waiter.lease
        if waiter.error is not None:
            raise waiter.error
        del self._waiters[waiter]
        self._timeouts += 1
        timeout_s = self._config.acquire_timeout_s
        self._tell_refused(waited_s=timeout_s)
        raise PoolTimeoutError(pool=self._name, timeout_s=timeout_s) from self._backoff.error

    def withdraw(self, waiter: Waiter[T], now_s: float) -> None:
        """Take a cancelled caller out of the line; a lease granted in that very moment was never granted."""
        self._waiters.pop(waiter, None)
        if waiter.lease is not None:
            self._granted -= 1
            member = self._leases.get(waiter.lease)
            if member is not None:
                member.uses -= 1
                self.end(waiter.lease, now_s, broken=False)

    def end(self, lease: Lease[T], now_s: float, *, broken: bool) -> None:
        """End a lease, unless it has ended already."""
        member = self._leases.pop(lease, None)
        if member is None:
            return
        if self._is_spent(member, now_s) or (broken and not self._resettable):
            self._close(member)
            self.balance(now_s)
        elif broken:
            self._resetting += 1
            self.jobs.append(Reset(member=member))
        else:
            self._offer(member, now_s)

    def created(self, resource: T, generation: int, now_s: float) -> None:
        """Take in what a `Create` job made."""
        self._creating -= 1
        self._created += 1
        self._backoff.succeed()
        lifetime_s = self._config.max_lifetime_s * (1 - _LIFETIME_JITTER_RATIO * self._random())
        member = Member(resource, generation=generation, expires_at_s=now_s + lifetime_s)
        self._take_in(member, now_s, good=True)

    def creation_failed(self, error: Exception, now_s: float) -> None:
        """Pause creation, and tell all who wait, unless a resource in use or on its way may still serve them."""
        self._creating -= 1
        self._failures += 1
        self._backoff.fail(error, now_s)
        if not (self._leases or self._validating or self._resetting or self._creating):
            self._refuse_all(lambda: copy_failure(error))
        self._tell_failed("create", error)

    def creation_cancelled(self) -> None:
        """Forget a `Create` job that was cancelled."""
        self._creating -= 1

    def creation_pause_s(self, now_s: float) -> float:
        """Return the seconds until creation may go on."""
        return self._backoff.left_s(now_s)

    def validated(self, member: Member[T], now_s: float, *, good: bool) -> None:
        """Take in the end of a `Validate` job."""
        self._validating -= 1
        self._take_in(member, now_s, good=good)

    def was_reset(self, member: Member[T], now_s: float, *, good: bool) -> None:
        """Take in the end of a `Reset` job."""
        self._resetting -= 1
        self._take_in(member, now_s, good=good)

    def closed(self, now_s: float) -> None:
        """Take in the end of a `Close` job."""
        self._closing -= 1
        self._closed += 1
        self.balance(now_s)

    def job_failed(self, operation: str, error: Exception) -> None:
        """Count an upkeep job that raised or took too long."""
        self._failures += 1
        self._tell_failed(operation, error)

    def balance(self, now_s: float) -> None:
        """Ask for whatever the callers in line, or `min_size`, still lack."""
        while self._idle and len(self._waiters) > self._validating:
            self._rouse(self._idle.pop(), now_s)
        while self._may_create(now_s) and self._lacks_one():
            self._creating += 1
            self.jobs.append(Create(generation=self._generation))

    def sweep(self, now_s: float) -> list[float]:
        """Retire idle resources whose time is over.

        Returns:
            How many seconds each lease has been out that is overdue since the last sweep.
        """
        kept: list[Member[T]] = []
        surplus = self._available() - self._config.min_size
        for member in self._idle:
            unused = now_s - member.idle_since_s >= self._config.max_idle_s
            if now_s >= member.expires_at_s or (unused and surplus > 0):
                surplus -= 1
                self._close(member)
            else:
                kept.append(member)
        self._idle = kept
        self.balance(now_s)
        return self._newly_overdue(now_s)

    def expire_all(self, now_s: float) -> None:
        """Retire every resource of today: idle ones now, the others when they come back or are made."""
        self._generation += 1
        self._close_idle()
        self.balance(now_s)

    def open(self, now_s: float) -> None:
        """Begin to serve."""
        self._is_open = True
        self.balance(now_s)

    def shut(self) -> None:
        """Serve nobody any more: those in line are refused, idle resources closed, others when they come back."""
        self._is_open = False
        self._refuse_all(self._closed_error)
        self._close_idle()

    def revoke(self) -> None:
        """End every lease that is still out; its resource is closed under its user."""
        while self._leases:
            _, member = self._leases.popitem()
            self._close(member)

    @property
    def is_drained(self) -> bool:
        """Whether the pool is shut and no lease is out."""
        return not (self._is_open or self._leases)

    def statistics(self) -> PoolStatistics:
        """Return what is and what was."""
        return PoolStatistics(
            leased=len(self._leases) + self._validating + self._resetting,
            idle=len(self._idle),
            creating=self._creating,
            closing=self._closing,
            waiting=len(self._waiters),
            max_size=self._config.max_size,
            created=self._created,
            closed=self._closed,
            leases=self._granted,
            timeouts=self._timeouts,
            refused=self._refused,
            failures=self._failures,
        )

    def _lease(self, member: Member[T], now_s: float) -> Lease[T]:
        member.uses += 1
        member.leased_at_s = now_s
        member.is_reported = False
        self._granted += 1
        lease = Lease(member.resource, self._take_back)
        self._leases[lease] = member
        return lease

    def _offer(self, member: Member[T], now_s: float) -> None:
        if self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            waiter.grant(self._lease(member, now_s))
        else:
            member.idle_since_s = now_s
            self._idle.append(member)

    def _is_spent(self, member: Member[T], now_s: float) -> bool:
        max_uses = self._config.max_uses
        return (
            not self._is_open
            or member.generation != self._generation
            or now_s >= member.expires_at_s
            or (max_uses is not None and member.uses >= max_uses)
        )

    def _take_in(self, member: Member[T], now_s: float, *, good: bool) -> None:
        if good and not self._is_spent(member, now_s):
            self._offer(member, now_s)
        else:
            self._close(member)
        self.balance(now_s)

    def _rouse(self, member: Member[T], now_s: float) -> None:
        if self._is_spent(member, now_s):
            self._close(member)
        elif now_s - member.idle_since_s > self._config.validate_after_idle_s:
            self._validating += 1
            self.jobs.append(Validate(member=member))
        else:
            self._offer(member, now_s)

    def _may_create(self, now_s: float) -> bool:
        return (
            self._is_open
            and self._creating < self._config.max_creating
            and self._available() + self._closing < self._config.max_size
            and not self._backoff.left_s(now_s)
        )

    def _lacks_one(self) -> bool:
        on_the_way = self._validating + self._creating
        return len(self._waiters) > on_the_way or self._available() < self._config.min_size

    def _available(self) -> int:
        return len(self._leases) + self._validating + self._resetting + len(self._idle) + self._creating

    def _close(self, member: Member[T]) -> None:
        self._closing += 1
        self.jobs.append(Close(member=member))

    def _close_idle(self) -> None:
        while self._idle:
            self._close(self._idle.pop())

    def _refuse_all(self, error: Callable[[], Exception]) -> None:
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            waiter.refuse(error())

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"pool {self._name!r}")

    def _newly_overdue(self, now_s: float) -> list[float]:
        held_s: list[float] = []
        for member in self._leases.values():
            if now_s - member.leased_at_s < self._config.leak_warning_s:
                break
            if not member.is_reported:
                member.is_reported = True
                held_s.append(now_s - member.leased_at_s)
        if self._events is not None:
            for seconds in held_s:
                self._events.emit(LeaseLeaked(pool=self._name, held_s=seconds))
        return held_s

    def _tell_refused(self, *, waited_s: float) -> None:
        if self._events is not None:
            self._events.emit(PoolRefused(pool=self._name, waiting=len(self._waiters), waited_s=waited_s))

    def _tell_failed(self, operation: str, error: Exception) -> None:
        if self._events is not None:
            self._events.emit(ResourceFailed(pool=self._name, operation=operation, error=type(error).__name__))
