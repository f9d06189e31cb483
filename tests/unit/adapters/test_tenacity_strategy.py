from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
import tenacity.asyncio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_all,
    retry_always,
    retry_any,
    retry_if_exception,
    retry_if_exception_cause_type,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_message,
    retry_if_not_exception_type,
    retry_if_not_result,
    retry_if_result,
    retry_never,
    retry_unless_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    stop_before_delay,
    stop_never,
    stop_when_event_set,
    wait_chain,
    wait_combine,
    wait_exception,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
)

from holdfast.adapters.tenacity import TenacityStrategy
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.retry import FailedAttempt

Rule = Any  # one of tenacity's, or what a user might give by mistake


def failed(
    number: int = 1,
    error: Exception | None = None,
    *,
    elapsed_s: float = 0.0,
    slept_s: float = 0.0,
    retry_after_s: float | None = None,
) -> FailedAttempt:
    return FailedAttempt(
        number=number,
        error=error if error is not None else ConnectionError("down"),
        verdict=Verdict(outcome=Outcome.FAILURE, retry_after_s=retry_after_s),
        elapsed_s=elapsed_s,
        previous_delay_s=0.0,
        slept_s=slept_s,
        uniform=0.5,
    )


def is_retried(retry: tenacity.retry_base, error: Exception) -> bool:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_none(), retry=retry)
    return strategy.delay_before_next_s(failed(error=error)) is not None


@pytest.mark.parametrize(
    ("wait", "delays_s"),
    [
        (wait_none(), [0.0, 0.0, 0.0]),
        (wait_fixed(2), [2.0, 2.0, 2.0]),
        (wait_incrementing(start=1, increment=2), [1.0, 3.0, 5.0]),
        (wait_exponential(multiplier=0.5, max=1.5), [0.5, 1.0, 1.5]),
        (wait_chain(wait_fixed(1), wait_fixed(5)), [1.0, 5.0, 5.0]),
        (wait_fixed(1) + wait_incrementing(start=0, increment=1), [1.0, 2.0, 3.0]),
        (lambda state: state.attempt_number * 10, [10.0, 20.0, 30.0]),
    ],
)
def test_delay_is_what_the_wait_says(wait: tenacity.wait.wait_base, delays_s: list[float]) -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait)

    assert [strategy.delay_before_next_s(failed(number)) for number in (1, 2, 3)] == delays_s


def test_delay_of_a_random_wait_lies_within_its_bounds() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_random(1, 2))

    delay_s = strategy.delay_before_next_s(failed())

    assert delay_s is not None
    assert 1.0 <= delay_s <= 2.0


def test_delay_of_a_wait_that_reads_the_error_follows_it() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_exception(lambda error: float(str(error))))

    assert strategy.delay_before_next_s(failed(error=ValueError("7"))) == 7.0


@pytest.mark.parametrize("wait_s", [float("inf"), float("nan")])
def test_delay_that_nobody_can_sleep_gives_up(wait_s: float) -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=lambda _: wait_s)

    assert strategy.delay_before_next_s(failed()) is None


def test_delay_below_zero_is_none_at_all() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=lambda _: -1.0)

    assert strategy.delay_before_next_s(failed()) == 0.0


def test_delay_shorter_than_the_peer_asked_for_is_what_the_peer_asked_for() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_fixed(1))

    assert strategy.delay_before_next_s(failed(retry_after_s=10.0)) == 10.5
    assert strategy.delay_before_next_s(failed(retry_after_s=0.5)) == 1.0


def test_delay_longer_than_the_bound_on_retry_after_gives_up() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_none(), max_retry_after_s=5.0)

    assert strategy.delay_before_next_s(failed(retry_after_s=5.0)) is not None
    assert strategy.delay_before_next_s(failed(retry_after_s=5.1)) is None


def test_bound_on_retry_after_by_default_is_a_minute() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_none())

    assert strategy.delay_before_next_s(failed(retry_after_s=60.0)) is not None
    assert strategy.delay_before_next_s(failed(retry_after_s=60.1)) is None


@pytest.mark.parametrize("bound_s", [-1.0, float("nan"), float("inf")])
def test_bound_on_retry_after_out_of_range_is_refused(bound_s: float) -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.max_retry_after_s"):
        TenacityStrategy(stop=stop_never, wait=wait_none(), max_retry_after_s=bound_s)


