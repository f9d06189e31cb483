"""Several services of one process, each of which stands for a process, over one store of answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import pytest

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.application.shared_stores import SharedStores
from holdfast.domain.deduplicator import DeduplicationConfig
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.ports.errors import BackendUnavailableError, ClosedError, DeadlineExceededError, StreamInterruptedError
from holdfast.ports.events import (
    ClaimFenced,
    ClaimTakenOver,
    RequestAnswered,
    SharedAnswerTaken,
    SharedAnswerUnreadable,
)
from holdfast.ports.inference import InferenceBackend, Parameters
from holdfast.ports.service import Disposition, Reply, Request
from holdfast.testing import VirtualClock
from tests.fakes.answers import Place
from tests.fakes.service import ONCE, Answering, ask, assert_nothing_is_held, opened, told, unavailable

pytestmark = pytest.mark.anyio

ASK_ONCE = Settings(guard=ONCE)


def meeting() -> MemoryAnswers:
    return MemoryAnswers(clock=VirtualClock())


@asynccontextmanager
async def services(
    count: int, backend: InferenceBackend, settings: Settings = ASK_ONCE, *, store: AnswerStore | None = None
) -> AsyncGenerator[list[Orchestrator]]:
    """Open services that share answers, a backend and sessions."""
    meeting_place = meeting() if store is None else store
    sessions = MemorySessions(clock=VirtualClock())
    async with AsyncExitStack() as stack:
        them = [
            await stack.enter_async_context(
                opened(
                    {"a": backend},
                    settings,
                    shared_stores=nullcontext(SharedStores(store=(place := Place(meeting_place)), answers=place)),
                    session_store=nullcontext(sessions),
                )
            )
            for _ in range(count)
        ]
        yield them
        await anyio.wait_all_tasks_blocked()
        for service in them:
            assert_nothing_is_held(service.health())


async def submit_to_each(them: list[Orchestrator], request: Request, *, times: int = 1) -> list[Reply]:
    replies: list[Reply] = []

    async def submit(service: Orchestrator) -> None:
        replies.append(await service.submit(request))

    async with anyio.create_task_group() as tasks:
        for service in them:
            for _ in range(times):
                tasks.start_soon(submit, service)
    return replies


async def test_submit_to_eight_services_fifty_times_calls_the_backend_once() -> None:
    backend = Answering(delay_s=3.0)
    async with services(8, backend) as them:
        replies = await submit_to_each(them, ask(), times=50)

        assert backend.calls == 1
        assert {reply.text for reply in replies} == {"42"}
        dispositions = [reply.disposition for reply in replies]
        assert (dispositions.count(Disposition.CALLED), dispositions.count(Disposition.JOINED)) == (1, 399)
        assert sum(service.health().admission.granted for service in them) == 1
        answers = [service.health().shared_answers for service in them]
        assert [each.asked for each in answers if each is not None] == [1] * 8
        assert sum(len(told(service, SharedAnswerTaken)) for service in them) == 7


async def test_submit_answered_elsewhere_is_addressed_to_its_own_caller() -> None:
    async with services(2, Answering()) as (first, second):
        await first.submit(replace(ask(), request_id="r-1"))

        reply = await second.submit(replace(ask(), request_id="r-2"))

        assert (reply.request_id, reply.disposition, reply.text) == ("r-2", Disposition.CACHED, "42")
        (answered,) = told(second, RequestAnswered)
        assert answered.disposition is Disposition.CACHED


async def test_submit_answered_from_another_window_is_not_kept_for_a_second_one() -> None:
    backend = Answering()
    settings = Settings(guard=ONCE, deduplication=DeduplicationConfig(window_s=10.0))
    async with services(2, backend, settings) as (first, second):
        await first.submit(ask())
        await anyio.sleep(9.0)
        assert (await second.submit(ask())).disposition is Disposition.CACHED
        assert second.health().deduplication.unkept == 1
        await anyio.sleep(2.0)

        assert (await second.submit(ask())).disposition is Disposition.CALLED
        assert backend.calls == 2


async def test_submit_that_waited_for_another_service_keeps_its_answer() -> None:
    backend = Answering(delay_s=1.0)
    async with services(2, backend) as them:
        await submit_to_each(them, ask())

        assert [(await service.submit(ask())).disposition for service in them] == [Disposition.CACHED] * 2
        assert [service.health().deduplication.entries for service in them] == [1, 1]


async def test_submit_of_two_tenants_is_never_shared() -> None:
    backend = Answering()
    async with services(2, backend) as (first, second):
        await first.submit(ask(tenant="a"))
        await second.submit(ask(tenant="b"))

        assert backend.calls == 2


@pytest.mark.parametrize(
    "own", [{"no_cache": True}, {"idempotent": False}, {"parameters": Parameters(temperature=1.0)}]
)
async def test_submit_that_shares_with_nobody_does_not_ask_the_store(own: dict[str, Any]) -> None:
    backend = Answering()
    async with services(2, backend) as them:
        await submit_to_each(them, ask(**own))

        assert backend.calls == 2
        assert [health.asked for service in them if (health := service.health().shared_answers)] == [0, 0]


async def test_submit_that_fails_elsewhere_fails_with_the_same_error() -> None:
    backend = Answering(delay_s=1.0, failing=unavailable)
    errors: list[BackendUnavailableError] = []
    async with services(4, backend) as them:

        async def submit(service: Orchestrator) -> None:
            with pytest.raises(BackendUnavailableError) as failed:
                await service.submit(ask())
            errors.append(failed.value)

        async with anyio.create_task_group() as tasks:
            for service in them:
                tasks.start_soon(submit, service)

        assert backend.calls == 1
        assert {(str(error), error.backend) for error in errors} == {("backend 'down': is down", "down")}


async def test_submit_whose_deadline_passes_while_another_service_works_ends_at_it() -> None:
    backend = Answering(delay_s=10.0)
    async with services(2, backend) as (first, second), anyio.create_task_group() as tasks:
        tasks.start_soon(first.submit, ask())
        await anyio.wait_all_tasks_blocked()
        began_s = anyio.current_time()
        with pytest.raises(DeadlineExceededError):
            await second.submit(ask(timeout_s=2.0))

        assert anyio.current_time() - began_s == pytest.approx(2.0, abs=0.01)
        await anyio.sleep(10.0)
        assert backend.calls == 1


async def test_submit_cut_short_lets_another_service_take_over_at_once() -> None:
    backend = Answering(delay_s=3.0)
    async with services(2, backend) as (first, second), anyio.create_task_group() as tasks:
        replies: list[Reply] = []
        scope = anyio.CancelScope()

        async def lead() -> None:
            with scope:
                await first.submit(ask())

        async def wait() -> None:
            replies.append(await second.submit(ask()))

        tasks.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.sleep(1.0)
        scope.cancel()
        await anyio.sleep(3.5)

        assert (backend.calls, backend.running) == (2, 0)
        assert [reply.disposition for reply in replies] == [Disposition.CALLED]
        assert len(told(second, ClaimTakenOver)) == 1


async def test_stream_answered_elsewhere_comes_as_one_piece() -> None:
    async with services(2, Answering(text="forty-two")) as (first, second):
        await first.submit(ask())

        async with second.stream(ask()) as stream:
            pieces = [piece async for piece in stream]
            reply = await stream.reply()

        assert (pieces, reply.disposition) == (["forty-two"], Disposition.CACHED)


async def test_stream_of_the_service_that_calls_comes_live_and_reaches_the_other_whole() -> None:
    class Streaming(Answering):
        async def stream(self, prompt, deliver):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - as the port
            for piece in ("forty", "-two"):
                await deliver(piece)
                await anyio.sleep(1.0)
            return await self.complete(prompt)

    pieces: list[list[str]] = [[], []]
    at_s: list[float] = []
    async with services(2, Streaming(text="forty-two")) as (first, second), anyio.create_task_group() as tasks:

        async def read() -> None:
            async with first.stream(ask()) as stream:
                async for piece in stream:
                    pieces[0].append(piece)
                    at_s.append(anyio.current_time())

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        async with second.stream(ask()) as stream:
            pieces[1] = [piece async for piece in stream]

    assert pieces == [["forty", "-two"], ["forty-two"]]
    assert at_s[1] - at_s[0] == pytest.approx(1.0)


async def test_stream_that_is_cut_reaches_the_other_service_as_what_cut_it() -> None:
    class Cut(Answering):
        async def stream(self, prompt, deliver):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - as above
            await deliver("forty")
            await anyio.sleep(1.0)
            raise unavailable()

    async with services(2, Cut()) as (first, second), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(StreamInterruptedError):
                async with first.stream(ask()) as stream:
                    _ = [piece async for piece in stream]

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BackendUnavailableError):
            await second.submit(ask())


async def test_submit_in_a_session_is_saved_once_and_shared_with_who_asks_the_same_in_it() -> None:
    backend = Answering(delay_s=1.0)
    async with services(2, backend) as them:
        session = await them[0].sessions.create(tenant="default")

        replies = await submit_to_each(them, ask(session_id=session))

        assert (backend.calls, len(replies)) == (1, 2)
        assert len((await them[1].sessions.open(session, tenant="default")).turns) == 1
        again = await them[1].submit(ask(session_id=session))
        assert (again.disposition, backend.calls) == (Disposition.CALLED, 2)  # the conversation has gone on


async def test_submit_while_the_store_is_away_calls_in_each_service() -> None:
    backend = Answering()
    place = Place(meeting())
    place.failing = True
    async with services(3, backend, store=place) as them:
        replies = await submit_to_each(them, ask())

        assert (backend.calls, len(replies)) == (3, 3)


async def test_health_without_a_store_says_nothing_of_shared_answers() -> None:
    async with opened({"a": Answering()}) as service:
        assert service.health().shared_answers is None


async def test_drain_of_the_service_that_calls_lets_another_take_over() -> None:
    backend = Answering(delay_s=10.0)
    async with services(2, backend) as (first, second), anyio.create_task_group() as tasks:
        replies: list[Reply] = []

        async def wait() -> None:
            replies.append(await second.submit(ask()))

        async def lose() -> None:
            with pytest.raises(ClosedError):
                await first.submit(ask())

        tasks.start_soon(lose)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.sleep(1.0)
        await first.drain(1.0)
        await anyio.sleep(11.0)

        assert (backend.calls, len(replies)) == (2, 1)


class Garbling(MemoryAnswers):
    """Hands out what nobody can read."""

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        found = await super().claim(claim)
        return replace(found, outcome=b"garbled") if isinstance(found, Told) else found


async def test_submit_that_finds_an_answer_which_cannot_be_read_calls_and_says_so() -> None:
    backend = Answering()
    async with services(2, backend, store=Garbling(clock=VirtualClock())) as (first, second):
        await first.submit(ask())
        reply = await second.submit(ask())

        assert (reply.text, backend.calls) == ("42", 2)
        assert len(told(second, SharedAnswerUnreadable)) == 1


async def test_submit_whose_claim_is_lost_meanwhile_has_its_answer_all_the_same_and_says_so() -> None:
    backend, store = Answering(delay_s=1.0), meeting()
    async with services(1, backend, store=store) as (service,), anyio.create_task_group() as tasks:
        replies = list[Reply]()

        async def submit() -> None:
            replies.append(await service.submit(ask()))

        tasks.start_soon(submit)
        await anyio.sleep(0.5)
        store.lose()
        await anyio.sleep(1.0)

        assert [reply.text for reply in replies] == ["42"]
        assert len(told(service, ClaimFenced)) == 1
