"""The door of the service, and who is inside.

Responsibility: check each request, set its deadline, keep account of those inside and of their memory, and empty the
    house when draining.
Guarantees: a deadline is set once, here, and ends whatever is behind it; everyone who came in is counted out, however
    they leave, and gives back what they held; once draining has begun nobody comes in.
Not responsible for: what happens inside: see `holdfast.application.orchestrator`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType

import anyio

from holdfast.application.pipeline import Turn
from holdfast.domain.deadline import Deadline
from holdfast.domain.door import check_request
from holdfast.domain.latency import RecentLatency
from holdfast.domain.memory_ceiling import Hold, MemoryCeiling, charge_bytes
from holdfast.domain.request_meter import Ending, RequestMeter, ending_of
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ClosedError, DeadlineExceededError
from holdfast.ports.events import EventSink, RequestAnswered, RequestFailed, ServiceClosed, ServiceDraining
from holdfast.ports.service import Reply, Request
from holdfast.ports.statistics import LatencyStatistics, RequestStatistics, ServiceState
from holdfast.ports.telemetry import Recorder

__all__ = ["DoorConfig", "Reception", "Visit"]

_NAME = "the orchestrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorConfig:
    """What the door needs to know.

    Args:
        timeout_s: deadline of a request that names none, in seconds.
        max_request_bytes: the largest request taken, its texts as UTF-8.
    """

    timeout_s: float
    max_request_bytes: int


@dataclass(eq=False, slots=True, kw_only=True)
class Visit:
    """One request inside, from the door to its reply.

    Args:
        turn: the request as it came in.
        began_s: when that was, on the monotonic clock.
        timeout_s: seconds that it has in all.
        urgency: its priority and deadline.
        scope: what ends it at its deadline.
        hold: the memory that it counts for.
        depart: takes it off the list of those inside; once is enough.
        reply: set by whoever answers it; a visit that ends without one was cancelled.
        answered_at_s: when that was, where the caller stays on after it.
        failure: what the caller was told instead, where it need not leave the block as an exception.
    """

    turn: Turn
    began_s: float
    timeout_s: float
    urgency: Urgency
    scope: anyio.CancelScope
    hold: Hold
    depart: Callable[[Visit], None]
    reply: Reply | None = None
    answered_at_s: float | None = None
    failure: Exception | None = None

    def complete(self, reply: Reply, *, now_s: float) -> None:
        """End the request with `reply` while its caller stays on: nothing cuts off or waits for the caller any more."""
        self.reply = reply
        self.answered_at_s = now_s
        self.scope.deadline = math.inf
        self.hold.release()
        self.depart(self)


class Reception:
    """Lets requests in and knows who is inside. For one event loop.

    Args:
        config: deadline and bound of a request.
        memory: what every request inside counts against.
        clock: monotonic time.
        events: told how each request ended, unless its caller went away, and of the end of the service.
        recorder: follows each request, and what is told of it; None for nobody.
    """

    def __init__(
        self,
        config: DoorConfig,
        *,
        memory: MemoryCeiling,
        clock: Clock,
        events: EventSink | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.state = ServiceState.READY
        self._config = config
        self._memory = memory
        self._clock = clock
        self._events = events
        self._recorder = recorder
        self._meter = RequestMeter()
        self._latency = RecentLatency()
        self._inside: set[Visit] = set()
        self._is_shut = False
        self._empty = anyio.Event()
        self._cut_short = 0

    def reconfigure(self, config: DoorConfig) -> None:
        """Let those who come from now on have the deadline and the bound of `config`."""
        self._config = config

    def visit(self, request: Request) -> AbstractContextManager[Visit]:
        """Let `request` in for the length of a ``with`` block, which is cancelled at its deadline.

        Raises:
            RequestError: on entering; the request is wrong as it stands.
            MemoryCeilingError: on entering; it does not fit into memory beside the others.
            ClosedError: on entering, if the service takes no requests; on leaving, if draining cut the request short.
            DeadlineExceededError: on leaving, if its deadline passed.
        """
        return _Block(self, request) if self._recorder is None else self._follow(request, self._recorder)

    @contextmanager
    def _follow(self, request: Request, recorder: Recorder) -> Generator[Visit]:
        record = recorder.begin_request(request)
        try:
            with _Block(self, record.request) as visit:
                yield visit
        except BaseException as error:
            record.end(reply=None, error=error)
            raise
        record.end(reply=visit.reply, error=visit.failure)

    def enter(self, request: Request) -> Visit:
        """Let `request` in. For the block of `visit`, which hands the visit to `leave` in every case.

        Raises:
            RequestError, MemoryCeilingError, ClosedError: as `visit` on entering; it has been counted.
        """
        began_s = self._clock.monotonic_s()
        self._meter.begin(now_s=began_s)
        try:
            visit = self._let_in(request, began_s)
        except BaseException as error:
            self._count_failed(request, error, began_s)
            raise
        self._inside.add(visit)
        visit.scope.__enter__()
        return visit

    def leave(
        self,
        visit: Visit,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Count `visit` out, whose block has ended. For the block of `visit`, once.

        Raises:
            ClosedError, DeadlineExceededError: as `visit` on leaving; it has been counted.
        """
        try:
            try:
                visit.scope.__exit__(exc_type, exc, traceback)
            finally:
                visit.hold.release()
                self._depart(visit)
            _refuse_cut_short(visit)  # always raises where the scope has caught a cancellation
        except BaseException as error:
            self._count_failed(visit.turn.request, error, visit.began_s)
            raise
        failure = visit.failure if exc is None else exc
        if failure is None:
            self._count_answered(visit)
        else:
            self._count_failed(visit.turn.request, failure, visit.began_s)

    def requests(self) -> RequestStatistics:
        """Return how many requests there were, and how they ended."""
        return self._meter.statistics(now_s=self._clock.monotonic_s())

    def latency(self) -> LatencyStatistics:
        """Return how long the last requests that were answered took."""
        return self._latency.statistics()

    def retire(self, timeout_s: float) -> None:
        """Say that the service is ready no more, so that nobody new is sent here; who comes all the same is let in.

        Args:
            timeout_s: how long `drain` is going to wait, to be told.
        """
        if self.state is ServiceState.READY:
            self.state = ServiceState.DRAINING
            if self._events is not None:
                self._events.emit(ServiceDraining(running=len(self._inside), timeout_s=timeout_s))

    def shut(self) -> None:
        """Let nobody in any more."""
        self._is_shut = True
        if not self._inside:
            self._empty.set()

    def require_open(self) -> None:
        """Raise if nothing new is begun any more.

        Raises:
            ClosedError: as it says.
        """
        if self._is_shut:
            raise ClosedError(_NAME)

    async def drain(self, timeout_s: float) -> None:
        """Let nobody in, wait `timeout_s` seconds for those inside, then cancel them and wait until they are gone.

        Cancellation: stops waiting; nobody is let in any more.
        """
        self.retire(timeout_s)
        self.shut()
        with anyio.move_on_after(timeout_s):
            await self._empty.wait()
        for visit in self._inside:
            self._cut_short += not visit.scope.cancel_called
            visit.scope.cancel()
        await self._empty.wait()

    def close(self) -> None:
        """Say that draining is over; once is enough."""
        if self.state is not ServiceState.CLOSED:
            self.state = ServiceState.CLOSED
            if self._events is not None:
                self._events.emit(ServiceClosed(cancelled=self._cut_short))

    def _let_in(self, request: Request, began_s: float) -> Visit:
        self.require_open()
        size_bytes = check_request(request, max_bytes=self._config.max_request_bytes)
        timeout_s = self._config.timeout_s if request.timeout_s is None else request.timeout_s
        urgency = Urgency(request.priority, Deadline(began_s + timeout_s, self._clock))
        return Visit(
            turn=Turn(request=request, size_bytes=size_bytes),
            began_s=began_s,
            timeout_s=timeout_s,
            urgency=urgency,
            scope=anyio.move_on_after(timeout_s),
            hold=self._memory.hold(charge_bytes(size_bytes)),
            depart=self._depart,
        )

    def _depart(self, visit: Visit) -> None:
        self._inside.discard(visit)
        if self._is_shut and not self._inside:
            self._empty.set()

    def _count_answered(self, visit: Visit) -> None:
        now_s = self._clock.monotonic_s() if visit.answered_at_s is None else visit.answered_at_s
        reply, request = visit.reply, visit.turn.request
        if reply is None:
            self._meter.end(Ending.CANCELLED, now_s=now_s)
            return
        self._meter.end(Ending.ANSWERED, now_s=now_s)
        latency_s = now_s - visit.began_s
        self._latency.record(latency_s)
        if self._events is not None:
            self._events.emit(
                RequestAnswered(
                    tenant=request.tenant,
                    priority=request.priority,
                    backend=reply.backend,
                    disposition=reply.disposition,
                    attempts=reply.attempts,
                    latency_s=latency_s,
                )
            )

    def _count_failed(self, request: Request, error: BaseException, began_s: float) -> None:
        now_s = self._clock.monotonic_s()
        ending = ending_of(error)
        self._meter.end(ending, now_s=now_s)
        if self._events is not None and ending is not Ending.CANCELLED:
            self._events.emit(
                RequestFailed(
                    tenant=request.tenant,
                    priority=request.priority,
                    error=type(error).__name__,
                    latency_s=now_s - began_s,
                )
            )


class _Block:
    """The ``with`` block of one visit. A class, because every request would pay for a generator (adr/0006)."""

    __slots__ = ("_reception", "_request", "_visit")

    _visit: Visit

    def __init__(self, reception: Reception, request: Request) -> None:
        self._reception = reception
        self._request = request

    def __enter__(self) -> Visit:
        self._visit = self._reception.enter(self._request)
        return self._visit

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reception.leave(self._visit, exc_type, exc, traceback)


def _refuse_cut_short(visit: Visit) -> None:
    if not visit.scope.cancelled_caught:
        return
    if visit.urgency.deadline.has_passed():
        raise DeadlineExceededError(timeout_s=visit.timeout_s)
    raise ClosedError(_NAME)  # only draining cancels a scope before its deadline
