"""The core of deduplication against a model: any order of calls, ends, departures and pauses."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.flight import Flight, InProgress, New
from holdfast.domain.flight_table import FlightTable
from holdfast.domain.result_window import Cached, ResultWindow
from holdfast.testing import ManualClock

WINDOW_S = 10.0
MAX_ENTRIES = 3
MAX_BYTES = 12

keys = st.integers(0, 4).map(lambda number: DeduplicationKey(digest=bytes([number])))
answers = st.text("ab", max_size=14)


@dataclass
class Underway:
    token: Flight[str]
    waiters: int


class FlightTableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.table = FlightTable(
            ResultWindow[str](window_s=WINDOW_S, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES, size_of=len)
        )
        self.underway: dict[DeduplicationKey, Underway] = {}
        self.over: list[Flight[str]] = []
        self.kept: list[tuple[DeduplicationKey, str, float]] = []  # oldest first
        self.called = self.joined = self.cached = 0

    @rule(key=keys)
    def check(self, key: DeduplicationKey) -> None:
        now_s = self.clock.monotonic_s()

        found = self.table.check_and_register(key, now_s=now_s)

        if key in self.underway:
            assert isinstance(found, InProgress)
            self.underway[key].waiters += 1
            self.joined += 1
            return
        answer = next((value for at, value, stored_s in self.kept if at == key and now_s < stored_s + WINDOW_S), None)
        if answer is not None:
            assert found == Cached(value=answer)
            self.cached += 1
        else:
            assert isinstance(found, New)
            self.underway[key] = Underway(token=found.token, waiters=1)
            self.called += 1

    @precondition(lambda self: self.underway)
    @rule(data=st.data(), answer=answers)
    def complete(self, data: st.DataObject, answer: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.underway, key=str)))
        token = self.underway.pop(key).token

        assert self.table.complete(token, answer, now_s=self.clock.monotonic_s())
        assert token.result() == answer

        self.over.append(token)
        self.keep(key, answer)

    @precondition(lambda self: self.underway)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.underway, key=str)))
        token = self.underway.pop(key).token

        assert self.table.fail(token, ValueError())
        assert token.has_ended()

        self.over.append(token)

    @precondition(lambda self: self.underway)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.underway, key=str)))
        flight = self.underway[key]

        self.table.leave(flight.token)

        flight.waiters -= 1
        assert flight.token.has_ended() == (flight.waiters == 0)
        if flight.waiters == 0:
            self.over.append(self.underway.pop(key).token)

    @precondition(lambda self: self.over)
    @rule(data=st.data(), answer=answers)
    def settle_again(self, data: st.DataObject, answer: str) -> None:
        token = data.draw(st.sampled_from(self.over))
        before = self.table.statistics()

        assert not self.table.complete(token, answer, now_s=self.clock.monotonic_s())
        assert not self.table.fail(token, ValueError())
        self.table.leave(token)

        assert self.table.statistics() == before

    @rule(seconds=st.floats(0.0, WINDOW_S * 1.5))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def fail_all(self) -> None:
        self.table.fail_all(ValueError())

        self.over.extend(flight.token for flight in self.underway.values())
        self.underway.clear()

    def keep(self, key: DeduplicationKey, answer: str) -> None:
        now_s = self.clock.monotonic_s()
        self.kept = [entry for entry in self.kept if now_s < entry[2] + WINDOW_S]
        if len(answer) > MAX_BYTES:
            return
        self.kept.append((key, answer, now_s))
        while len(self.kept) > MAX_ENTRIES or sum(len(value) for _, value, _ in self.kept) > MAX_BYTES:
            self.kept.pop(0)

    @invariant()
    def counters_add_up(self) -> None:
        s = self.table.statistics()
        assert s.requests == s.called + s.joined + s.cached
        assert s.called == s.in_flight + s.completed + s.failed + s.abandoned
        assert s.completed == s.entries + s.expired + s.evicted + s.oversized + s.unkept
        assert (s.called, s.joined, s.cached) == (self.called, self.joined, self.cached)
        assert s.in_flight == len(self.underway)

    @invariant()
    def window_keeps_its_bounds(self) -> None:
        s = self.table.statistics()
        assert s.entries <= MAX_ENTRIES
        assert s.size_bytes <= MAX_BYTES

    @invariant()
    def flights_end_exactly_when_they_leave_the_table(self) -> None:
        assert not any(flight.token.has_ended() for flight in self.underway.values())
        assert all(token.has_ended() for token in self.over)


FlightTableMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestFlightTableMachine = FlightTableMachine.TestCase
