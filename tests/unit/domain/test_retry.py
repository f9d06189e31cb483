from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.outcomes import Classifier, classify
from holdfast.domain.retry import Retry
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BackendRequestError, BackendThrottledError, BreakerOpenError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt
from holdfast.testing import ManualClock, VirtualClock

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(jitter=Jitter.NONE, base_delay_s=1.0)


class Script:
    """Work that fails with the given errors, one for each call, and then answers with the number of the call."""

    def __init__(self, *errors: BaseException, duration_s: float = 0.0) -> None:
        self._errors = list(errors)
        self._duration_s = duration_s
        self.called_at_s: list[float] = []

    async def __call__(self) -> int:
        self.called_at_s.append(anyio.current_time())
        if self._duration_s:
            await anyio.sleep(self._duration_s)
        if self._errors:
            raise self._errors.pop(0)
        return len(self.called_at_s)

    @property
    def pauses_s(self) -> list[float]:
        return [
            later - earlier - self._duration_s
            for earlier, later in zip(self.called_at_s, self.called_at_s[1:], strict=False)
        ]


class Recorder:
    """A strategy that remembers what it was asked."""

    def __init__(self, *delays_s: float | None) -> None:
        self._delays_s = list(delays_s)
        self.asked: list[FailedAttempt] = []

    def delay_before_next_s(self, failed: FailedAttempt) -> float | None:
        self.asked.append(failed)
        return self._delays_s.pop(0)


def retry(strategy: RetryPolicy | Recorder = POLICY, *, classify: Classifier = classify) -> Retry:
    return Retry(strategy, clock=VirtualClock(), random=lambda: 0.5, classify=classify)


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


async def test_call_when_the_first_attempt_succeeds_asks_nobody() -> None:
    strategy = Recorder()
    work = Script()

    assert await retry(strategy).call(work) == 1
    assert strategy.asked == []


async def test_call_when_the_first_attempt_succeeds_draws_no_randomness_and_does_not_classify() -> None:
    def never(*_: object) -> Verdict:
        raise AssertionError("nothing is evaluated before a failure")

    policy = Retry(clock=VirtualClock(), random=never, classify=never)  # type: ignore[arg-type] # it is never called

    assert await policy.call(Script()) == 1


async def test_call_after_failures_returns_what_a_later_attempt_returns() -> None:
    work = Script(ConnectionError(), ConnectionError())

    assert await retry().call(work) == 3
    assert work.pauses_s == pytest.approx([1.0, 2.0])


async def test_call_by_default_makes_three_attempts() -> None:
    work = Script(*[ConnectionError() for _ in range(5)])

    with pytest.raises(ConnectionError):
        await Retry(clock=VirtualClock(), random=lambda: 0.5).call(work)

    assert len(work.called_at_s) == 3


async def test_call_when_attempts_run_out_raises_the_last_error_itself_with_one_note() -> None:
    errors = [ConnectionError(name) for name in ("first", "second", "last")]

    with pytest.raises(ConnectionError) as caught:
        await retry().call(Script(*errors))

    assert caught.value is errors[-1]
    assert notes(errors[-1]) == ["holdfast: 3 attempts in 3 s; the retry strategy allows no further one"]
    assert [notes(error) for error in errors[:-1]] == [[], []]


async def test_call_when_attempts_run_out_does_not_chain_the_errors() -> None:
    errors = [ConnectionError(name) for name in ("first", "second", "last")]

    with pytest.raises(ConnectionError) as caught:
        await retry().call(Script(*errors))

    assert caught.value.__context__ is None


@pytest.mark.parametrize("then_refused", [False, True])
async def test_call_that_gave_up_leaves_no_reference_cycle(then_refused: bool) -> None:
    class Failure(Exception):  # noqa: N818 - unlike the builtin ones, it can be referred to weakly
        pass

    calls = 0

    async def fails() -> None:
        nonlocal calls
        calls += 1
        if then_refused and calls == 2:
            raise BreakerOpenError(breaker="b", retry_after_s=5.0)
        raise Failure

    last: list[weakref.ref[Failure]] = []
    gc.disable()
    try:
        try:
            await retry().call(fails)
        except Failure as failure:
            last.append(weakref.ref(failure))

        assert [reference() for reference in last] == [None]
    finally:
        gc.enable()


async def test_call_after_a_callers_mistake_is_not_retried_and_says_so() -> None:
    mistake = BackendRequestError("too long", backend="a")
    work = Script(mistake)

    with pytest.raises(BackendRequestError):
        await retry().call(work)

    assert len(work.called_at_s) == 1
    assert notes(mistake) == ["holdfast: 1 attempt in 0 s; no retry can help with this"]


async def test_retry_that_is_refused_surfaces_the_failure_before_it() -> None:
    failure = ConnectionResetError("by peer")
    failure.__cause__ = cause = OSError("the link")
    work = Script(failure, BreakerOpenError(breaker="b", retry_after_s=5.0))

    with pytest.raises(ConnectionResetError) as caught:
        await Retry(POLICY, clock=VirtualClock(), random=lambda: 0.5).call(work)

    assert caught.value is failure
    assert caught.value.__cause__ is cause
    assert caught.value.__notes__ == [
        f"holdfast: attempt 2 was refused: BreakerOpenError: {BreakerOpenError(breaker='b', retry_after_s=5.0)}"
    ]


async def test_call_refused_by_ourselves_is_not_retried() -> None:
    work = Script(BreakerOpenError(breaker="a", retry_after_s=1.0))

    with pytest.raises(BreakerOpenError):
        await retry().call(work)

    assert len(work.called_at_s) == 1


