from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from holdfast.domain.event_hub import EventConfig, EventHub
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerRefused,
    Event,
    ModelLoaded,
    RecordedEvent,
    RequestAnswered,
    RetryScheduled,
)
from holdfast.ports.service import Disposition, Priority
from holdfast.testing import ManualClock


def closed(name: str = "a") -> Event:
    return BreakerClosed(breaker=name)


class Listener:
    """Notes what it is told, then raises what it was given, if anything."""

    def __init__(self, raising: BaseException | None = None) -> None:
        self.heard: list[Event] = []
        self._raising = raising

    def emit(self, event: Event) -> None:
        self.heard.append(event)
        if self._raising is not None:
            raise self._raising


def names(hub: EventHub, limit: int | None = None) -> list[str]:
    return [str(getattr(recorded.event, "breaker", "")) for recorded in hub.recent(limit)]


def test_emit_event_is_kept_with_the_time_at_which_it_came() -> None:
    clock = ManualClock(now_s=5.0)
    hub = EventHub(clock=clock)

    hub.emit(closed())
    clock.advance(2.5)
    hub.emit(BreakerHalfOpened(breaker="a"))

    assert hub.recent() == [
        RecordedEvent(at_s=5.0, event=BreakerClosed(breaker="a")),
        RecordedEvent(at_s=7.5, event=BreakerHalfOpened(breaker="a")),
    ]


def test_emit_clock_that_steps_back_an_hour_keeps_the_order_in_which_events_came() -> None:
    readings_s = iter([7200.0, 3600.0])

    class SteppingBack(ManualClock):
        def monotonic_s(self) -> float:
            return next(readings_s)

    hub = EventHub(clock=SteppingBack())

    hub.emit(closed("before"))
    hub.emit(closed("after"))

    assert [(recorded.at_s, recorded.event) for recorded in hub.recent()] == [
        (7200.0, closed("before")),
        (3600.0, closed("after")),
    ]


def test_emit_more_than_fit_keeps_the_latest_and_counts_all() -> None:
    hub = EventHub(EventConfig(max_items=3), clock=ManualClock())

    for number in range(5):
        hub.emit(closed(str(number)))

    statistics = hub.statistics()
    assert names(hub) == ["2", "3", "4"]
    assert (statistics.emitted, statistics.buffer.items, statistics.buffer.evicted) == (5, 3, 2)


def test_emit_more_bytes_than_fit_lets_the_oldest_go() -> None:
    hub = EventHub(EventConfig(max_bytes=2000), clock=ManualClock())

    for number in range(3):
        hub.emit(closed(str(number) * 600))

    assert [name[0] for name in names(hub)] == ["1", "2"]
    assert hub.statistics().buffer.size_bytes <= 2000


def test_emit_event_larger_than_the_whole_buffer_is_counted_and_passed_on_but_not_kept() -> None:
    listener = Listener()
    hub = EventHub(EventConfig(max_bytes=1000), clock=ManualClock(), sinks=[listener])
    hub.emit(closed("small"))

    hub.emit(closed("x" * 2000))

    statistics = hub.statistics()
    assert names(hub) == ["small"]
    assert len(listener.heard) == 2
    assert (statistics.emitted, statistics.buffer.appended, statistics.buffer.refused) == (2, 1, 1)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, ["a", "b", "c"]), (0, []), (1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])],
)
def test_recent_with_a_limit_returns_the_latest_oldest_first(limit: int | None, expected: list[str]) -> None:
    hub = EventHub(clock=ManualClock())
    for name in ("a", "b", "c"):
        hub.emit(closed(name))

    assert names(hub, limit) == expected


def test_recent_leaves_the_events_where_they_are() -> None:
    hub = EventHub(clock=ManualClock())
    hub.emit(closed())

    assert hub.recent() == hub.recent()


