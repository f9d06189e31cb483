"""The wired path that every request takes.

Responsibility: door → deduplicate → the stages of the pipeline → deliver; and the life of the service.
Guarantees: the deadline is set once, at the door, and holds for everything behind it; identical requests share one
    flight; a duplicate takes no admission slot; after any cancellation every count is back where it was.
Not responsible for: the stages in between: see `holdfast.application.pipeline`; building the parts: see
    `holdfast.application.container`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import anyio

from holdfast.application.pipeline import Pipeline, Turn
from holdfast.application.routing import FallbackRouter
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.door import check_request
from holdfast.domain.latency import RecentLatency
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ClosedError, DeadlineExceededError
from holdfast.ports.service import Disposition, Reply, Request, Service
from holdfast.ports.statistics import Health, ServiceState

__all__ = ["Orchestrator", "OrchestratorConfig", "reply_size_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorConfig:
    """What the door needs to know.

    Args:
        timeout_s: deadline of a request that names none, in seconds.
        max_request_bytes: the largest request taken, its texts as UTF-8.
    """

    timeout_s: float
    max_request_bytes: int


def reply_size_bytes(reply: Reply) -> int:
    """Return about what `reply` takes in memory, its object and its numbers left out."""
    citations = sum(sys.getsizeof(citation.source) + sys.getsizeof(citation.heading) for citation in reply.citations)
    return sys.getsizeof(reply.text) + citations


class Orchestrator:
    """Answers requests along the one wired path. Open one with `holdfast.open_orchestrator`.

    Args:
        pipeline: the stages.
        router: the backends, for `health`.
        admission: the queue of the pipeline, for `health`; closed by `drain`.
        deduplicator: shares the answers of identical requests.
        config: deadlines and bounds.
        clock: monotonic time.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        router: FallbackRouter,
        admission: AdmissionQueue,
        deduplicator: Deduplicator[Reply],
        config: OrchestratorConfig,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._router = router
        self._admission = admission
        self._deduplicator = deduplicator
        self._config = config
        self._clock = clock
        self._opened_at_s = clock.monotonic_s()
        self._latency = RecentLatency()
        self._state = ServiceState.READY
        self._running: set[anyio.CancelScope] = set()
        self._idle: anyio.Event | None = None

    async def submit(self, request: Request) -> Reply:
        """Return the reply to `request`.

        Raises:
            RequestError: the request is wrong as it stands.
            RefusedError: it was not admitted, or every backend refuses; ``retry_after_s`` says when to come back.
            DeadlineExceededError: its deadline passed first.
            AttemptTimeoutError: the last attempt timed out.
            BackendError: the last attempt failed.
            RetrievalError: the documents cannot be read.
            ClosedError: the orchestrator is draining.

        Cancellation: the request leaves every queue and gives back what it holds; a flight that others share goes on.
        """
        if self._state is not ServiceState.READY:
            raise ClosedError("the orchestrator")
        arrived_s = self._clock.monotonic_s()
        turn = Turn(request=request, size_bytes=check_request(request, max_bytes=self._config.max_request_bytes))
        timeout_s = self._config.timeout_s if request.timeout_s is None else request.timeout_s
        urgency = Urgency(request.priority, Deadline.after(timeout_s, self._clock))
        with anyio.move_on_after(timeout_s) as scope:
            self._running.add(scope)
            try:
                reply = await self._answer(turn, urgency)
                self._latency.record(self._clock.monotonic_s() - arrived_s)
                return reply
            finally:
                self._running.remove(scope)
                if self._idle is not None and not self._running:
                    self._idle.set()
        if not urgency.deadline.has_passed():  # only `drain` cancels a scope before its deadline
            raise ClosedError("the orchestrator")
        raise DeadlineExceededError(timeout_s=timeout_s)

    def health(self) -> Health:
        """Return what every mechanism counts, as one frozen snapshot."""
        return Health(
            state=self._state,
            uptime_s=self._clock.monotonic_s() - self._opened_at_s,
            latency=self._latency.statistics(),
            admission=self._admission.statistics(),
            deduplication=self._deduplicator.statistics(),
            backends=tuple(route.health() for route in self._router.routes),
        )

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests, let the running ones finish for `timeout_s` seconds, then cancel them.

        Cancellation: stops waiting; the orchestrator stays closed to new requests.
        """
        self._state = ServiceState.DRAINING
        if self._idle is None:
            self._idle = anyio.Event()
            if not self._running:
                self._idle.set()
        with anyio.move_on_after(timeout_s):
            await self._idle.wait()
        for scope in self._running:
            scope.cancel()
        await self._idle.wait()
        self._deduplicator.close()
        self._admission.close()
        self._state = ServiceState.CLOSED

    async def _answer(self, turn: Turn, urgency: Urgency) -> Reply:
        request = turn.request
        if opts_out(request):
            return _addressed(await self._pipeline.run(turn, urgency), request, Disposition.CALLED)
        shared = await self._deduplicator.run(
            DeduplicationKey.of(
                tenant=request.tenant,
                model=request.model,
                messages=request.messages,
                parameters=request.parameters,
            ),
            lambda flight: self._pipeline.run(turn, flight),
            urgency=urgency,
        )
        return _addressed(shared.value, request, shared.disposition)


def _addressed(reply: Reply, request: Request, disposition: Disposition) -> Reply:
    """Return the reply of a flight as one of those who share it gets it."""
    if request.request_id is None and disposition is Disposition.CALLED:
        return reply
    return replace(reply, request_id=request.request_id, disposition=disposition)


_: type[Service] = Orchestrator
