"""How the end of a call settles its reservation."""

from __future__ import annotations

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.metered_call import MeteredCall
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.token_estimate import TokenEstimate
from holdfast.ports.errors import BackendRequestError, BackendUnavailableError, PoolExhaustedError, RateLimitedError
from holdfast.ports.inference import Usage
from holdfast.ports.statistics import RateLimitStatistics
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

ESTIMATE = TokenEstimate(input_tokens=10, output_tokens=90)


def limited() -> RateLimit:
    config = RateLimitConfig(requests_per_minute=1e-3, burst_requests=10, tokens_per_minute=1e-3, burst_tokens=1000)
    return RateLimit("backend 'a'", config, clock=VirtualClock())


def metered(limit: RateLimit, *, timeout_s: float = 60.0, outlet: Outlet | None = None) -> MeteredCall:
    return MeteredCall(limit, ESTIMATE, Deadline.after(timeout_s, VirtualClock()), outlet=outlet)


def outlet_with(text: str) -> Outlet:
    log = StreamLog(max_ahead_bytes=1000)
    log.try_append(text)
    return Outlet(log, deadline=Deadline.after(60.0, VirtualClock()), config=StreamingConfig())


def fail(limit: RateLimit, error: BaseException, *, usage: Usage | None = None, outlet: Outlet | None = None) -> None:
    with metered(limit, outlet=outlet) as call:
        call.begin()
        if usage is not None:
            call.answer(usage)
        raise error


def left(statistics: RateLimitStatistics) -> tuple[int, int]:
    assert statistics.reserved == 0
    assert statistics.requests_left is not None
    assert statistics.tokens_left is not None
    return round(statistics.requests_left), round(statistics.tokens_left)


async def test_call_that_is_answered_settles_with_its_usage() -> None:
    limit = limited()
    with metered(limit) as call:
        call.begin()
        call.answer(Usage(input_tokens=12, output_tokens=30))

    assert left(limit.statistics()) == (9, 958)


async def test_call_whose_peer_reports_no_usage_settles_with_the_estimate() -> None:
    limit = limited()
    with metered(limit) as call:
        call.begin()
        call.answer(Usage())

    assert left(limit.statistics()) == (9, 900)


async def test_call_that_is_answered_twice_settles_with_the_usage_told_last() -> None:
    limit = limited()
    with metered(limit) as call:
        call.begin()
        call.answer(Usage(input_tokens=12, output_tokens=30))
        call.answer(Usage(input_tokens=24, output_tokens=60))

    assert left(limit.statistics()) == (9, 916)


async def test_call_under_way_holds_its_estimate() -> None:
    limit = limited()
    with metered(limit):
        statistics = limit.statistics()

    assert statistics.reserved == 1
    assert statistics.tokens_left == pytest.approx(900)


async def test_call_that_was_not_made_gives_all_back() -> None:
    limit = limited()
    with pytest.raises(PoolExhaustedError), metered(limit):
        raise PoolExhaustedError(pool="a", waiters=1)

    assert left(limit.statistics()) == (10, 1000)


async def test_call_that_ended_before_the_peer_was_asked_gives_all_back() -> None:
    limit = limited()
    with metered(limit):
        pass

    assert left(limit.statistics()) == (10, 1000)


async def test_call_that_nobody_but_ourselves_refused_gives_all_back() -> None:
    limit = limited()
    with pytest.raises(PoolExhaustedError):
        fail(limit, PoolExhaustedError(pool="a", waiters=1))

    assert left(limit.statistics()) == (10, 1000)


@pytest.mark.parametrize(
    "error", [BackendUnavailableError("is down", backend="a"), BackendRequestError("too long", backend="a")]
)
async def test_call_that_failed_counts_for_what_it_had_sent(error: Exception) -> None:
    limit = limited()
    with pytest.raises(type(error)):
        fail(limit, error)

    assert left(limit.statistics()) == (9, 990)


async def test_call_that_ended_without_an_answer_counts_for_what_it_had_sent() -> None:
    limit = limited()
    with metered(limit) as call:
        call.begin()

    assert left(limit.statistics()) == (9, 990)


async def test_call_that_failed_after_its_answer_counts_for_its_usage() -> None:
    limit = limited()
    with pytest.raises(ValueError, match="afterwards"):
        fail(limit, ValueError("afterwards"), usage=Usage(input_tokens=12, output_tokens=30))

    assert left(limit.statistics()) == (9, 958)


async def test_call_that_is_cancelled_gives_all_back() -> None:
    limit = limited()
    with anyio.move_on_after(1.0), metered(limit) as call:
        call.begin()
        await anyio.sleep_forever()

    assert left(limit.statistics()) == (10, 1000)
    assert limit.statistics().cancelled == 1


async def test_call_that_is_cut_off_at_its_deadline_counts_for_what_it_had_sent() -> None:
    limit = limited()
    with anyio.move_on_after(1.0), metered(limit, timeout_s=1.0) as call:
        call.begin()
        await anyio.sleep_forever()

    assert left(limit.statistics()) == (9, 990)


async def test_call_that_waits_until_its_deadline_without_being_made_gives_all_back() -> None:
    limit = limited()
    with anyio.move_on_after(1.0), metered(limit, timeout_s=1.0):
        await anyio.sleep_forever()

    assert left(limit.statistics()) == (10, 1000)


async def test_call_that_is_interrupted_gives_all_back() -> None:
    limit = limited()
    with pytest.raises(KeyboardInterrupt):
        fail(limit, KeyboardInterrupt())

    assert left(limit.statistics()) == (10, 1000)


async def test_call_that_is_cancelled_while_its_answer_goes_out_counts_for_what_has() -> None:
    limit = limited()
    with anyio.move_on_after(1.0), metered(limit, outlet=outlet_with("x" * 41)) as call:
        call.begin()
        await anyio.sleep_forever()

    assert left(limit.statistics()) == (9, 1000 - 10 - 11)


async def test_call_that_fails_while_its_answer_goes_out_counts_for_what_has() -> None:
    limit = limited()
    with pytest.raises(BackendUnavailableError):
        fail(limit, BackendUnavailableError("is down", backend="a"), outlet=outlet_with("x" * 41))

    assert left(limit.statistics()) == (9, 1000 - 10 - 11)


async def test_call_that_is_cancelled_before_anything_of_its_answer_goes_out_gives_all_back() -> None:
    limit = limited()
    with anyio.move_on_after(1.0), metered(limit, outlet=outlet_with("")) as call:
        call.begin()
        await anyio.sleep_forever()

    assert left(limit.statistics()) == (10, 1000)


async def test_call_that_is_answered_counts_for_its_usage_and_not_for_what_went_out() -> None:
    limit = limited()
    with metered(limit, outlet=outlet_with("x" * 41)) as call:
        call.begin()
        call.answer(Usage(input_tokens=12, output_tokens=30))

    assert left(limit.statistics()) == (9, 958)


async def test_call_beyond_the_limit_is_refused_before_it_begins() -> None:
    limit = RateLimit("backend 'a'", RateLimitConfig(tokens_per_minute=99), clock=VirtualClock())
    entered = False
    with pytest.raises(RateLimitedError), metered(limit):
        entered = True

    assert not entered
    assert limit.statistics().reserved == 0
