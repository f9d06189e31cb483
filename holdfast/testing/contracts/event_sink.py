"""What every sink of events must hold.

Responsibility: the contract of `holdfast.ports.events.EventSink`, as a pytest class to derive from.
Guarantees: a sink that passes can be given to any mechanism: it takes every kind of event, in order and once, with or
    without an event loop, and whatever fails behind it is counted where `Service.health` shows it.
Not responsible for: what the sink makes of an event, and for how long it keeps it.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from types import UnionType
from typing import get_type_hints

import pytest

from holdfast.domain.event_hub import EventHub
from holdfast.ports import events
from holdfast.ports.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event, EventSink
from holdfast.testing.clock import ManualClock

__all__ = ["EventSinkContract"]


def _example_of(hint: type | UnionType) -> object:
    if isinstance(hint, UnionType):
        return None
    return next(iter(hint)) if issubclass(hint, enum.Enum) else hint()


def _examples() -> list[Event]:
    """Return one event of each kind that Holdfast emits."""
    kinds = [getattr(events, name) for name in events.__all__]
    return [
        kind(**{name: _example_of(hint) for name, hint in get_type_hints(kind).items() if name in kind.__slots__})
        for kind in kinds
        if issubclass(kind, Event) and kind is not Event
    ]


class EventSinkContract(ABC):
    """Derive from it, name the class ``Test…`` and make your sink; pytest does the rest.

    Example:
        >>> class TestMySink(EventSinkContract):
        ...     def make_sink(self) -> EventSink:
        ...         return MySink()
        ...     def make_failing_sink(self) -> EventSink:
        ...         return MySink(connection=Broken())
        ...     def names_heard(self, sink: EventSink) -> list[str]:
        ...         return [line.split()[0] for line in sink.lines]
    """

    @abstractmethod
    def make_sink(self) -> EventSink:
        """Return a new sink that has heard of nothing, and has room for every event there is."""

    @abstractmethod
    def make_failing_sink(self) -> EventSink:
        """Return a new sink behind which everything fails: its file, its connection, the sinks that it passes on to."""

    @abstractmethod
    def names_heard(self, sink: EventSink) -> list[str]:
        """Return the name of each event that `sink`, from `make_sink`, took note of, in order."""

    def test_emit_each_kind_of_event_is_heard_once_and_in_order(self) -> None:
        """No kind is forgotten, and none is told twice."""
        sink = self.make_sink()

        for event in _examples():
            sink.emit(event)

        assert self.names_heard(sink) == [event.name for event in _examples()]

    def test_emit_the_same_event_twice_is_heard_twice(self) -> None:
        """A breaker may open again for the same time; two equal events are two decisions."""
        sink = self.make_sink()
        event = BreakerOpened(breaker="a", open_s=5.0)

        sink.emit(event)
        sink.emit(event)

        assert self.names_heard(sink) == ["breaker_opened", "breaker_opened"]

    @pytest.mark.parametrize(
        "name", ["", "two\nlines", 'say "x=y"', "%s %(name)s {0}", "\x00\x1b[31m", "\ud800", "ä" * 10_000]
    )
    def test_emit_event_of_a_thing_with_an_odd_name_is_heard(self, name: str) -> None:
        """Tenants call themselves whatever they like."""
        sink = self.make_sink()

        sink.emit(BreakerClosed(breaker=name))

        assert self.names_heard(sink) == ["breaker_closed"]

    def test_emit_number_that_is_none_or_infinite_is_heard(self) -> None:
        """An operator's opening has no end, and a division may have none either."""
        sink = self.make_sink()

        for open_s in (None, float("inf"), float("nan")):
            sink.emit(BreakerOpened(breaker="a", open_s=open_s))

        assert self.names_heard(sink) == ["breaker_opened"] * 3

    def test_emit_kind_that_it_does_not_know_is_heard(self) -> None:
        """An application may emit events of its own."""

        class TeaSteeped(Event):
            pass

        sink = self.make_sink()

        sink.emit(TeaSteeped())

        assert self.names_heard(sink) == ["tea_steeped"]

    def test_emit_to_two_sinks_is_heard_by_each_alone(self) -> None:
        """Each service has its own."""
        sink, other = self.make_sink(), self.make_sink()

        sink.emit(BreakerClosed(breaker="a"))
        other.emit(BreakerHalfOpened(breaker="b"))

        assert (self.names_heard(sink), self.names_heard(other)) == (["breaker_closed"], ["breaker_half_opened"])

    def test_emit_while_everything_behind_it_fails_is_counted_by_the_hub_and_raises_nothing(self) -> None:
        """A request must not fail because nobody could be told of it, and whoever reads the health must see it."""
        sink = self.make_failing_sink()
        hub = sink if isinstance(sink, EventHub) else EventHub(clock=ManualClock(), sinks=[sink])

        for event in _examples():
            hub.emit(event)

        assert hub.statistics().sink_failures == len(_examples())
