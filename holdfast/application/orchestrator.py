"""The wired path that every request takes.

Responsibility: door → session → personas and commands → deduplicate → the stages of the pipeline → deliver; and the
    life of the service.
Guarantees: the deadline is set once, at the door, and holds for everything behind it; identical requests share one
    flight; a duplicate takes no admission slot; after any cancellation every count is back where it was.
Not responsible for: the stages in between: see `holdfast.application.pipeline`; building the parts: see
    `holdfast.application.wiring`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial

from holdfast.application.persona_desk import PersonaDesk, commanded_reply
from holdfast.application.pipeline import Pipeline, Turn
from holdfast.application.reading import ReadReply, addressed
from holdfast.application.reception import Reception, Visit
from holdfast.application.routing import FallbackRouter
from holdfast.application.session_desk import SessionDesk
from holdfast.application.settings_watch import SettingsWatch
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.discovery import Discovery
from holdfast.domain.event_hub import EventHub
from holdfast.domain.memory_ceiling import Hold, MemoryCeiling, charge_bytes
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.registration import Registration
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.shared_answers import SharedAnswers
from holdfast.domain.shared_budgets import SharedBudgets
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.store_link import StoreLink
from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.stream_reader import StreamReader
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.events import RecordedEvent
from holdfast.ports.service import Disposition, Reply, ReplyStream, Request, Service
from holdfast.ports.session import Sessions
from holdfast.ports.statistics import Health, RegistryStatistics

__all__ = ["Orchestrator", "is_fresh", "reply_size_bytes", "reply_text"]


def reply_size_bytes(reply: Reply) -> int:
    """Return about what `reply` takes in memory, its object and its numbers left out."""
    citations = sum(sys.getsizeof(citation.source) + sys.getsizeof(citation.heading) for citation in reply.citations)
    calls = sum(sys.getsizeof(text) for call in reply.tool_calls for text in call.texts)
    return sys.getsizeof(reply.text) + citations + calls


def reply_text(reply: Reply) -> str:
    """Return what a stream of `reply` consists of."""
    return reply.text


def is_fresh(reply: Reply) -> bool:
    """Return whether `reply` may be kept for as long as any: not if another process has kept it for a while already."""
    return reply.disposition is not Disposition.CACHED


class Orchestrator:
    """Answers requests along the one wired path. Open one with `holdfast.open_orchestrator`.

    Args:
        pipeline: the stages.
        router: the backends, for `health`.
        tenants: their rate limits, for `health`.
        admission: the queue of the pipeline, for `health`.
        deduplicator: shares the answers of identical requests.
        streams: shares them while they come.
        reception: the door.
        personas: who answers, and the commands.
        sessions: what requests go on with.
        session_desk: where they are begun.
        memory: the ceiling over requests and what is kept, for `health`.
        models: what backends of the router are loaded into, for `health`.
        registration: leaves the registry before the door is closed; None where this process is in none.
        discoveries: of the backends that are discovered, for `health`; None where there is no registry.
        parameters: the layer of the settings that is followed, for `health`; None where there is none.
        shared: the store that several processes share, for `health`; None where there is none.
        answers: shares answers with other processes; None with nobody.
        rates: shares rate limits with them, for `health`; None with nobody.
        budgets: shares retry budgets with them, for `health`; None with nobody.
        events: the hub that all of them tell.
        clock: monotonic time.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        *,
        pipeline: Pipeline,
        router: FallbackRouter,
        tenants: TenantLimits,
        admission: AdmissionQueue,
        deduplicator: Deduplicator[Reply],
        streams: SharedStreams[Reply],
        reception: Reception,
        personas: PersonaDesk,
        sessions: SessionKeeper,
        session_desk: SessionDesk,
        memory: MemoryCeiling,
        models: ModelSlots,
        registration: Registration | None,
        discoveries: Sequence[Discovery] | None,
        parameters: SettingsWatch | None,
        shared: StoreLink | None,
        answers: SharedAnswers | None,
        rates: SharedRates | None,
        budgets: SharedBudgets | None,
        events: EventHub,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._router = router
        self._tenants = tenants
        self._admission = admission
        self._deduplicator = deduplicator
        self._streams = streams
        self._reception = reception
        self._personas = personas
        self._sessions = sessions
        self._session_desk = session_desk
        self._memory = memory
        self._models = models
        self._registration = registration
        self._discoveries = discoveries
        self._parameters = parameters
        self._shared = shared
        self._answers = answers
        self._rates = rates
        self._budgets = budgets
        self._events = events
        self._clock = clock
        self._opened_at_s = clock.monotonic_s()

    async def submit(self, request: Request) -> Reply:
        """Return the reply to `request`.

        Raises:
            RequestError: the request is wrong as it stands, or its persona or command is.
            RefusedError: it does not fit into memory, was not admitted, or every backend refuses; ``retry_after_s``
                says when to come back.
            DeadlineExceededError: its deadline passed first.
            AttemptTimeoutError: the last attempt timed out.
            BackendError: the last attempt failed.
            RetrievalError: the documents cannot be read.
            OutputRejectedError: the answer did not pass a validator, nor did its repair, where one was allowed.
            ValidatorError: a validator itself failed.
            SessionNotFoundError: the tenant has no such session, or it was gone before the answer was saved.
            SessionConflictError: others kept saving the session, so the answer was not.
            SessionTooLargeError: the turn does not fit into the session, even alone.
            SessionStoreError: the session cannot be read or saved.
            ClosedError: the orchestrator is draining.

        Cancellation: the request leaves every queue and gives back what it holds; a flight that others share goes on.
        """
        with self._reception.visit(request) as visit:
            commanded = await self._hear(visit)
            visit.reply = reply = commanded or await self._answer(visit.turn, visit.urgency)
        return reply

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[ReplyStream]:
        """Give the reply to `request` while it comes, for the length of an ``async with`` block.

        The request takes the same path as in `submit`, in a task of the engine's own, and shares its answer with both
        streams and submits. Its text goes out as it comes, or all at once where it has to be seen whole first (JSON).
        A failure is tried again, and elsewhere, until the first piece has gone out.

        The block is part of the request: it is cancelled at the deadline, unless the reply is complete by then. Whoever
        leaves it earlier ends the request.

        Raises:
            RequestError, ClosedError, SessionError: on entering; as `submit`.
            DeadlineExceededError: on leaving; the deadline passed first.
            ClosedError: on leaving; draining cut the request short.
            StreamInterruptedError: while iterating; the backend failed after something had gone out.
            SlowReaderError: while iterating; nothing was read for ``streaming.stall_timeout_s`` while the answer was as
                far ahead as it may be.
            Exception: while iterating; as `submit`. What the block itself raises passes through as it is.

        Cancellation: as `submit`.

        Example:
            >>> import anyio
            >>> from holdfast import Message, Role, Settings, open_orchestrator
            >>> from holdfast.application.settings import ScriptedSettings
            >>> settings = Settings(backends={"canned": ScriptedSettings(kind="scripted", reply="forty-two")})
            >>> async def main() -> None:
            ...     async with open_orchestrator(settings) as service:
            ...         question = Request(messages=(Message(role=Role.USER, content="what is the answer?"),))
            ...         async with service.stream(question) as stream:
            ...             async for piece in stream:
            ...                 print(piece)
            ...         print((await stream.reply()).backend)
            >>> anyio.run(main)
            forty-two
            canned
        """
        raised: Exception | None = None
        with self._reception.visit(request) as visit:
            commanded = await self._hear(visit)
            with closing(self._open_stream(visit, commanded)) as reader:
                try:
                    yield ReadReply(reader, visit, clock=self._clock)
                except Exception as error:  # noqa: BLE001 - re-raised below, when the visit has been counted
                    raised = error
        try:
            if raised is not None:
                raise raised
        finally:
            raised = None  # or this frame and the error's traceback would keep each other alive

    def health(self) -> Health:
        """Return what every mechanism counts, as one frozen snapshot."""
        return Health(
            state=self._reception.state,
            uptime_s=self._clock.monotonic_s() - self._opened_at_s,
            requests=self._reception.requests(),
            latency=self._reception.latency(),
            tenants=self._tenants.statistics(),
            admission=self._admission.statistics(),
            deduplication=self._deduplicator.statistics(),
            streams=self._streams.statistics(),
            sessions=self._sessions.statistics(),
            memory=self._memory.statistics(),
            output=self._pipeline.output(),
            backends=self._router.health(),
            models=self._models.statistics(),
            registry=self._registry(),
            parameters=None if self._parameters is None else self._parameters.statistics(),
            shared=None if self._shared is None else self._shared.statistics(),
            shared_answers=None if self._answers is None else self._answers.statistics(),
            shared_rates=None if self._rates is None else self._rates.statistics(),
            shared_budgets=None if self._budgets is None else self._budgets.statistics(),
            events=self._events.statistics(),
        )

    @property
    def events(self) -> list[RecordedEvent]:
        """What was decided lately, the oldest first; how much is remembered is set by ``events``."""
        return self._events.recent()

    @property
    def sessions(self) -> Sessions:
        """The conversations that requests can go on with, to be created, read and deleted."""
        return self._session_desk

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests, let the running ones finish for `timeout_s` seconds, then cancel them.

        Readiness ends first, and this process leaves the registry, which takes ``registration.leave_timeout_s`` at most
        on top; whoever comes until then is still let in. It returns when the last call has ended.

        Cancellation: stops waiting; the orchestrator stays closed to new requests.
        """
        self._reception.retire(timeout_s)
        try:
            if self._registration is not None:
                await self._registration.leave()
        finally:
            self._reception.shut()
        await self._reception.drain(timeout_s)
        await self._deduplicator.wait_landed()
        await self._streams.wait_landed()
        self._reception.close()

    def _registry(self) -> RegistryStatistics | None:
        if self._discoveries is None:
            return None
        return RegistryStatistics(
            registration=None if self._registration is None else self._registration.statistics(),
            discoveries=tuple(discovery.statistics() for discovery in self._discoveries),
        )

    async def _answer(self, turn: Turn, urgency: Urgency) -> Reply:
        key = _shared_key(turn)
        if key is None:
            return addressed(await self._pipeline.run(turn, urgency), turn.request, Disposition.CALLED)
        shared = await self._deduplicator.run(key, partial(self._call, key, turn), urgency=urgency)
        return addressed(shared.value, turn.request, shared.disposition)

    async def _call(
        self, key: DeduplicationKey | None, turn: Turn, flight: Urgency, outlet: Outlet | None = None
    ) -> Reply:
        """Return the reply of another process that is asked the same, or that of the pipeline."""
        if self._answers is None or key is None:
            return await self._pipeline.run(turn, flight, outlet)
        return await self._answers.run(key, partial(self._pipeline.run, turn, flight, outlet))

    async def _hear(self, visit: Visit) -> Reply | None:
        """Let the turn be that of its session and persona; return the reply if it was a command instead."""
        turn = await self._with_session(visit.turn, visit.hold)
        kept = None if turn.session is None else turn.session.head.persona
        heard = self._personas.hear(turn, kept=kept, in_session=turn.session is not None)
        if isinstance(heard, Turn):
            visit.turn = heard
            return None
        if turn.session is not None and heard.keeps != kept:
            await self._sessions.set_persona(turn.session.head, heard.keeps)
        return commanded_reply(heard, turn.request)

    async def _with_session(self, turn: Turn, hold: Hold) -> Turn:
        request = turn.request
        if request.session_id is None:
            return turn
        session = await self._sessions.open(request.session_id, tenant=request.tenant)
        self._sessions.require_room(session.head, request.messages)
        size_bytes = turn.size_bytes + session.size_bytes
        hold.grow(charge_bytes(size_bytes) - hold.size_bytes)
        return replace(turn, session=session, size_bytes=size_bytes)

    def _open_stream(self, visit: Visit, commanded: Reply | None) -> StreamReader[Reply]:
        if commanded is not None:
            return self._streams.open(None, lambda _flight, _outlet: _at_once(commanded), urgency=visit.urgency)
        key = _shared_key(visit.turn)
        return self._streams.open(key, partial(self._call, key, visit.turn), urgency=visit.urgency)


async def _at_once(reply: Reply) -> Reply:
    return reply


def _shared_key(turn: Turn) -> DeduplicationKey | None:
    """Return what identical requests share; None if this one shares its answer with nobody."""
    request, session = turn.request, turn.session
    if opts_out(request):
        return None
    return DeduplicationKey.of(
        tenant=request.tenant,
        model=request.model,
        messages=request.messages,
        parameters=request.parameters,
        persona=None if turn.persona is None else turn.persona.label,
        session=None if session is None else (session.head.incarnation, session.head.version),
    )


_: type[Service] = Orchestrator
