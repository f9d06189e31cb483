"""A bounded set of resources that callers take in turns.

Responsibility: lease resources, and make, validate, reset and close them in tasks of its own.
Guarantees: never more than `max_size` resources exist; the one returned last is leased first, the caller who waits
    longest is served first; every lease ends once; after a cancellation at any moment every count is back; each
    resource is closed exactly once. `holdfast.domain.pool_core` lists what holds after every decision.
Not responsible for: what a resource is and how it is made: `holdfast.ports.resource`; the numbers: `PoolConfig`.
Sources: HikariCP; asyncpg's pool; httpcore for deciding first and acting afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, assert_never

import anyio
from anyio.abc import TaskGroup

from holdfast.domain.pool_config import PoolConfig
from holdfast.domain.pool_core import PoolCore
from holdfast.domain.pool_jobs import Close, Create, Job, Reset, Validate
from holdfast.domain.pool_lease import Lease, Member, Waiter
from holdfast.domain.timeout import Timeout
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ClosedError
from holdfast.ports.events import EventSink
from holdfast.ports.resource import ResourceProvider
from holdfast.ports.statistics import PoolStatistics

__all__ = ["AsyncResourcePool", "Lease", "PoolConfig"]

T = TypeVar("T")

_DEFAULTS: Final = PoolConfig()
_SWEEP_EVERY_S: Final = 5.0  # how late an idle resource may be closed or a leak reported; unmeasured


class AsyncResourcePool(Generic[T]):
    """Lends resources; open it with ``async with``, once.

    On leaving, callers in line get `ClosedError`, leases have `close_timeout_s` to come back (no time if whoever leaves
    is cancelled), what is still being made or checked is cancelled, and every resource is closed, also one that is
    still leased. An overdue lease is reported as a `ResourceWarning`; a filter that makes it an error ends the pool.

    Args:
        name: what errors and warnings call it.
        provider: makes and unmakes the resources.
        config: see `PoolConfig`.
        clock: monotonic time.
        random: returns a number in [0, 1); called once for each resource made and each pause after a failure.
        events: told of callers who get no resource, of what the provider fails at, and of leases that are overdue.

    Example:
        >>> import anyio, random
        >>> from holdfast.testing import VirtualClock
        >>> class Numbers:
        ...     resettable = False
        ...     async def create(self) -> int:
        ...         return 7
        ...     async def validate(self, resource: int) -> bool:
        ...         return True
        ...     async def reset(self, resource: int) -> None: ...
        ...     async def close(self, resource: int) -> None: ...
        >>> async def main() -> None:
        ...     async with AsyncResourcePool("numbers", Numbers(), clock=VirtualClock(), random=random.random) as pool:
        ...         async with pool.lease() as lease:
        ...             print(lease.resource)
        >>> anyio.run(main)
        7
    """

    def __init__(
        self,
        name: str,
        provider: ResourceProvider[T],
        config: PoolConfig = _DEFAULTS,
        *,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self.name = name
        self._provider = provider
        self._config = config
        self._clock = clock
        self._now_s = clock.monotonic_s
        self._creation = Timeout(config.create_timeout_s)
        self._upkeep = Timeout(config.upkeep_timeout_s)
        self._core: PoolCore[T] = PoolCore(
            name, config, resettable=provider.resettable, random=random, take_back=self._take_back, events=events
        )
        self._running: AbstractAsyncContextManager[None] | None = None
        self._tasks: TaskGroup
        self._drained: anyio.Event

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise ClosedError(f"pool {self.name!r}")
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._running is not None, "left without having been entered"  # noqa: S101 - Python sees to it
        return await self._running.__aexit__(exc_type, exc, traceback)

    def lease(self) -> AbstractAsyncContextManager[Lease[T]]:
        """Return a context manager that leases on entering, as `acquire` does.

        On leaving, the lease is released, or discarded if the body raised or was cancelled.
        """
        return _Leasing(self)

    def lease_nowait(self) -> Lease[T] | None:
        """Return a lease if a fresh resource idles and nobody is in line, or else None.

        The cheapest way is ``lease = pool.lease_nowait() or await pool.acquire()``, then `Lease.release`, or
        `Lease.discard` if the operation raised or was cancelled.

        Complexity: O(1).
        """
        return self._core.lease_nowait(self._now_s())

    async def acquire(self) -> Lease[T]:
        """Return a lease, waiting in line if need be; does not yield to other tasks if there is no need.

        Raises:
            PoolExhaustedError: `max_waiters` callers wait already.
            PoolTimeoutError: nothing became free in time; caused by the last creation error, if there is one.
            ClosedError: the pool is not open, or was closed meanwhile.
            Exception: what the provider raised when it failed to make a resource, as a copy of one's own
                (`AttemptTimeoutError` if that took too long).

        Cancellation: leaves the line; a lease granted in that moment passes on to the next.
        Complexity: O(1), amortised.
        """
        lease = self.lease_nowait()
        if lease is not None:
            return lease
        settled = anyio.Event()
        waiter: Waiter[T] = Waiter(settled.set)
        self._core.wait(waiter, self._now_s())
        self._act()
        try:
            with anyio.move_on_after(self._config.acquire_timeout_s):
                await settled.wait()
        except BaseException:
            self._core.withdraw(waiter, self._now_s())
            self._act()
            raise
        return self._core.collect(waiter)

    def expire_all(self) -> None:
        """Replace every resource: idle ones now, the others when they come back. For example after a new password."""
        self._core.expire_all(self._now_s())
        if self._core.jobs:
            self._act()

    def statistics(self) -> PoolStatistics:
        """Return what the pool holds now, and its totals since it was made."""
        return self._core.statistics()

    def _take_back(self, lease: Lease[T], *, broken: bool) -> None:
        self._core.end(lease, self._now_s(), broken=broken)
        if self._core.jobs:
            self._act()

    def _act(self) -> None:
        jobs = self._core.jobs
        while jobs:
            self._tasks.start_soon(self._do, jobs.popleft())
        if self._core.is_drained:
            self._drained.set()

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None]:
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as self._tasks:
                self._drained = anyio.Event()
                self._core.open(self._now_s())
                self._tasks.start_soon(self._sweep)
                self._act()
                try:
                    yield
                except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - re-raised below, as it is
                    failure = error  # the task group would wrap it
                finally:
                    await self._close()
        except BaseExceptionGroup as group:
            if failure is None:
                raise
            raise group.derive([failure, *group.exceptions]) from None
        if failure is not None:
            raise failure

    async def _close(self) -> None:
        try:
            self._core.shut()
            self._act()
            with anyio.move_on_after(self._config.close_timeout_s):
                await self._drained.wait()
        finally:
            self._core.revoke()
            self._act()
            self._tasks.cancel_scope.cancel()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_EVERY_S)
            overdue_s = self._core.sweep(self._now_s())
            self._act()
            for held_s in overdue_s:
                warnings.warn(
                    f"pool {self.name!r}: a lease has been out for {held_s:.0f} s; release it, or raise leak_warning_s",
                    ResourceWarning,
                    stacklevel=1,
                )

    async def _do(self, job: Job[T]) -> None:
        try:
            match job:
                case Create():
                    await self._create(job.generation)
                case Validate():
                    await self._validate(job.member)
                case Reset():
                    await self._reset(job.member)
                case Close():
                    await self._close_member(job.member)
                case _:
                    assert_never(job)
        except BaseException:
            # The pool's tasks end like this only when it is closing. Were it still to serve, it would ask for the
            # cancelled job anew, over and over.
            self._core.shut()
            raise
        finally:
            self._act()

    async def _create(self, generation: int) -> None:
        try:
            resource = await self._creation.call(self._provider.create)
        except Exception as error:  # noqa: BLE001 - this task supervises: the core tells the callers who wait
            self._core.creation_failed(error, self._now_s())
        except BaseException:
            self._core.creation_cancelled()
            raise
        else:
            self._core.created(resource, generation, self._now_s())
        while (pause_s := self._core.creation_pause_s(self._now_s())) > 0:
            await self._clock.sleep(pause_s)
        self._core.balance(self._now_s())

    async def _validate(self, member: Member[T]) -> None:
        good = False
        try:
            good = await self._upkeep.call(lambda: self._provider.validate(member.resource))
        except Exception as error:  # noqa: BLE001 - this task supervises: the resource is closed, the failure counted
            self._core.job_failed("validate", error)
        finally:
            self._core.validated(member, self._now_s(), good=good)

    async def _reset(self, member: Member[T]) -> None:
        good = False
        try:
            await self._upkeep.call(lambda: self._provider.reset(member.resource))
            good = True
        except Exception as error:  # noqa: BLE001 - as above
            self._core.job_failed("reset", error)
        finally:
            self._core.was_reset(member, self._now_s(), good=good)

    async def _close_member(self, member: Member[T]) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._upkeep.call(lambda: self._provider.close(member.resource))
        except Exception as error:  # noqa: BLE001 - this task supervises: the failure is counted, and all is done
            self._core.job_failed("close", error)
        finally:
            self._core.closed(self._now_s())


class _Leasing(Generic[T]):
    __slots__ = ("_lease", "_pool")

    def __init__(self, pool: AsyncResourcePool[T]) -> None:
        self._pool = pool
        self._lease: Lease[T]

    async def __aenter__(self) -> Lease[T]:
        self._lease = self._pool.lease_nowait() or await self._pool.acquire()
        return self._lease

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is None:
            self._lease.release()
        else:
            self._lease.discard()
