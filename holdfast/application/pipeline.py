"""The stages behind the deduplicator, in their order.

Responsibility: tenant's rate limit → admit → retrieve → assemble → infer → post-process → validate → save, for one
    turn.
Guarantees: whatever a stage took, it has given back when the turn ends, however it ends; the deadline is handed to each
    stage as the same object.
Not responsible for: the door, the deadline and shared answers: see `holdfast.application.orchestrator`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial

from holdfast.application.finishing import Finishing
from holdfast.application.routing import FallbackRouter
from holdfast.domain.admission import AdmissionQueue
from holdfast.domain.metered_call import MeteredCall
from holdfast.domain.persona import Persona
from holdfast.domain.prompt_assembly import assemble, retrieval_query
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.token_estimate import estimate_tokens
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.retrieval import Retriever
from holdfast.ports.service import Disposition, Reply, Request
from holdfast.ports.session import Session
from holdfast.ports.statistics import OutputStatistics

__all__ = ["Pipeline", "Turn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A request that came through the door, with what was found out about it there.

    Args:
        request: what was asked.
        size_bytes: its texts as UTF-8, in bytes, and those of the session.
        persona: who answers; None for nobody in particular.
        session: what it goes on with; None for a request on its own.
    """

    request: Request
    size_bytes: int
    persona: Persona | None = None
    session: Session | None = None

    @property
    def conversation(self) -> Request:
        """The request with all that was said before it, made anew each time: it may be long."""
        if self.session is None:
            return self.request
        return replace(self.request, messages=(*self.session.messages, *self.request.messages))


class Pipeline:
    """Works on one turn at a time for each caller, any number of callers at once.

    Args:
        router: the backends.
        retriever: where passages come from; None leaves that stage out.
        tenants: what each tenant gets in a minute.
        admission: the queue, with the limit behind it.
        sessions: where the turn is saved, if it goes on with one.
        finishing: post-processing and validators.
        max_passages: passages retrieved for each request.
        instance: begins every idempotency key, so that two processes never send the same one.
        clock: monotonic time.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        *,
        router: FallbackRouter,
        retriever: Retriever | None,
        tenants: TenantLimits,
        admission: AdmissionQueue,
        sessions: SessionKeeper,
        finishing: Finishing,
        max_passages: int,
        instance: str,
        clock: Clock,
    ) -> None:
        self._router = router
        self._retriever = retriever
        self._tenants = tenants
        self._admission = admission
        self._sessions = sessions
        self._finishing = finishing
        self.max_passages = max_passages
        self._instance = instance
        self._clock = clock
        self._numbers = itertools.count(1)

    def output(self) -> OutputStatistics | None:
        """Return what became of the answers that validators checked; None where there are no validators."""
        return self._finishing.statistics()

    async def run(self, turn: Turn, urgency: Urgency, outlet: Outlet | None = None) -> Reply:
        """Return the reply to `turn`, as one that was called for.

        Args:
            turn: what was asked.
            urgency: its priority and deadline.
            outlet: where its text goes while it comes; if all of it has to be seen first, it goes there after that, and
                only in a session.

        Raises:
            Exception: as `Orchestrator.submit` says; nothing of the turn is held any more.

        Cancellation: the turn leaves the queue and gives back what it holds.
        """
        reply = await self._run_limited(turn, urgency, outlet)
        if turn.session is not None:
            if outlet is not None:
                if not outlet.sent_bytes:
                    await outlet.deliver(reply.text)
                await outlet.wait_delivered()  # or what nobody has been told would be remembered
            await self._sessions.append_turn(turn.session.head, turn.request.messages, reply.text)
        return reply

    async def _run_limited(self, turn: Turn, urgency: Urgency, outlet: Outlet | None) -> Reply:
        estimate = estimate_tokens(turn.conversation)
        limit = self._tenants.get(turn.request.tenant)
        if limit is None:
            return await self._run_metered(turn, urgency, outlet, None, estimate.total)
        with MeteredCall(limit, estimate, urgency.deadline, outlet=outlet) as metered:
            reply = await self._run_metered(turn, urgency, outlet, metered, estimate.total)
            metered.answer(reply.usage)
        return reply

    async def _run_metered(
        self, turn: Turn, urgency: Urgency, outlet: Outlet | None, metered: MeteredCall | None, tokens: int
    ) -> Reply:
        queued_s = self._clock.monotonic_s()
        return await self._admission.call(
            partial(self._run_admitted, turn, urgency, outlet, metered, queued_s),
            urgency=urgency,
            size_bytes=turn.size_bytes,
            tokens=tokens,
            tenant=turn.request.tenant,
        )

    async def _run_admitted(
        self, turn: Turn, urgency: Urgency, outlet: Outlet | None, metered: MeteredCall | None, queued_s: float
    ) -> Reply:
        admitted_s = self._clock.monotonic_s()
        request, persona = turn.request, turn.persona
        name = None if persona is None else persona.name
        passages = (
            await self._retriever.retrieve(retrieval_query(request), limit=self.max_passages)
            if self._retriever is not None
            else ()
        )
        key = request.idempotency_key
        if key is None:
            key = f"{self._instance}-{next(self._numbers)}"
        prompt = assemble(
            turn.conversation, passages, instructions=None if persona is None else persona.prompt, idempotency_key=key
        )
        if metered is not None:
            metered.begin()
        asked_s = self._clock.monotonic_s()
        routed = await self._router.complete(
            prompt,
            deadline=urgency.deadline,
            key=request.session_id or request.tenant,
            idempotent=request.idempotent,
            outlet=None if self._finishing.holds_back(request.parameters, name) else outlet,
        )
        if metered is not None:
            metered.answer(routed.completion.usage)  # also if it is rejected
        finished = await self._finishing.finish(
            routed, prompt, persona=name, idempotent=request.idempotent, deadline=urgency.deadline
        )
        answered_s = self._clock.monotonic_s()
        completion = finished.completion
        return Reply(
            text=completion.text,
            backend=routed.route.name,
            model=completion.model,
            disposition=Disposition.CALLED,
            attempts=finished.attempts,
            queue_s=admitted_s - queued_s,
            backend_s=answered_s - asked_s,
            usage=completion.usage,
            citations=completion.citations,
            persona=name,
            marks=finished.marks,
            tool_calls=completion.tool_calls,
            finish_reason=completion.finish_reason,
            request_id=None,  # of whoever asks: the orchestrator sets it for each caller
        )