async def test_call_told_never_to_retry_stops() -> None:
    work = Script(BackendThrottledError(backend="a", retry_allowed=False))

    with pytest.raises(BackendThrottledError):
        await retry().call(work)

    assert len(work.called_at_s) == 1


async def test_call_told_to_retry_later_waits_that_long() -> None:
    work = Script(BackendThrottledError(backend="a", retry_after_s=10.0))

    assert await retry().call(work) == 2
    assert work.pauses_s == pytest.approx([10.5])


async def test_call_with_a_classifier_of_its_own_follows_it() -> None:
    work = Script(KeyError())

    def forgiving(_: Exception) -> Verdict:
        return Verdict(outcome=Outcome.IGNORED)

    with pytest.raises(KeyError):
        await retry(classify=forgiving).call(work)

    assert len(work.called_at_s) == 1


async def test_call_tells_the_strategy_everything_about_each_failure() -> None:
    clock = ManualClock()
    strategy = Recorder(2.0, 3.0, None)
    errors = [ConnectionError(), BackendThrottledError(backend="a", retry_after_s=1.0), TimeoutError()]
    script = Script(*errors)

    async def quarter_of_a_second() -> int:
        clock.advance(0.25)
        return await script()

    with pytest.raises(TimeoutError):
        await Retry(strategy, clock=clock, random=lambda: 0.5).call(quarter_of_a_second)

    assert strategy.asked == [
        FailedAttempt(
            number=number,
            error=error,
            verdict=verdict,
            elapsed_s=elapsed_s,
            previous_delay_s=previous_delay_s,
            slept_s=slept_s,
            uniform=0.5,
        )
        for number, error, verdict, elapsed_s, previous_delay_s, slept_s in (
            (1, errors[0], Verdict(outcome=Outcome.FAILURE), 0.25, 0.0, 0.0),
            (2, errors[1], Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=1.0), 2.5, 2.0, 2.0),
            (3, errors[2], Verdict(outcome=Outcome.FAILURE), 5.75, 3.0, 5.0),
        )
    ]


async def test_call_whose_next_attempt_would_miss_the_deadline_gives_up_at_once() -> None:
    clock = VirtualClock()
    errors = [ConnectionError(), ConnectionError()]
    began_s = clock.monotonic_s()

    with pytest.raises(ConnectionError) as caught:
        await retry().call(Script(*errors), deadline=Deadline.after(2.5, clock))

    assert caught.value is errors[1]
    assert clock.monotonic_s() - began_s == pytest.approx(1.0)
    assert notes(errors[1]) == ["holdfast: 2 attempts in 1 s; the next, in 2 s, would miss the deadline in 1.5 s"]


async def test_call_whose_next_attempt_would_begin_at_the_deadline_gives_up() -> None:
    work = Script(ConnectionError())
    clock = VirtualClock()

    with pytest.raises(ConnectionError):
        await retry(Recorder(1.0)).call(work, deadline=Deadline(clock.monotonic_s() + 1.0, clock))

    assert len(work.called_at_s) == 1


async def test_call_after_the_deadline_is_not_retried_even_without_a_delay() -> None:
    work = Script(ConnectionError(), duration_s=2.0)

    with pytest.raises(ConnectionError):
        await retry(Recorder(0.0)).call(work, deadline=Deadline.after(1.0, VirtualClock()))

    assert len(work.called_at_s) == 1


async def test_call_whose_deadline_is_postponed_while_it_runs_sees_the_later_one() -> None:
    clock = VirtualClock()
    deadline = Deadline.after(0.5, clock)
    work = Script(ConnectionError())

    async def joined() -> int:
        deadline.postpone_to(Deadline.after(60.0, clock))
        return await work()

    assert await retry().call(joined, deadline=deadline) == 2


async def test_call_with_no_delay_lets_other_tasks_run_between_attempts() -> None:
    order: list[str] = []

    async def fails() -> None:
        order.append("attempt")
        raise ConnectionError

    async def other() -> None:
        order.append("other")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        with pytest.raises(ConnectionError):
            await retry(Recorder(0.0, 0.0, None)).call(fails)

    assert "other" in order[1:-1]


async def test_call_does_not_retry_what_is_not_an_exception() -> None:
    stop = SystemExit(3)
    work = Script(stop)

    with pytest.raises(SystemExit) as caught:
        await retry().call(work)

    assert caught.value is stop
    assert len(work.called_at_s) == 1
    assert notes(stop) == []


async def test_calls_that_run_at_once_do_not_share_their_attempts() -> None:
    policy = retry()
    works = [Script(*[ConnectionError() for _ in range(failures)]) for failures in (0, 1, 2, 2, 1, 0)]

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(policy.call, work)

    assert [len(work.called_at_s) for work in works] == [1, 2, 3, 3, 2, 1]


async def test_call_holds_nothing_while_it_sleeps() -> None:
    limiter = anyio.CapacityLimiter(1)
    work = Script(ConnectionError())
    free: list[float] = []

    async def permitted() -> int:
        async with limiter:
            return await work()

    async def watch() -> None:
        await anyio.sleep(0.5)
        free.append(limiter.available_tokens)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await retry().call(permitted)

    assert free == [1]


async def test_call_waits_with_the_clock_it_was_given() -> None:
    slept: list[float] = []

    class StandingClock:
        def monotonic_s(self) -> float:
            return 0.0

        async def sleep(self, delay_s: float) -> None:
            slept.append(delay_s)

    clock: Clock = StandingClock()
    work: Callable[[], Awaitable[int]] = Script(ConnectionError())

    await Retry(POLICY, clock=clock, random=lambda: 0.5).call(work)

    assert slept == [1.0]