@pytest.mark.parametrize(
    ("stop", "at", "goes_on"),
    [
        (stop_after_attempt(3), {"number": 2}, True),
        (stop_after_attempt(3), {"number": 3}, False),
        (stop_after_delay(10), {"elapsed_s": 9.9}, True),
        (stop_after_delay(10), {"elapsed_s": 10.0}, False),
        (stop_before_delay(10), {"elapsed_s": 7.9}, True),
        (stop_before_delay(10), {"elapsed_s": 8.0}, False),
        (stop_before_delay(10), {"elapsed_s": 1.0, "retry_after_s": 30.0}, False),
        (stop_after_attempt(3) | stop_after_delay(10), {"number": 1, "elapsed_s": 11.0}, False),
        (stop_after_attempt(3) & stop_after_delay(10), {"number": 1, "elapsed_s": 11.0}, True),
        (lambda state: state.idle_for >= 4, {"slept_s": 3.9}, True),
        (lambda state: state.idle_for >= 4, {"slept_s": 4.0}, False),
    ],
)
def test_stop_is_asked_with_our_own_times(stop: Rule, at: dict[str, Any], goes_on: bool) -> None:
    strategy = TenacityStrategy(stop=stop, wait=wait_fixed(2))

    assert (strategy.delay_before_next_s(failed(**at)) is not None) is goes_on


def test_stop_on_an_event_follows_the_event() -> None:
    event = threading.Event()
    strategy = TenacityStrategy(stop=stop_when_event_set(event), wait=wait_none())

    assert strategy.delay_before_next_s(failed()) is not None
    event.set()
    assert strategy.delay_before_next_s(failed()) is None


@pytest.mark.parametrize(
    ("retry", "error", "retried"),
    [
        (retry_if_exception_type(OSError), ConnectionError(), True),
        (retry_if_exception_type(OSError), ValueError(), False),
        (retry_if_not_exception_type(OSError), ValueError(), True),
        (retry_if_not_exception_type(OSError), ConnectionError(), False),
        (retry_if_exception(lambda error: "busy" in str(error)), ValueError("busy"), True),
        (retry_if_exception_message(match="bus"), ValueError("idle"), False),
        (retry_if_exception_type(OSError) | retry_if_exception_message("busy"), ValueError("busy"), True),
        (retry_if_exception_type(OSError) & retry_if_not_exception_type(TimeoutError), TimeoutError(), False),
        (retry_never, ValueError(), False),
        # These two would retry a success too, but not when something else forbids it.
        (retry_if_exception_type(OSError) & retry_unless_exception_type(TimeoutError), ConnectionError(), True),
        (retry_if_exception_type(OSError) & retry_always, ValueError(), False),
    ],
)
def test_retry_is_asked_about_the_error(retry: tenacity.retry_base, error: Exception, retried: bool) -> None:
    assert is_retried(retry, error) is retried


def test_retry_that_looks_at_the_cause_sees_it() -> None:
    error = ValueError()
    error.__cause__ = ConnectionError()

    assert is_retried(retry_if_exception_cause_type(ConnectionError), error)


def test_retry_by_default_retries_every_failure() -> None:
    strategy = TenacityStrategy(stop=stop_never, wait=wait_none())

    assert strategy.delay_before_next_s(failed(error=KeyError())) == 0.0


def test_try_again_is_retried_whatever_the_rule_says_until_it_stops() -> None:
    strategy = TenacityStrategy(stop=stop_after_attempt(2), wait=wait_none(), retry=retry_never)

    assert strategy.delay_before_next_s(failed(1, tenacity.TryAgain())) == 0.0
    assert strategy.delay_before_next_s(failed(2, tenacity.TryAgain())) is None


def test_rules_see_a_state_of_their_own_for_each_decision() -> None:
    seen: list[RetryCallState] = []

    def look(state: RetryCallState) -> bool:
        seen.append(state)
        return True

    strategy = TenacityStrategy(stop=stop_never, wait=wait_fixed(3), retry=look)
    error = ConnectionError()

    strategy.delay_before_next_s(failed(4, error, elapsed_s=2.5, slept_s=1.5))
    strategy.delay_before_next_s(failed(1))

    first, second = seen
    assert first is not second
    assert (first.attempt_number, first.seconds_since_start, first.idle_for) == (4, 2.5, 1.5)
    assert first.outcome is not None
    assert first.outcome.exception() is error
    assert first.upcoming_sleep == 3.0
    assert (second.attempt_number, second.seconds_since_start, second.idle_for) == (1, 0.0, 0.0)


