"""Being found by others, for as long as one lives.

Responsibility: keep this process in the registry from the moment at which it can be reached until it leaves.
Guarantees: nobody waits for the registry except who leaves, and that one for a bounded time; there is a heartbeat at
    least three times within the time to live while the registry answers; a registry that forgot the instance is told
    again; the loss of the registry is told once and its return once; no error of the registry is raised to anybody;
    once the instance has left it is not registered again.
Not responsible for: whether the process is well: whoever opens this one says when it can be reached.
Source: HashiCorp, "Define health checks", TTL checks: an instance that says nothing for its time to live is taken for
    dead, https://developer.hashicorp.com/consul/docs/register/health-check/vm.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, assert_never

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from holdfast.domain.backoff import Backoff
from holdfast.domain.timeout import Timeout
from holdfast.domain.validation import require_not_below, require_positive
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.events import (
    DeregistrationFailed,
    EventSink,
    RegistrationForgotten,
    RegistryLost,
    RegistryRejoined,
)
from holdfast.ports.registry import ServiceInstance, ServiceRegistry
from holdfast.ports.statistics import RegistrationStatistics

__all__ = ["Registration", "RegistrationConfig"]

_ROLE = "registration"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationConfig:
    """How a process stays registered.

    Args:
        ttl_s: seconds without a heartbeat after which others take it for dead; above 0. A heartbeat is sent after a
            third of that, less up to a tenth by jitter. Default 15, unmeasured.
        forget_after_s: seconds for which it may be dead before the registry removes it, at least `ttl_s`; default 60,
            the least that Consul takes for ``DeregisterCriticalServiceAfter``.
        call_timeout_s: seconds that one call to the registry may take; above 0. Default 5, unmeasured.
        leave_timeout_s: seconds that leaving may take, and so hold up a drain; above 0. Default 3, unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    ttl_s: float = 15.0
    forget_after_s: float = 60.0
    call_timeout_s: float = 5.0
    leave_timeout_s: float = 3.0

    def __post_init__(self) -> None:
        require_positive("registration.ttl_s", self.ttl_s)
        require_not_below("registration.forget_after_s", self.forget_after_s, "registration.ttl_s", self.ttl_s)
        require_positive("registration.call_timeout_s", self.call_timeout_s)
        require_positive("registration.leave_timeout_s", self.leave_timeout_s)

    @property
    def heartbeat_s(self) -> float:
        """Seconds from one heartbeat to the next, at most."""
        return self.ttl_s / 3


class _Step(enum.Enum):
    REGISTER = enum.auto()
    HEARTBEAT = enum.auto()
    DEREGISTER = enum.auto()


