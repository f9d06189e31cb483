from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.domain.event_hub import EventConfig, EventHub
from holdfast.ports.events import BreakerClosed, BreakerRefused, Event, RecordedEvent, RetryRefused
from holdfast.testing import ManualClock

NAMES = st.text(max_size=3).flatmap(lambda text: st.integers(1, 200).map(lambda times: text * times))
EVENTS = st.one_of(
    st.builds(lambda name: BreakerClosed(breaker=name), NAMES),
    st.builds(
        lambda name, wait_s: BreakerRefused(breaker=name, retry_after_s=wait_s), NAMES, st.none() | st.floats(0, 300)
    ),
    st.builds(lambda name: RetryRefused(backend=name, attempt=1, reason=name, error="OSError"), NAMES),
)


class Sink:
    """Notes what it is told; raises when it is broken."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.is_broken = False

    def emit(self, event: Event) -> None:
        self.heard.append(event)
        if self.is_broken:
            raise OSError("disk full")


class EventHubMachine(RuleBasedStateMachine):
    """Whatever the bounds, and whichever sinks break: nothing is missing in the counts, in the sinks, or at the end."""

    @initialize(max_items=st.integers(1, 5), max_bytes=st.integers(1, 3000), sinks=st.integers(0, 3))
    def begin(self, max_items: int, max_bytes: int, sinks: int) -> None:
        self.config = EventConfig(max_items=max_items, max_bytes=max_bytes)
        self.clock = ManualClock()
        self.sinks = [Sink() for _ in range(sinks)]
        self.hub = EventHub(self.config, clock=self.clock, sinks=self.sinks)
        self.emitted: list[RecordedEvent] = []
        self.kept: list[RecordedEvent] = []
        self.failures = 0

    @rule(event=EVENTS)
    def emit(self, event: Event) -> None:
        before = self.hub.statistics().buffer
        self.hub.emit(event)
        after = self.hub.statistics().buffer
        recorded = RecordedEvent(at_s=self.clock.monotonic_s(), event=event)
        self.emitted.append(recorded)
        self.failures += sum(sink.is_broken for sink in self.sinks)
        if after.appended > before.appended:
            self.kept.append(recorded)

    @rule(seconds=st.floats(0, 10))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(data=st.data())
    def break_or_mend(self, data: st.DataObject) -> None:
        if self.sinks:
            sink = data.draw(st.sampled_from(self.sinks))
            sink.is_broken = not sink.is_broken

    @rule(limit=st.integers(0, 8))
    def look(self, limit: int) -> None:
        everything = self.hub.recent()
        assert self.hub.recent(limit) == (everything[-limit:] if limit else [])

    @invariant()
    def counts_add_up(self) -> None:
        statistics = self.hub.statistics()
        buffer = statistics.buffer
        assert statistics.emitted == len(self.emitted) == buffer.appended + buffer.refused
        assert statistics.counts == Counter(recorded.event.name for recorded in self.emitted)
        assert buffer.appended == buffer.items + buffer.evicted
        assert statistics.sink_failures == self.failures

    @invariant()
    def kept_are_the_latest_within_both_bounds(self) -> None:
        buffer = self.hub.statistics().buffer
        kept = self.hub.recent()
        assert len(kept) == buffer.items <= self.config.max_items
        assert buffer.size_bytes <= self.config.max_bytes
        assert kept == self.kept[len(self.kept) - len(kept) :]

    @invariant()
    def every_sink_has_heard_everything_in_order(self) -> None:
        assert all(sink.heard == [recorded.event for recorded in self.emitted] for sink in self.sinks)


TestEventHub = EventHubMachine.TestCase
TestEventHub.settings = settings(max_examples=60, stateful_step_count=30)
