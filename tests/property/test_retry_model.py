"""`Retry` against a model: random scripts of failures, random deadlines, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.deadline import Deadline
from holdfast.domain.outcomes import classify
from holdfast.domain.retry import Retry
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.errors import BackendRequestError, BackendThrottledError, BackendUnavailableError
from holdfast.ports.retry import FailedAttempt
from holdfast.testing import VirtualClock, virtual_backend


@dataclass(frozen=True)
class Attempt:
    duration_s: float
    error: Exception | None


def errors() -> st.SearchStrategy[Exception | None]:
    return st.one_of(
        st.none(),
        st.builds(BackendUnavailableError, st.just("down"), backend=st.just("a")),
        st.builds(
            BackendThrottledError,
            backend=st.just("a"),
            retry_after_s=st.none() | st.floats(0.0, 100.0),
            retry_allowed=st.booleans(),
        ),
        st.builds(BackendRequestError, st.just("too long"), backend=st.just("a")),
    )


attempts = st.builds(Attempt, duration_s=st.floats(0.0, 30.0), error=errors())
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 6),
    base_delay_s=st.floats(0.0, 2.0),
    jitter=st.sampled_from(Jitter),
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(
    script=st.lists(attempts, min_size=6, max_size=6),
    policy=policies,
    timeout_s=st.none() | st.floats(0.01, 120.0),
    uniforms=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=6, max_size=6),
)
@settings(max_examples=60)
def test_call_of_any_script_behaves_as_the_model(
    backend: str, script: list[Attempt], policy: RetryPolicy, timeout_s: float | None, uniforms: list[float]
) -> None:
    begun_s: list[float] = []
    ended_s: list[float] = []

    async def work() -> int:
        attempt = script[len(begun_s)]
        begun_s.append(anyio.current_time())
        await anyio.sleep(attempt.duration_s)
        ended_s.append(anyio.current_time())
        if attempt.error is not None:
            raise attempt.error
        return len(begun_s)

    async def scenario() -> tuple[float, int | Exception]:
        clock = VirtualClock()
        chances = iter(uniforms)
        retry = Retry(policy, clock=clock, random=lambda: next(chances))
        deadline = None if timeout_s is None else Deadline.after(timeout_s, clock)
        began_s = clock.monotonic_s()
        try:
            return began_s, await retry.call(work, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - compared with the script below
            return began_s, error

    name, options = virtual_backend(backend)
    began_s, result = anyio.run(scenario, backend=name, backend_options=options)

    made = len(begun_s)
    last = script[made - 1]
    pauses_s = [later - earlier for earlier, later in zip(ended_s, begun_s[1:], strict=False)]
    assert made <= policy.max_attempts
    assert all(attempt.error is not None for attempt in script[: made - 1])
    assert pauses_s == pytest.approx(expected_pauses_s(policy, script[:made], uniforms))
    if timeout_s is not None:
        assert sum(pauses_s) <= timeout_s
        assert all(begun - began_s <= timeout_s for begun in begun_s[1:])
    if last.error is None:
        assert result == made
    else:
        assert result is last.error
        assert len(last.error.__notes__) == 1
        assert f"{made} attempt" in last.error.__notes__[0]
        refused_s = next_delay_s(policy, made, last.error, uniforms[made - 1], pauses_s)
        if refused_s is not None:
            assert timeout_s is not None
            assert refused_s >= timeout_s - (ended_s[-1] - began_s) - 1e-6


def expected_pauses_s(policy: RetryPolicy, made: list[Attempt], uniforms: list[float]) -> list[float]:
    """Ask the policy itself, whose own properties are held elsewhere, for the delay after each attempt but the last."""
    pauses_s: list[float] = []
    for number, attempt in enumerate(made[:-1], start=1):
        assert attempt.error is not None
        delay_s = next_delay_s(policy, number, attempt.error, uniforms[number - 1], pauses_s)
        assert delay_s is not None, "retried although the policy had given up"
        pauses_s.append(delay_s)
    return pauses_s


def next_delay_s(
    policy: RetryPolicy, number: int, error: Exception, uniform: float, pauses_s: list[float]
) -> float | None:
    return policy.delay_before_next_s(
        FailedAttempt(
            number=number,
            error=error,
            verdict=classify(error),
            elapsed_s=0.0,
            previous_delay_s=pauses_s[-1] if pauses_s else 0.0,
            slept_s=sum(pauses_s),
            uniform=uniform,
        )
    )
