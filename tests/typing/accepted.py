"""Usage that must check, with mypy and with pyright: what a user writes, and what types come out. Never executed."""

from __future__ import annotations

from random import Random
from typing import assert_never, assert_type

from holdfast import (
    AsyncResourcePool,
    CircuitBreaker,
    Completion,
    Deadline,
    Err,
    InferenceBackend,
    MemorySafeBuffer,
    Message,
    Ok,
    Outcome,
    Policy,
    Prompt,
    Reply,
    Request,
    Retry,
    Role,
    Settings,
    Timeout,
    compose,
    map_bounded,
    open_orchestrator,
)
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BreakerOpenError, ConfigurationError, PoolTimeoutError
from holdfast.ports.events import BreakerOpened, Event, EventSink
from holdfast.ports.resource import ResourceProvider
from holdfast.ports.retrieval import Passage, Retriever
from holdfast.ports.retry import FailedAttempt, RetryStrategy
from holdfast.ports.service import Disposition, Service
from holdfast.ports.trip import TripPolicy


class Never:
    def delay_before_next_s(self, failed: FailedAttempt) -> float | None:
        return None


class AtOnce:
    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        return outcome is Outcome.FAILURE

    def reset(self, *, now_s: float) -> None: ...


class Alarm:
    def emit(self, event: Event) -> None:
        if isinstance(event, BreakerOpened):
            assert_type(event.open_s, float | None)


class Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo")


class Nothing:
    async def retrieve(self, query: str, *, limit: int) -> tuple[Passage, ...]:
        return ()


class Connections:
    resettable = True

    async def create(self) -> bytes:
        return b""

    async def validate(self, resource: bytes) -> bool:
        return True

    async def reset(self, resource: bytes) -> None: ...

    async def close(self, resource: bytes) -> None: ...


# A port is met by shape: an adapter need not inherit from it.
strategy: RetryStrategy = Never()
trip_policy: TripPolicy = AtOnce()
sink: EventSink = Alarm()
backend: InferenceBackend = Echo()
retriever: Retriever = Nothing()
provider: ResourceProvider[bytes] = Connections()


class Provider(ResourceProvider[bytes]):
    """It may, all the same."""

    @property
    def resettable(self) -> bool:
        return False

    async def create(self) -> bytes:
        return b""

    async def validate(self, resource: bytes) -> bool:
        return True

    async def reset(self, resource: bytes) -> None: ...

    async def close(self, resource: bytes) -> None: ...


async def a_policy_keeps_the_type_of_the_work(clock: Clock) -> None:
    async def count() -> int:
        return 1

    retry = Retry(Never(), clock=clock, random=Random(1).random)
    breaker = CircuitBreaker("echo", clock=clock, random=Random(1).random)
    policy = compose(retry, breaker, Timeout(2.0))

    assert_type(policy, Policy)
    assert_type(await policy.call(count), int)
    assert_type(await retry.call(count, deadline=Deadline.after(5.0, clock)), int)
    assert_type(await breaker.call(count), int)


async def a_pool_lends_what_its_provider_makes(clock: Clock) -> None:
    pool = AsyncResourcePool("connections", Provider(), clock=clock, random=Random(1).random)
    async with pool, pool.lease() as lease:
        assert_type(lease.resource, bytes)


async def results_of_map_bounded_are_matched_to_the_end() -> None:
    async def invert(number: int) -> float:
        return 1 / number

    for result in await map_bounded([1, 0], invert, limit=2):
        match result:
            case Ok(value):
                assert_type(value, float)
            case Err(error):
                assert_type(error, Exception)
            case _:
                assert_never(result)


def a_buffer_holds_one_type() -> None:
    buffer: MemorySafeBuffer[str] = MemorySafeBuffer()
    buffer.append("line")
    assert_type(buffer.drain(), list[str])


async def a_service_keeps_conversations(service: Service) -> None:
    session_id = await service.sessions.create(tenant="a", persona="critic")
    assert_type(session_id, str)
    assert_type((await service.sessions.open(session_id, tenant="a")).head.persona, str | None)


async def a_reply_says_what_happened(service: Service) -> None:
    reply = await service.submit(Request(messages=(Message(role=Role.USER, content="why?"),)))
    assert_type(reply, Reply)
    match reply.disposition:
        case Disposition.CALLED | Disposition.JOINED | Disposition.CACHED | Disposition.COMMANDED:
            pass
        case _:
            assert_never(reply.disposition)


async def names_that_are_loaded_late_keep_their_types(settings: Settings) -> None:
    async with open_orchestrator(settings, backends={"echo": Echo()}) as service:
        assert_type(await service.submit(Request(messages=())), Reply)


def errors_carry_their_numbers(error: BreakerOpenError | PoolTimeoutError | ConfigurationError) -> None:
    match error:
        case BreakerOpenError():
            assert_type(error.retry_after_s, float | None)
            connection_error: ConnectionError = error
            del connection_error
        case PoolTimeoutError():
            timeout_error: TimeoutError = error
            del timeout_error
        case _:
            assert_type(error.nearest, str | None)
