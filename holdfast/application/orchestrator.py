"""The wired path that every request takes.

Responsibility: door → deduplicate → the stages of the pipeline → deliver; and the life of the service.
Guarantees: the deadline is set once, at the door, and holds for everything behind it; identical requests share one
    flight; a duplicate takes no admission slot; after any cancellation every count is back where it was.
Not responsible for: the stages in between: see `holdfast.application.pipeline`; building the parts: see
    `holdfast.application.container`.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from holdfast.application.pipeline import Pipeline, Turn
from holdfast.application.reception import Reception
from holdfast.application.routing import FallbackRouter
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.event_hub import EventHub
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.events import RecordedEvent
from holdfast.ports.service import Disposition, Reply, Request, Service
from holdfast.ports.statistics import Health

__all__ = ["Orchestrator", "reply_size_bytes"]


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
        reception: the door.
        events: the hub that all of them tell.
        clock: monotonic time.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        *,
        pipeline: Pipeline,
        router: FallbackRouter,
        admission: AdmissionQueue,
        deduplicator: Deduplicator[Reply],
        reception: Reception,
        events: EventHub,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._router = router
        self._admission = admission
        self._deduplicator = deduplicator
        self._reception = reception
        self._events = events
        self._clock = clock
        self._opened_at_s = clock.monotonic_s()

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
        with self._reception.visit(request) as visit:
            visit.reply = reply = await self._answer(visit.turn, visit.urgency)
        return reply

    def health(self) -> Health:
        """Return what every mechanism counts, as one frozen snapshot."""
        return Health(
            state=self._reception.state,
            uptime_s=self._clock.monotonic_s() - self._opened_at_s,
            requests=self._reception.requests(),
            latency=self._reception.latency(),
            admission=self._admission.statistics(),
            deduplication=self._deduplicator.statistics(),
            backends=tuple(route.health() for route in self._router.routes),
            events=self._events.statistics(),
        )

    @property
    def events(self) -> list[RecordedEvent]:
        """What was decided lately, the oldest first; how much is remembered is set by ``events``."""
        return self._events.recent()

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests, let the running ones finish for `timeout_s` seconds, then cancel them.

        Cancellation: stops waiting; the orchestrator stays closed to new requests.
        """
        await self._reception.drain(timeout_s)
        self._deduplicator.close()
        self._admission.close()
        self._reception.close()

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
