from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_line import AdmissionLine, Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, ClosedError, DeadlineExceededError, HoldfastError
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

AGEING_S = 4.0


@dataclass(eq=False)
class Waiter:
    """One entry as the model sees it."""

    entry: Entry
    urgency: Urgency
    size_bytes: int
    arrived_s: float
    number: int
    woken: int = 0

    @property
    def place(self) -> tuple[float, int]:
        return (self.arrived_s + self.urgency.priority * AGEING_S, self.number)


class AdmissionMachine(RuleBasedStateMachine):
    """Any history of arrivals, releases, cancellations and rises: everybody ends once, in the right order."""

    @initialize(slots=st.integers(1, 3), max_waiting=st.integers(1, 5), max_bytes=st.integers(1, 20))
    def begin(self, slots: int, max_waiting: int, max_bytes: int) -> None:
        self.slots = slots
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.clock = ManualClock(0.0)
        self.core = AdmissionCore(
            AdmissionLine(max_waiting=max_waiting, max_bytes=max_bytes, ageing_s=AGEING_S), ConcurrencyLimit(slots)
        )
        self.held: list[Permit] = []
        self.waiting: list[Waiter] = []
        self.ended: list[Waiter] = []
        self.offered = 0
        self.turned_away = 0
        self.withdrawn = 0
        self.closed = False

    def sort_out(self) -> list[Waiter]:
        """Move those that were woken from the waiting ones to the ended ones, and their permits to the held ones."""
        woken = [waiter for waiter in self.waiting if waiter.woken]
        for waiter in woken:
            self.waiting.remove(waiter)
            self.ended.append(waiter)
            if isinstance(waiter.entry.outcome, Permit):
                self.held.append(waiter.entry.outcome)
        return woken

    @rule(
        priority=st.sampled_from(Priority),
        size_bytes=st.integers(0, 22),
        timeout_s=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    )
    def offer(self, priority: Priority, size_bytes: int, timeout_s: float) -> None:
        now_s = self.clock.monotonic_s()
        urgency = Urgency(priority, Deadline(now_s + timeout_s, self.clock))
        self.offered += 1
        full = len(self.waiting) == self.max_waiting
        crowded = sum(waiter.size_bytes for waiter in self.waiting) + size_bytes > self.max_bytes
        try:
            admitted = self.core.offer(size_bytes=size_bytes, urgency=urgency, now_s=now_s)
        except HoldfastError as error:
            self.turned_away += 1
            self.check_refusal(error, urgency, no_room=full or crowded)
            return
        if isinstance(admitted, Permit):
            self.held.append(admitted)
            assert self.waiting == []
            return
        newcomer = Waiter(admitted, urgency, size_bytes, now_s, self.offered)

        def wake() -> None:
            newcomer.woken += 1

        admitted.wake = wake
        in_order = sorted(self.waiting, key=lambda waiter: waiter.place)
        shed = self.sort_out()
        assert full or crowded or not shed
        assert shed == [] or sorted(shed, key=lambda waiter: waiter.place) == in_order[-len(shed) :]
        assert all(isinstance(waiter.entry.outcome, BackpressureError) for waiter in shed)
        assert all(newcomer.place < waiter.place for waiter in shed)
        self.waiting.append(newcomer)

    def check_refusal(self, error: HoldfastError, urgency: Urgency, *, no_room: bool) -> None:
        assert isinstance(error, ClosedError) == self.closed
        assert isinstance(error, DeadlineExceededError) == (urgency.deadline.has_passed() and not self.closed)
        if isinstance(error, BackpressureError):
            assert no_room or (error.retry_after_s or 0.0) > urgency.deadline.remaining_s()
        assert self.sort_out() == []

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        permit = data.draw(st.sampled_from(self.held))
        self.held.remove(permit)
        in_order = sorted(self.waiting, key=lambda waiter: waiter.place)
        self.core.release(permit, now_s=self.clock.monotonic_s())
        woken = self.sort_out()
        late = [waiter for waiter in woken if isinstance(waiter.entry.outcome, DeadlineExceededError)]
        granted = [waiter for waiter in woken if isinstance(waiter.entry.outcome, Permit)]
        assert len(granted) <= 1
        assert all(waiter.urgency.deadline.has_passed() for waiter in late)
        assert not any(waiter.urgency.deadline.has_passed() for waiter in granted)
        assert set(late + granted) == set(in_order[: len(woken)])
        self.core.release(permit, now_s=self.clock.monotonic_s())
        assert self.sort_out() == []

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        self.core.withdraw(waiter.entry, now_s=self.clock.monotonic_s())
        self.waiting.remove(waiter)
        self.withdrawn += 1
        assert waiter.woken == 0

    @precondition(lambda self: self.held and self.waiting)
    @rule()
    def withdraw_right_after_the_grant(self) -> None:
        now_s = self.clock.monotonic_s()
        self.core.release(self.held.pop(0), now_s=now_s)
        for waiter in self.sort_out():
            self.core.withdraw(waiter.entry, now_s=now_s)
            if isinstance(waiter.entry.outcome, Permit):
                self.held.remove(waiter.entry.outcome)
        self.sort_out()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), priority=st.sampled_from(Priority), timeout_s=st.sampled_from([1.0, 50.0]))
    def rise(self, data: st.DataObject, priority: Priority, timeout_s: float) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        deadline = Deadline(self.clock.monotonic_s() + timeout_s, self.clock)
        waiter.urgency.rise_to(Urgency(priority, deadline))

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.offered > 15)
    @rule()
    def close(self) -> None:
        self.core.close()
        self.closed = True

    @invariant()
    def bounds_are_kept(self) -> None:
        counted = self.core.statistics()
        assert counted.waiting == len(self.waiting) <= self.max_waiting
        assert counted.waiting_bytes == sum(waiter.size_bytes for waiter in self.waiting) <= self.max_bytes
        assert counted.limit.in_flight == len(self.held) <= self.slots

    @invariant()
    def nobody_waits_while_a_slot_is_free(self) -> None:
        assert not self.waiting or len(self.held) == self.slots

    @invariant()
    def everybody_ends_once(self) -> None:
        counted = self.core.statistics()
        assert all(waiter.woken == 1 for waiter in self.ended)
        assert counted.offered == self.offered
        assert counted.offered == (
            counted.waiting + counted.granted + counted.refused + counted.shed + counted.expired + counted.cancelled
        )
        late = sum(isinstance(waiter.entry.outcome, DeadlineExceededError) for waiter in self.ended)
        assert counted.shed == sum(isinstance(waiter.entry.outcome, BackpressureError) for waiter in self.ended)
        assert counted.refused + counted.expired + counted.cancelled == self.turned_away + self.withdrawn + late

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        while self.held:
            self.core.release(self.held.pop(), now_s=self.clock.monotonic_s())
            self.sort_out()
        counted = self.core.statistics()
        assert (counted.waiting, counted.waiting_bytes, counted.limit.in_flight) == (0, 0, 0)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=150, stateful_step_count=40)
