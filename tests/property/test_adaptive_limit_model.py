"""Any history of an admission queue under an adaptive limit."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal
from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

WINDOW_S = 1.0
LONG_S = 1_000_000.0


class AdaptiveLimitMachine(RuleBasedStateMachine):
    """Slots are conserved and bounded while the limit moves, and it moves only when and as far as it may."""

    @initialize(
        bounds=st.tuples(st.integers(1, 3), st.integers(3, 5), st.integers(5, 12)),
        min_samples=st.integers(1, 4),
        remeasure_s=st.sampled_from([2.0, 5.0, LONG_S]),
    )
    def begin(self, bounds: tuple[int, int, int], min_samples: int, remeasure_s: float) -> None:
        self.bounds = bounds
        self.clock = ManualClock(0.0)
        adaptive = AdaptiveLimit(
            AdaptiveLimitConfig(
                min_limit=bounds[0],
                initial_limit=bounds[1],
                max_limit=bounds[2],
                window_s=WINDOW_S,
                min_samples=min_samples,
                remeasure_s=remeasure_s,
            )
        )
        self.core = AdmissionCore(
            AdmissionConfig(max_waiting=100, max_bytes=100, ageing_s=1.0, overload_timeout_s=100 * LONG_S),
            ConcurrencyLimit(1),
            adaptive,
        )
        self.held: list[Permit] = []
        self.waiting: list[Entry] = []
        self.wakes: Counter[Entry] = Counter()
        self.offered = 0
        self.moved_at_s: float | None = None

    def sort_out(self) -> None:
        """Move the permits of those that were woken to the held ones; each was granted within the limit."""
        for entry in [entry for entry in self.waiting if self.wakes[entry]]:
            self.waiting.remove(entry)
            assert isinstance(entry.outcome, Permit)
            self.held.append(entry.outcome)
            self.assert_within_limit()

    def assert_within_limit(self) -> None:
        limit = self.core.statistics().limit
        assert limit.in_flight <= limit.limit

    @rule()
    def offer(self) -> None:
        self.offered += 1
        urgency = Urgency(Priority.NORMAL, Deadline(self.clock.monotonic_s() + 10 * LONG_S, self.clock))
        admitted = self.core.offer(tenant="a", size_bytes=1, tokens=1, urgency=urgency, now_s=self.clock.monotonic_s())
        if isinstance(admitted, Permit):
            assert self.waiting == []
            self.held.append(admitted)
            self.assert_within_limit()
        else:
            admitted.wake = lambda: self.wakes.update([admitted])
            self.waiting.append(admitted)

    def end(self, permit: Permit, signal: LoadSignal) -> None:
        """Let the work of `permit` end now, and check how far that may move the limit."""
        self.held.remove(permit)
        now_s, before = self.clock.monotonic_s(), self.core.statistics().limit
        self.core.release(permit, now_s=now_s, signal=signal)
        self.sort_out()
        after = self.core.statistics().limit
        if after.limit != before.limit:
            assert signal is not LoadSignal.NEUTRAL
            assert self.moved_at_s is None or now_s - self.moved_at_s >= WINDOW_S
            self.moved_at_s = now_s
        self.core.release(permit, now_s=now_s, signal=LoadSignal.OVERLOADED)
        assert self.core.statistics().limit == after

    @precondition(lambda self: self.held)
    @rule(data=st.data(), signal=st.sampled_from(LoadSignal))
    def release(self, data: st.DataObject, signal: LoadSignal) -> None:
        self.end(data.draw(st.sampled_from(self.held)), signal)

    @precondition(lambda self: len(self.held) > 2)
    @rule(signal=st.sampled_from(LoadSignal), latency_s=st.sampled_from([0.1, 1.0, 4.0]))
    def release_all(self, signal: LoadSignal, latency_s: float) -> None:
        self.clock.advance(latency_s)
        for permit in list(self.held):
            self.end(permit, signal)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        before = self.core.statistics().limit
        self.waiting.remove(entry)
        self.core.withdraw(entry, now_s=self.clock.monotonic_s())
        assert self.core.statistics().limit == before

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def limit_keeps_to_its_bounds(self) -> None:
        assert self.bounds[0] <= self.core.statistics().limit.limit <= self.bounds[2]

    @invariant()
    def permits_are_conserved(self) -> None:
        counted = self.core.statistics()
        assert counted.limit.in_flight == len(self.held)
        assert counted.waiting == len(self.waiting)
        assert counted.offered == self.offered == counted.waiting + counted.granted + counted.cancelled

    @invariant()
    def nobody_waits_while_a_slot_is_free(self) -> None:
        limit = self.core.statistics().limit
        assert not self.waiting or limit.in_flight >= limit.limit

    @invariant()
    def nobody_is_woken_twice(self) -> None:
        assert all(times == 1 for times in self.wakes.values())

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        while self.held:
            self.core.release(self.held.pop(), now_s=self.clock.monotonic_s())
            self.sort_out()
        assert (self.core.statistics().waiting, self.core.statistics().limit.in_flight) == (0, 0)


TestAdaptiveLimit = AdaptiveLimitMachine.TestCase
TestAdaptiveLimit.settings = settings(max_examples=100, stateful_step_count=50)
