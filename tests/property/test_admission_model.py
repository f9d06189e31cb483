from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, DeadlineExceededError, HoldfastError
from holdfast.ports.events import Event, OverloadBegan, OverloadEnded
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

AGEING_S = 4.0
OVERLOAD_TIMEOUT_S = 3.0


@dataclass(eq=False)
class Waiter:
    """One entry as the model sees it."""

    entry: Entry
    urgency: Urgency
    tenant: str
    size_bytes: int
    tokens: int
    arrived_s: float
    number: int
    woken: int = 0

    @property
    def place(self) -> tuple[float, int]:
        return (self.arrived_s + self.urgency.priority * AGEING_S, self.number)


class AdmissionMachine(RuleBasedStateMachine):
    """Any history of arrivals, releases, cancellations and rises: everybody ends once, in the right order."""

    @initialize(
        slots=st.integers(1, 3),
        max_waiting=st.integers(1, 8),
        max_bytes=st.integers(1, 20),
        max_tokens=st.integers(1, 40),
        burst_tokens=st.sampled_from([0, 10]),
        overload_after_s=st.sampled_from([1.5, 1e9]),
    )
    def begin(
        self,
        slots: int,
        max_waiting: int,
        max_bytes: int,
        max_tokens: int,
        burst_tokens: int,
        overload_after_s: float,
    ) -> None:
        self.slots = slots
        self.config = AdmissionConfig(
            max_waiting=max_waiting,
            max_bytes=max_bytes,
            max_tokens=max_tokens,
            ageing_s=AGEING_S,
            weights={"heavy": 3.0},
            burst_tokens=burst_tokens,
            overload_after_s=overload_after_s,
            overload_timeout_s=OVERLOAD_TIMEOUT_S,
        )
        self.clock = ManualClock(0.0)
        self.core = AdmissionCore(self.config, ConcurrencyLimit(slots), events=self)
        self.overloaded: set[tuple[str, Priority]] = set()
        self.held: list[Permit] = []
        self.waiting: list[Waiter] = []
        self.ended: list[Waiter] = []
        self.offered = 0
        self.turned_away = 0
        self.withdrawn = 0

    def emit(self, event: Event) -> None:
        """Follow which lines are overloaded; the counts add up whenever something is told."""
        if isinstance(event, OverloadBegan):
            assert (event.tenant, event.priority) not in self.overloaded
            self.overloaded.add((event.tenant, event.priority))
        elif isinstance(event, OverloadEnded):
            self.overloaded.remove((event.tenant, event.priority))
        self.counts_add_up()

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
        tenant=st.sampled_from(["a", "b", "heavy"]),
        size_bytes=st.integers(0, 22),
        tokens=st.integers(0, 22),
        timeout_s=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    )
    def offer(self, priority: Priority, tenant: str, size_bytes: int, tokens: int, timeout_s: float) -> None:
        now_s = self.clock.monotonic_s()
        urgency = Urgency(priority, Deadline(now_s + timeout_s, self.clock))
        self.offered += 1
        full = len(self.waiting) == self.config.max_waiting
        crowded = sum(waiter.size_bytes for waiter in self.waiting) + size_bytes > self.config.max_bytes
        costly = sum(waiter.tokens for waiter in self.waiting) + max(1, tokens) > self.config.max_tokens
        no_room = full or crowded or costly
        try:
            admitted = self.core.offer(
                tenant=tenant, size_bytes=size_bytes, tokens=tokens, urgency=urgency, now_s=now_s
            )
        except HoldfastError as error:
            self.turned_away += 1
            self.check_refusal(error, urgency, no_room=no_room)
            return
        if isinstance(admitted, Permit):
            self.held.append(admitted)
            assert self.waiting == []
            return
        newcomer = Waiter(admitted, urgency, tenant, size_bytes, max(1, tokens), now_s, self.offered)

        def wake() -> None:
            newcomer.woken += 1

        admitted.wake = wake
        shed = [waiter for waiter in self.sort_out() if not self.is_stale(waiter)]
        assert no_room or not shed
        assert all(waiter.urgency.priority == priority or newcomer.place < waiter.place for waiter in shed)
        self.waiting.append(newcomer)

    def is_stale(self, waiter: Waiter) -> bool:
        """Return whether it was shed because its line is overloaded, and check that it was."""
        error = waiter.entry.outcome
        assert isinstance(error, BackpressureError)
        assert error.retry_after_s is not None
        if "overloaded" not in str(error):
            return False
        assert (waiter.tenant, waiter.urgency.priority) in self.overloaded
        assert self.clock.monotonic_s() - waiter.arrived_s > OVERLOAD_TIMEOUT_S
        return True

    def check_refusal(self, error: HoldfastError, urgency: Urgency, *, no_room: bool) -> None:
        assert isinstance(error, DeadlineExceededError) == urgency.deadline.has_passed()
        if isinstance(error, BackpressureError):
            assert no_room or (error.retry_after_s or 0.0) > urgency.deadline.remaining_s()
            assert error.retry_after_s is None or error.retry_after_s > 0
        assert all(self.is_stale(waiter) for waiter in self.sort_out())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        permit = data.draw(st.sampled_from(self.held))
        self.held.remove(permit)
        waiting = list(self.waiting)
        self.core.release(permit, now_s=self.clock.monotonic_s())
        woken = self.sort_out()
        granted = [waiter for waiter in woken if isinstance(waiter.entry.outcome, Permit)]
        late = [waiter for waiter in woken if isinstance(waiter.entry.outcome, DeadlineExceededError)]
        assert all(self.is_stale(waiter) for waiter in woken if waiter not in granted + late)
        assert all(waiter.urgency.deadline.has_passed() for waiter in late)
        assert not any(waiter.urgency.deadline.has_passed() for waiter in granted)
        assert len(granted) == (1 if len(waiting) > len(late) else 0)
        for waiter in granted:
            self.check_turn(waiter, [other for other in waiting if other not in late])
        self.core.release(permit, now_s=self.clock.monotonic_s())
        assert self.sort_out() == []

    def check_turn(self, granted: Waiter, waiting: list[Waiter]) -> None:
        """No higher priority waits behind a lower one that has not aged past it, and one tenant is served in order."""
        priority = granted.urgency.priority
        assert all(granted.place <= other.place for other in waiting if other.urgency.priority < priority)
        same = [other for other in waiting if other.urgency.priority == priority and other.tenant == granted.tenant]
        if (granted.tenant, priority) not in self.overloaded:
            assert granted.number == min(other.number for other in same) or self.was_overloaded(granted)

    def was_overloaded(self, granted: Waiter) -> bool:
        """Return whether serving it emptied its line, so that the overload of that is over by now."""
        line = (granted.tenant, granted.urgency.priority)
        return line not in {(waiter.tenant, waiter.urgency.priority) for waiter in self.waiting}

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
        self.core.rise(waiter.entry, now_s=self.clock.monotonic_s())

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def bounds_are_kept(self) -> None:
        counted = self.core.statistics()
        assert counted.waiting == len(self.waiting) <= self.config.max_waiting
        assert counted.waiting_bytes == sum(waiter.size_bytes for waiter in self.waiting) <= self.config.max_bytes
        assert counted.waiting_tokens == sum(waiter.tokens for waiter in self.waiting) <= self.config.max_tokens
        assert counted.waiting_tenants == len({waiter.tenant for waiter in self.waiting})
        assert counted.limit.in_flight == len(self.held) <= self.slots

    @invariant()
    def nobody_waits_while_a_slot_is_free(self) -> None:
        assert not self.waiting or len(self.held) == self.slots

    @invariant()
    def only_what_waits_is_overloaded(self) -> None:
        assert self.overloaded <= {(waiter.tenant, waiter.urgency.priority) for waiter in self.waiting}
        assert len(self.overloaded) <= self.core.statistics().overloaded

    @invariant()
    def everybody_ends_once(self) -> None:
        counted = self.core.statistics()
        assert all(waiter.woken == 1 for waiter in self.ended)
        assert counted.offered == self.offered
        self.counts_add_up()
        late = sum(isinstance(waiter.entry.outcome, DeadlineExceededError) for waiter in self.ended)
        assert counted.shed == sum(isinstance(waiter.entry.outcome, BackpressureError) for waiter in self.ended)
        assert counted.refused + counted.expired + counted.cancelled == self.turned_away + self.withdrawn + late

    def counts_add_up(self) -> None:
        counted = self.core.statistics()
        assert counted.offered == (
            counted.waiting + counted.granted + counted.refused + counted.shed + counted.expired + counted.cancelled
        )

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
