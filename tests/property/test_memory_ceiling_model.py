from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.memory_ceiling import Hold, MemoryCeiling
from holdfast.domain.result_window import ResultWindow
from holdfast.ports.errors import MemoryCeilingError
from holdfast.testing import ManualClock


class CeilingMachine(RuleBasedStateMachine):
    """Any history of holds beside answers that are kept: nothing is granted beyond the ceiling, nothing is lost."""

    @initialize(max_bytes=st.integers(1, 60), kept_max_bytes=st.integers(1, 40))
    def begin(self, max_bytes: int, kept_max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.clock = ManualClock(0.0)
        self.ceiling = MemoryCeiling(max_bytes, clock=self.clock)
        self.window = ResultWindow[str](window_s=30.0, max_entries=8, max_bytes=kept_max_bytes, size_of=len)
        self.ceiling.add_holder("answers", lambda: self.window.size_bytes, free=self.free)
        self.sessions_bytes = 0
        self.ceiling.add_holder("sessions", lambda: self.sessions_bytes)
        self.held: dict[Hold, int] = {}
        self.stored = self.granted = self.refused = self.freed_bytes = 0

    def free(self, size_bytes: int) -> int:
        freed_bytes = self.window.free(size_bytes, now_s=self.clock.monotonic_s())
        self.freed_bytes += freed_bytes
        return freed_bytes

    @property
    def fixed_bytes(self) -> int:
        return sum(self.held.values()) + self.sessions_bytes

    @rule(size_bytes=st.integers(0, 70))
    def hold(self, size_bytes: int) -> None:
        before_bytes = self.window.size_bytes
        try:
            hold = self.ceiling.hold(size_bytes)
        except MemoryCeilingError as error:
            self.check_refusal(error, size_bytes, before_bytes, own_bytes=0)
        else:
            self.held[hold] = size_bytes
            self.granted += 1
            assert self.fixed_bytes + self.window.size_bytes <= self.max_bytes

    @precondition(lambda self: self.held)
    @rule(data=st.data(), size_bytes=st.integers(0, 30))
    def grow(self, data: st.DataObject, size_bytes: int) -> None:
        hold = data.draw(st.sampled_from(list(self.held)))
        before_bytes = self.window.size_bytes
        try:
            hold.grow(size_bytes)
        except MemoryCeilingError as error:
            self.check_refusal(error, size_bytes, before_bytes, own_bytes=self.held[hold])
        else:
            self.held[hold] += size_bytes
            assert self.fixed_bytes + self.window.size_bytes <= self.max_bytes

    def check_refusal(self, error: MemoryCeilingError, size_bytes: int, before_bytes: int, *, own_bytes: int) -> None:
        self.refused += 1
        assert self.window.size_bytes == before_bytes
        assert self.fixed_bytes + size_bytes > self.max_bytes
        assert (error.retry_after_s is None) == (own_bytes + size_bytes > self.max_bytes)
        assert error.retry_after_s is None or error.retry_after_s > 0

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 2))
    def release(self, data: st.DataObject, times: int) -> None:
        hold = data.draw(st.sampled_from(list(self.held)))
        for _ in range(times):
            hold.release()
        del self.held[hold]

    @rule(size_bytes=st.integers(0, 50))
    def store(self, size_bytes: int) -> None:
        self.stored += 1
        key = DeduplicationKey(digest=self.stored.to_bytes(32))
        self.window.store(key, "x" * size_bytes, now_s=self.clock.monotonic_s())

    @rule(size_bytes=st.integers(0, 20))
    def keep_sessions(self, size_bytes: int) -> None:
        self.sessions_bytes = size_bytes

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def counts_add_up(self) -> None:
        counted = self.ceiling.statistics()
        assert counted.held_bytes == sum(self.held.values())
        assert counted.used_bytes == counted.held_bytes + sum(counted.kept_bytes.values())
        assert counted.granted == self.granted == counted.holding + counted.released
        assert counted.holding == len(self.held)
        assert (counted.refused, counted.freed_bytes) == (self.refused, self.freed_bytes)
        window = self.window
        assert self.stored == len(window) + window.expired + window.evicted + window.oversized


TestCeiling = CeilingMachine.TestCase
TestCeiling.settings = settings(max_examples=100, stateful_step_count=30)