class Registration:
    """Registers one instance; open it with ``async with``, once. For one event loop.

    On leaving the block the instance leaves, if it has not before.

    Args:
        registry: where.
        instance: this process.
        config: see `RegistrationConfig`.
        reachable: returns once the instance can be reached; it is not registered before. The default returns at once.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told when the registry is lost, is back, or forgot the instance, and when leaving failed.

    Example:
        >>> import anyio
        >>> from holdfast.adapters.memory import MemoryRegistry
        >>> from holdfast.testing import VirtualClock
        >>> async def main() -> None:
        ...     registry = MemoryRegistry(clock=VirtualClock())
        ...     instance = ServiceInstance(service="asks", instance_id="asks-1", host="10.0.0.1", port=8080)
        ...     async with Registration(registry, instance, clock=VirtualClock(), random=lambda: 0.5):
        ...         _, found = await registry.instances("asks", index=1, wait_s=1.0)
        ...     print([instance.address for instance in found])
        >>> anyio.run(main)
        ['10.0.0.1:8080']
    """

    _tasks: TaskGroup

    def __init__(  # noqa: PLR0913 - three of them are what every mechanism takes
        self,
        registry: ServiceRegistry,
        instance: ServiceInstance,
        config: RegistrationConfig = RegistrationConfig(),
        *,
        reachable: Callable[[], Awaitable[None]] = checkpoint,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self._registry = registry
        self._instance = instance
        self._config = config
        self._reachable = reachable
        self._clock = clock
        self._random = random
        self._events = events
        self._timeout = Timeout(config.call_timeout_s)
        self._backoff = Backoff(min(1.0, config.heartbeat_s), config.heartbeat_s, random=random)
        self._is_listed = self._may_be_listed = False
        self._lost_at_s: float | None = None
        self._waiting = anyio.CancelScope()
        self._scope = anyio.CancelScope(shield=True)  # who is cancelled leaves the registry all the same
        self._leaving = anyio.Event()
        self._ended = anyio.Event()
        self._failure: str | None = None
        self._is_leaving_told = False
        self._called = self._calling = self._failed = 0
        self._registered = self._refreshed = self._forgotten = self._deregistered = 0

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._live, name=f"registration of {self._instance.instance_id}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):  # bounded by the time that leaving may take
            await self.leave()
        self._scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    async def leave(self) -> None:
        """Leave the registry, for good; return when that is done, has failed, or took `leave_timeout_s`.

        Idempotency: leaving again waits for nothing, if the first time is over.

        Cancellation: stops waiting; the instance leaves all the same.
        """
        self._leaving.set()
        self._waiting.cancel()
        if not self._is_leaving_told:
            with anyio.move_on_after(self._config.leave_timeout_s):
                await self._ended.wait()
            self._tell_leaving()

    def statistics(self) -> RegistrationStatistics:
        """Return whether the registry lists the instance, and what became of every call."""
        done = self._registered + self._refreshed + self._forgotten + self._deregistered + self._failed
        return RegistrationStatistics(
            service=self._instance.service,
            instance=self._instance.instance_id,
            listed=self._is_listed,
            called=self._called,
            calling=self._calling,
            registered=self._registered,
            refreshed=self._refreshed,
            forgotten=self._forgotten,
            deregistered=self._deregistered,
            failed=self._failed,
            cancelled=self._called - self._calling - done,
        )

    async def _live(self) -> None:
        with self._scope:
            with self._waiting:
                await self._reachable()
            await self._stay_and_leave()

    async def _stay_and_leave(self) -> None:
        while not self._leaving.is_set():
            began_s = self._clock.monotonic_s()
            step = _Step.HEARTBEAT if self._is_listed else _Step.REGISTER
            error = await self._do(step)
            if error is not None:
                pause_s = self._backoff.fail(at_once=isinstance(error, StoreRefusedError))
            elif self._is_listed:
                self._backoff.succeed()
                took_s = max(0.0, self._clock.monotonic_s() - began_s)
                pause_s = self._config.heartbeat_s * (1 - 0.1 * self._random()) - took_s
            else:
                continue  # it was forgotten
            with anyio.move_on_after(max(0.0, pause_s)):
                await self._leaving.wait()
        if self._may_be_listed:
            error = await self._do(_Step.DEREGISTER)
            self._failure = None if error is None else type(error).__name__
        self._ended.set()

    async def _do(self, step: _Step) -> Exception | None:
        """Take one step, and return what it failed with."""
        self._called += 1
        self._calling = 1
        try:
            await self._timeout.call(lambda: self._call(step))
        except Exception as error:  # noqa: BLE001 - this supervises the registration: it is told of, and tried again
            self._failed += 1
            if step is not _Step.DEREGISTER:  # which is told of by itself
                self._lose(error)
            return error
        finally:
            self._calling = 0
        self._find()
        return None

    async def _call(self, step: _Step) -> None:
        config = self._config
        match step:
            case _Step.REGISTER:
                self._may_be_listed = True  # also if the answer is lost
                await self._registry.register(self._instance, ttl_s=config.ttl_s, forget_after_s=config.forget_after_s)
                self._registered += 1
                self._is_listed = True
            case _Step.HEARTBEAT:
                self._is_listed = await self._registry.heartbeat(self._instance)
                self._refreshed += self._is_listed
                self._forgotten += not self._is_listed
                if not self._is_listed and self._events is not None:
                    self._events.emit(
                        RegistrationForgotten(service=self._instance.service, instance=self._instance.instance_id)
                    )
            case _Step.DEREGISTER:
                await self._registry.deregister(self._instance)
                self._deregistered += 1
                self._is_listed = self._may_be_listed = False
            case _:
                assert_never(step)

    def _lose(self, error: Exception) -> None:
        if self._lost_at_s is None:
            self._lost_at_s = self._clock.monotonic_s()
            if self._events is not None:
                self._events.emit(
                    RegistryLost(
                        service=self._instance.service,
                        role=_ROLE,
                        error=type(error).__name__,
                        is_refusal=isinstance(error, StoreRefusedError),
                    )
                )

    def _find(self) -> None:
        lost_at_s, self._lost_at_s = self._lost_at_s, None
        if lost_at_s is not None and self._events is not None:
            away_s = max(0.0, self._clock.monotonic_s() - lost_at_s)
            self._events.emit(RegistryRejoined(service=self._instance.service, role=_ROLE, away_s=away_s))

    def _tell_leaving(self) -> None:
        if self._is_leaving_told:
            return
        self._is_leaving_told = True
        error = self._failure if self._ended.is_set() else "TimeoutError"
        if error is not None and self._events is not None:
            self._events.emit(
                DeregistrationFailed(service=self._instance.service, instance=self._instance.instance_id, error=error)
            )