async def answers_yes(_: object) -> bool:
    return True


async_rule: Rule = answers_yes


class AsyncRule:
    async def __call__(self, _: object) -> bool:
        return True


@pytest.mark.parametrize(
    "rule",
    [
        async_rule,
        functools.partial(async_rule),
        AsyncRule(),
        retry_if_exception(async_rule),
        tenacity.asyncio.retry_if_exception(async_rule),
        tenacity.asyncio.retry_any(retry_never),
        retry_if_exception_type() | retry_if_exception(async_rule),
        retry_all(retry_if_exception_type(), retry_any(retry_if_exception_type(), async_rule)),
    ],
)
def test_asynchronous_retry_is_refused(rule: Rule) -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.retry: .* is asynchronous"):
        TenacityStrategy(stop=stop_never, wait=wait_none(), retry=rule)


@pytest.mark.parametrize("rule", [async_rule, stop_any(stop_after_attempt(2), async_rule), stop_all(async_rule)])
def test_asynchronous_stop_is_refused(rule: Rule) -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.stop: .* is asynchronous"):
        TenacityStrategy(stop=rule, wait=wait_none())


@pytest.mark.parametrize(
    "rule",
    [
        async_rule,
        wait_combine(wait_none(), async_rule),
        wait_chain(wait_none(), async_rule),
        wait_exception(async_rule),
    ],
)
def test_asynchronous_wait_is_refused(rule: Rule) -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.wait: .* is asynchronous"):
        TenacityStrategy(stop=stop_never, wait=rule)


@pytest.mark.parametrize(
    "rule",
    [
        retry_if_result(lambda result: result is None),
        retry_if_not_result(lambda result: result == "done"),
        retry_unless_exception_type(StopIteration),
        retry_if_not_exception_message("done"),
        retry_always,
        retry_if_exception_type() | retry_if_result(lambda result: result is None),
        retry_always & retry_if_result(lambda result: result is None),
    ],
)
def test_retry_of_a_success_is_refused(rule: tenacity.retry_base) -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.retry: it would retry a call that succeeded"):
        TenacityStrategy(stop=stop_never, wait=wait_none(), retry=rule)


@pytest.mark.parametrize("make", [Retrying, AsyncRetrying])
def test_strategy_of_a_retrying_object_decides_as_it_would(make: Callable[..., tenacity.BaseRetrying]) -> None:
    strategy = TenacityStrategy.of(
        make(
            stop=stop_after_attempt(3),
            wait=wait_fixed(2),
            retry=retry_if_exception_type(OSError),
            reraise=True,
            name="backend",
        )
    )

    assert strategy.delay_before_next_s(failed(2)) == 2.0
    assert strategy.delay_before_next_s(failed(3)) is None
    assert strategy.delay_before_next_s(failed(error=ValueError())) is None


@pytest.mark.parametrize(
    "option",
    [
        {"before": print},
        {"after": print},
        {"before_sleep": print},
        {"sleep": print},
        {"retry_error_callback": print},
        {"retry_error_cls": type("MyRetryError", (tenacity.RetryError,), {})},
        {"enabled": False},
    ],
    ids=lambda option: next(iter(option)),
)
def test_strategy_of_a_retrying_object_with_what_could_not_take_effect_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenacityStrategy.of(AsyncRetrying(stop=stop_after_attempt(3), **option))

    assert caught.value.path == f"tenacity.{next(iter(option))}"


def test_strategy_of_a_retrying_object_with_an_asynchronous_rule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"tenacity\.retry"):
        TenacityStrategy.of(AsyncRetrying(retry=tenacity.asyncio.retry_if_exception(async_rule)))


def test_import_without_the_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("holdfast.adapters.tenacity")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tenacity", None)

    with pytest.raises(ImportError, match=r"pip install 'holdfast\[tenacity\]'") as caught:
        importlib.import_module("holdfast.adapters.tenacity")

    assert caught.value.name == "tenacity"
