"""Where every decision is told: kept for a while, and passed on.

Responsibility: keep the latest events within a bound, count all of them by name, and tell each further sink.
Guarantees: `emit` never waits and never raises an `Exception`; neither bound is exceeded at any moment; every event is
    counted, also one that is not kept; each sink hears of every event in order, whatever the other sinks do.
Not responsible for: what an event says: the mechanisms do. A sink that blocks: it blocks whoever decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from sys import getsizeof
from typing import Final, get_type_hints

from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer, OverflowPolicy
from holdfast.domain.validation import require_at_least
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BufferFullError
from holdfast.ports.events import Event, EventSink, RecordedEvent
from holdfast.ports.statistics import EventStatistics

__all__ = ["EventConfig", "EventHub"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventConfig:
    """How much of what was decided is remembered; at either bound, the oldest event makes room.

    Args:
        max_items: events kept at most, from 1; default 1000, unmeasured.
        max_bytes: memory that they may take, from 1, in bytes; an event that alone takes more is counted, passed on and
            not kept. Default 1 MiB, twice what 1000 of the largest take with names of ten characters (adr/0015).

    Raises:
        ConfigurationError: if a bound is below 1.
    """

    max_items: int = 1000
    max_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        require_at_least("events.max_items", self.max_items, 1)
        require_at_least("events.max_bytes", self.max_bytes, 1)


class EventHub:
    """The sink that mechanisms are given. For one event loop or thread.

    Args:
        config: how much is remembered.
        clock: stamps each event with the monotonic time.
        sinks: told of each event after it was counted and kept, in this order.

    Example:
        >>> from holdfast.ports.events import BreakerHalfOpened
        >>> from holdfast.testing import ManualClock
        >>> hub = EventHub(clock=ManualClock(now_s=7.0))
        >>> hub.emit(BreakerHalfOpened(breaker="echo"))
        >>> hub.recent()
        [RecordedEvent(at_s=7.0, event=BreakerHalfOpened(breaker='echo'))]
        >>> hub.statistics().counts
        {'breaker_half_opened': 1}
    """

    __slots__ = ("_buffer", "_counts", "_now_s", "_sink_failures", "_sinks")

    def __init__(self, config: EventConfig = EventConfig(), *, clock: Clock, sinks: Sequence[EventSink] = ()) -> None:
        # As tuples, which take a fifth of the time of a `RecordedEvent` to make; `recent` makes the values.
        self._buffer = MemorySafeBuffer[tuple[float, Event]](
            BufferConfig(max_items=config.max_items, max_bytes=config.max_bytes, overflow=OverflowPolicy.EVICT_OLDEST),
            size_of=_size_bytes,
        )
        self._now_s = clock.monotonic_s
        self._sinks = tuple(sinks)
        self._counts: dict[str, int] = {}
        self._sink_failures = 0

    def emit(self, event: Event) -> None:
        """Count `event`, keep it, and tell every sink.

        A sink that raises is counted and told of the next event all the same.

        Complexity: O(1), amortised, and what the sinks take.
        """
        name = event.name
        self._counts[name] = self._counts.get(name, 0) + 1
        try:  # noqa: SIM105 - suppress() would take a fifth of all the time that this does
            self._buffer.append((self._now_s(), event))
        except BufferFullError:
            pass  # larger than the whole buffer, which has counted it as refused
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception:  # noqa: BLE001 - the supervisor of the sinks: a decision stands, whoever cannot hear of it
                self._sink_failures += 1

    def add(self, sink: EventSink) -> None:
        """Tell `sink` of what comes from now on, after the others."""
        self._sinks = (*self._sinks, sink)

    def remove(self, sink: EventSink) -> None:
        """Tell `sink` no more; nothing happens where it was not told."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def recent(self, limit: int | None = None) -> list[RecordedEvent]:
        """Return the latest events that are kept, at most `limit` of them or all, the oldest first; they stay.

        Complexity: O(events kept).
        """
        kept = self._buffer.items()
        first = 0 if limit is None else max(0, len(kept) - limit)
        return [RecordedEvent(at_s=at_s, event=event) for at_s, event in kept[first:]]

    def statistics(self) -> EventStatistics:
        """Return how many events there were of each name, and what became of them."""
        return EventStatistics(
            emitted=sum(self._counts.values()),
            sink_failures=self._sink_failures,
            buffer=self._buffer.statistics(),
            counts=dict(self._counts),
        )


_KEPT_BYTES: Final = 120  # what keeping any event takes: two headers, the tuple, its places in the buffer, its size
_NUMBER_BYTES: Final = 32  # a float or an int, rounded up to what the allocator hands out


class _Shapes(dict[type[Event], tuple[int, tuple[str, ...]]]):
    """For each kind of event: what one takes without its texts, in bytes, and the names of those; found out once."""

    def __missing__(self, kind: type[Event]) -> tuple[int, tuple[str, ...]]:
        try:
            hints = get_type_hints(kind)
        except NameError:  # of an event of one's own whose types are known to a type checker only
            hints = {}
        texts = tuple(field.name for field in fields(kind) if hints.get(field.name, str) in (str, str | None))
        numbers = len(fields(kind)) - len(texts) + 1  # and when it was heard of
        shape = kind.__basicsize__ + _KEPT_BYTES + numbers * _NUMBER_BYTES, texts
        self[kind] = shape
        return shape


_shapes: Final = _Shapes()


def _size_bytes(kept: tuple[float, Event]) -> int:
    # Two events of a kind differ in the length of their texts only. A text counts in full, although most are names that
    # live elsewhere too: a tenant's came with the request, and would otherwise go with it.
    event = kept[1]
    size_bytes, texts = _shapes[type(event)]
    for text in texts:
        size_bytes += getsizeof(getattr(event, text))
    return size_bytes


_: type[EventSink] = EventHub