def test_emit_further_sinks_hear_each_event_in_order_after_it_was_kept() -> None:
    kept: list[int] = []

    class Looking(Listener):
        def emit(self, event: Event) -> None:
            super().emit(event)
            kept.append(len(hub.recent()))

    first, second = Listener(), Looking()
    hub = EventHub(clock=ManualClock(), sinks=[first, second])

    hub.emit(closed("1"))
    hub.emit(closed("2"))

    assert first.heard == second.heard == [closed("1"), closed("2")]
    assert kept == [1, 2]


def test_emit_sink_that_raises_is_counted_and_disturbs_nobody() -> None:
    before, after = Listener(), Listener()
    hub = EventHub(clock=ManualClock(), sinks=[before, Listener(raising=RuntimeError("mine")), after])

    for _ in range(2):
        hub.emit(closed())

    assert (len(before.heard), len(after.heard), len(hub.recent())) == (2, 2, 2)
    assert (hub.statistics().emitted, hub.statistics().sink_failures) == (2, 2)


def test_emit_sink_that_is_interrupted_lets_the_interrupt_through_as_it_is() -> None:
    interrupt = KeyboardInterrupt()
    hub = EventHub(clock=ManualClock(), sinks=[Listener(raising=interrupt)])

    with pytest.raises(KeyboardInterrupt) as caught:
        hub.emit(closed())

    assert caught.value is interrupt
    assert hub.statistics().sink_failures == 0


def test_statistics_count_events_by_name() -> None:
    hub = EventHub(EventConfig(max_items=1), clock=ManualClock())

    for event in (closed(), BreakerRefused(breaker="a", retry_after_s=None), closed("b")):
        hub.emit(event)

    assert hub.statistics().counts == {"breaker_closed": 2, "breaker_refused": 1}


def test_statistics_taken_before_are_not_changed_by_what_comes_after() -> None:
    hub = EventHub(clock=ManualClock())
    hub.emit(closed())
    before = hub.statistics()

    hub.emit(closed())

    assert (before.emitted, before.counts) == (1, {"breaker_closed": 1})


def _answered(number: int) -> Event:
    return RequestAnswered(
        tenant=f"tenant {number}",
        priority=Priority.NORMAL,
        backend=f"backend {number}",
        disposition=Disposition.CALLED,
        attempts=1000 + number,
        latency_s=0.1 * number,
    )


def _retried(number: int) -> Event:
    return RetryScheduled(backend=f"b {number}", attempt=1000 + number, delay_s=0.1 * number, error=f"Error{number}")


@pytest.mark.parametrize(
    "make",
    [
        _answered,
        _retried,
        lambda number: BreakerHalfOpened(breaker=f"backend {number}"),
        lambda number: BreakerRefused(breaker=f"backend {number}" * 50, retry_after_s=0.1 * number),
        lambda number: ModelLoaded(model=f"m {number}", size_bytes=10**9 + number, duration_s=0.1 * number),
    ],
)
def test_size_of_events_that_share_nothing_is_no_less_than_they_take(make: Callable[[int], Event]) -> None:
    clock = ManualClock()
    hub = EventHub(EventConfig(max_bytes=2**30), clock=clock)
    hub.emit(make(0))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 1000):
            clock.advance(0.1)
            hub.emit(make(number))
        gc.collect()
        taken_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert 0.5 * hub.statistics().buffer.size_bytes < taken_bytes <= hub.statistics().buffer.size_bytes


def test_size_of_an_event_of_ones_own_counts_its_texts_whatever_its_types_are_called() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class TeaSteeped(Event):
        pot: Pot  # type: ignore[name-defined]  # noqa: F821 - as if imported for type checkers only
        note: str | None

    hub = EventHub(clock=ManualClock())

    hub.emit(TeaSteeped(pot="p" * 1000, note="n" * 1000))

    assert 2000 < hub.statistics().buffer.size_bytes < 2500


@pytest.mark.parametrize(
    ("config", "path"),
    [(lambda: EventConfig(max_items=0), "events.max_items"), (lambda: EventConfig(max_bytes=0), "events.max_bytes")],
)
def test_config_bound_below_one_is_refused_by_name(config: Callable[[], EventConfig], path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{path}: .* at least 1"):
        config()
