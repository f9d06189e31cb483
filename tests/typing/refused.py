"""Usage that must not check. Both checkers call an ignore that hides no error an error. Never executed."""

from __future__ import annotations

from random import Random

import holdfast
from holdfast import (
    CircuitBreaker,
    Completion,
    InferenceBackend,
    MemorySafeBuffer,
    Message,
    Outcome,
    Prompt,
    Request,
    Retry,
    Role,
    Timeout,
    compose,
    map_bounded,
)
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BreakerOpenError
from holdfast.ports.events import Event, EventSink
from holdfast.ports.identity import TrustStore, Verifier
from holdfast.ports.retry import FailedAttempt, RetryStrategy
from holdfast.ports.trip import TripPolicy


class Synchronous:
    def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo")


class WrongUnit:
    def delay_before_next_s(self, failed: FailedAttempt) -> str:
        return "1 s"


class NoReset:
    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        return outcome is Outcome.FAILURE


class Waiting:
    async def emit(self, event: Event) -> None: ...


backend: InferenceBackend = Synchronous()  # type: ignore[assignment]
strategy: RetryStrategy = WrongUnit()  # type: ignore[assignment]
trip_policy: TripPolicy = NoReset()  # type: ignore[assignment]
sink: EventSink = Waiting()  # type: ignore[assignment]
nothing = holdfast.no_such_name  # type: ignore[attr-defined]


async def a_policy_takes_only_async_work(clock: Clock) -> None:
    def count() -> int:
        return 1

    await Retry(clock=clock, random=Random(1).random).call(count)  # type: ignore[arg-type]
    await Timeout(2.0).call(count)  # type: ignore[arg-type]


async def a_result_keeps_its_type(clock: Clock) -> None:
    async def count() -> int:
        return 1

    text: str = await compose(Timeout(2.0)).call(count)  # type: ignore[arg-type]
    del text


def only_policies_are_composed(clock: Clock) -> None:
    compose(Timeout(2.0), clock)  # type: ignore[arg-type]
    compose()  # type: ignore[call-arg]


def a_clock_and_a_source_of_randomness_are_always_given(clock: Clock) -> None:
    CircuitBreaker("echo", clock=clock)  # type: ignore[call-arg]
    Retry(random=Random(1).random)  # type: ignore[call-arg]


def values_are_frozen_and_named(request: Request) -> None:
    request.tenant = "other"  # type: ignore[misc]
    Message(Role.USER, "why?")  # type: ignore[call-arg]
    Message(role="user", content="why?")  # type: ignore[arg-type]


def a_buffer_holds_one_type() -> None:
    MemorySafeBuffer[str]().append(1)  # type: ignore[arg-type]


async def an_item_of_map_bounded_fits_the_work() -> None:
    async def invert(number: int) -> float:
        return 1 / number

    await map_bounded(["one"], invert, limit=2)  # type: ignore[arg-type]


def an_error_is_made_with_its_numbers() -> None:
    raise BreakerOpenError("echo")  # type: ignore[call-arg]


async def a_name_is_checked_before_it_is_used(verifier: Verifier, trust: TrustStore) -> None:
    verifier.verify("did:key:z6Mk", b"", b"")  # type: ignore[arg-type]
    await trust.find("did:key:z6Mk")  # type: ignore[arg-type]
