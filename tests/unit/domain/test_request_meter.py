"""Counting requests: `RequestMeter`."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.request_meter import Ending, RequestMeter, ending_of
from holdfast.ports.errors import (
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    ClosedError,
    DeadlineExceededError,
    RequestError,
)
from holdfast.ports.statistics import RequestStatistics


def ended(statistics: RequestStatistics) -> int:
    return (
        statistics.answered
        + statistics.invalid
        + statistics.refused
        + statistics.expired
        + statistics.failed
        + statistics.cancelled
    )


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        (None, Ending.ANSWERED),
        (RequestError("wrong"), Ending.INVALID),
        (BreakerOpenError(breaker="a", retry_after_s=1.0), Ending.REFUSED),
        (BackpressureError(depth=1, capacity=1, retry_after_s=1.0, reason="full"), Ending.REFUSED),
        (ClosedError("it"), Ending.REFUSED),
        (DeadlineExceededError(), Ending.EXPIRED),
        (BackendUnavailableError("down", backend="a"), Ending.FAILED),
        (ValueError(), Ending.FAILED),
        (GeneratorExit(), Ending.CANCELLED),
    ],
)
def test_ending_of_each_kind_of_error_is_told_apart(raised: BaseException | None, ending: Ending) -> None:
    assert ending_of(raised) is ending


@pytest.mark.anyio
async def test_ending_of_an_interrupt_is_a_failure() -> None:
    assert ending_of(KeyboardInterrupt()) is Ending.FAILED


@pytest.mark.anyio
async def test_ending_of_a_caught_cancellation_is_cancelled() -> None:
    seen: list[Ending] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except BaseException as error:
            seen.append(ending_of(error))
            raise

    assert seen == [Ending.CANCELLED]


def test_meter_counts_what_is_in_flight_until_it_ends() -> None:
    meter = RequestMeter()
    meter.begin(now_s=0.0)
    meter.begin(now_s=0.0)
    meter.end(Ending.FAILED, now_s=1.0)
    statistics = meter.statistics(now_s=1.0)

    assert (statistics.received, statistics.in_flight, statistics.failed) == (2, 1, 1)


def test_rates_are_those_of_the_last_minute() -> None:
    meter = RequestMeter()
    for second in range(120):
        meter.begin(now_s=second)
        meter.begin(now_s=second + 0.5)
        meter.end(Ending.ANSWERED, now_s=second + 0.5)

    assert meter.statistics(now_s=119.9).received_per_s == 2.0
    assert meter.statistics(now_s=119.9).answered_per_s == 1.0
    assert meter.statistics(now_s=150.0).received_per_s == pytest.approx(2 * 29 / 60)
    assert meter.statistics(now_s=1000.0).received_per_s == 0.0


def test_rates_only_answers_count_as_answered() -> None:
    meter = RequestMeter()
    meter.begin(now_s=0.0)
    meter.end(Ending.REFUSED, now_s=0.0)

    assert meter.statistics(now_s=0.0).answered_per_s == 0.0


def test_clock_that_steps_back_by_an_hour_forgets_nothing_and_counts_on() -> None:
    meter = RequestMeter()
    for now_s in (7200.0, 3600.0, 3600.5):
        meter.begin(now_s=now_s)

    assert meter.statistics(now_s=3601.0).received_per_s == 3 / 60
    assert meter.statistics(now_s=7200.0).received_per_s == 3 / 60


@given(st.lists(st.tuples(st.sampled_from([*Ending, None]), st.floats(-4000, 4000)), max_size=200))
def test_meter_any_history_adds_up(history: list[tuple[Ending | None, float]]) -> None:
    meter = RequestMeter()
    open_requests = 0
    for ending, now_s in history:
        if ending is None or not open_requests:
            meter.begin(now_s=now_s)
            open_requests += 1
        else:
            meter.end(ending, now_s=now_s)
            open_requests -= 1
        statistics = meter.statistics(now_s=now_s)
        assert statistics.in_flight == open_requests
        assert statistics.received == open_requests + ended(statistics)
        assert 0 <= statistics.answered_per_s <= statistics.received
