"""What an adaptive limit tells of its moves."""

from __future__ import annotations

import pytest

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal
from holdfast.ports.events import LimitChanged
from tests.fakes.events import Listener


@pytest.fixture
def told() -> Listener:
    return Listener()


def limit_of(told: Listener, initial_limit: int = 20) -> AdaptiveLimit:
    return AdaptiveLimit(AdaptiveLimitConfig(initial_limit=initial_limit, min_samples=1), events=told)


def test_record_that_moves_the_limit_tells_from_where_to_where_and_by_what(told: Listener) -> None:
    limit = limit_of(told)

    limit.record(LoadSignal.COMPLETED, began_s=0.5, in_flight=1, now_s=1.0)

    assert told.heard == [LimitChanged(before=20, after=10, recent_s=0.5, baseline_s=0.5)]


def test_record_of_push_back_before_any_answer_tells_a_move_without_latencies(told: Listener) -> None:
    limit = limit_of(told)

    limit.record(LoadSignal.OVERLOADED, began_s=0.5, in_flight=1, now_s=1.0)

    assert told.heard == [LimitChanged(before=20, after=18, recent_s=None, baseline_s=None)]


@pytest.mark.parametrize("signal", [LoadSignal.NEUTRAL, LoadSignal.COMPLETED, LoadSignal.OVERLOADED])
def test_record_that_leaves_the_limit_where_it_is_tells_nothing(signal: LoadSignal, told: Listener) -> None:
    limit = limit_of(told, initial_limit=1)

    limit.record(signal, began_s=0.5, in_flight=1, now_s=1.0)

    assert told.heard == []


def test_sink_that_looks_sees_the_limit_that_it_is_told_of(told: Listener) -> None:
    limit = limit_of(told)
    seen: list[int] = []
    told.then = lambda: seen.append(limit.limit)

    limit.record(LoadSignal.OVERLOADED, began_s=0.5, in_flight=1, now_s=1.0)

    assert seen == [18]
