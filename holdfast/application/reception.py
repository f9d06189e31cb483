"""The door of the service, and who is inside.

Responsibility: check each request, set its deadline, keep account of those inside, and empty the house when draining.
Guarantees: a deadline is set once, here, and ends whatever is behind it; everyone who came in is counted out, however
    they leave; once draining has begun nobody comes in.
Not responsible for: what happens inside: see `holdfast.application.orchestrator`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from holdfast.application.pipeline import Turn
from holdfast.domain.deadline import Deadline
from holdfast.domain.door import check_request
from holdfast.domain.latency import RecentLatency
from holdfast.domain.request_meter import Ending, RequestMeter, ending_of
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ClosedError, DeadlineExceededError
from holdfast.ports.service import Reply, Request
from holdfast.ports.statistics import LatencyStatistics, RequestStatistics, ServiceState

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
        timeout_s: seconds that it has in all.
        urgency: its priority and deadline.
        scope: what ends it at its deadline.
        reply: set by whoever answers it; a visit that ends without one was cancelled.
    """

    turn: Turn
    timeout_s: float
    urgency: Urgency
    scope: anyio.CancelScope
    reply: Reply | None = None


class Reception:
    """Lets requests in and knows who is inside. For one event loop.

    Args:
        config: deadline and bound of a request.
        clock: monotonic time.
    """

    def __init__(self, config: DoorConfig, *, clock: Clock) -> None:
        self.state = ServiceState.READY
        self._config = config
        self._clock = clock
        self._meter = RequestMeter()
        self._latency = RecentLatency()
        self._inside: set[Visit] = set()
        self._empty: anyio.Event | None = None

    @contextmanager
    def visit(self, request: Request) -> Generator[Visit]:
        """Let `request` in for the length of a ``with`` block, which is cancelled at its deadline.

        Raises:
            RequestError: on entering; the request is wrong as it stands.
            ClosedError: on entering, if the service takes no requests; on leaving, if draining cut the request short.
            DeadlineExceededError: on leaving, if its deadline passed.
        """
        began_s = self._clock.monotonic_s()
        self._meter.begin(now_s=began_s)
        ending = Ending.CANCELLED
        try:
            visit = self._let_in(request)
            self._inside.add(visit)
            try:
                with visit.scope:
                    yield visit
            finally:
                self._inside.remove(visit)
                if self._empty is not None and not self._inside:
                    self._empty.set()
            _refuse_cut_short(visit)
            if visit.reply is not None:
                ending = Ending.ANSWERED
                self._latency.record(self._clock.monotonic_s() - began_s)
        except BaseException as error:
            ending = ending_of(error)
            raise
        finally:
            self._meter.end(ending, now_s=self._clock.monotonic_s())

    def requests(self) -> RequestStatistics:
        """Return how many requests there were, and how they ended."""
        return self._meter.statistics(now_s=self._clock.monotonic_s())

    def latency(self) -> LatencyStatistics:
        """Return how long the last requests that were answered took."""
        return self._latency.statistics()

    async def drain(self, timeout_s: float) -> None:
        """Let nobody in, wait `timeout_s` seconds for those inside, then cancel them and wait until they are gone.

        Cancellation: stops waiting; nobody is let in any more.
        """
        self.state = ServiceState.DRAINING
        if self._empty is None:
            self._empty = anyio.Event()
            if not self._inside:
                self._empty.set()
        with anyio.move_on_after(timeout_s):
            await self._empty.wait()
        for visit in self._inside:
            visit.scope.cancel()
        await self._empty.wait()

    def _let_in(self, request: Request) -> Visit:
        if self.state is not ServiceState.READY:
            raise ClosedError(_NAME)
        size_bytes = check_request(request, max_bytes=self._config.max_request_bytes)
        timeout_s = self._config.timeout_s if request.timeout_s is None else request.timeout_s
        return Visit(
            turn=Turn(request=request, size_bytes=size_bytes),
            timeout_s=timeout_s,
            urgency=Urgency(request.priority, Deadline.after(timeout_s, self._clock)),
            scope=anyio.move_on_after(timeout_s),
        )


def _refuse_cut_short(visit: Visit) -> None:
    if not visit.scope.cancelled_caught:
        return
    if visit.urgency.deadline.has_passed():
        raise DeadlineExceededError(timeout_s=visit.timeout_s)
    raise ClosedError(_NAME)  # only draining cancels a scope before its deadline
