from __future__ import annotations

import pytest

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_core import AdmissionCore
from holdfast.domain.admission_flow import Entry
from holdfast.domain.concurrency_limit import ConcurrencyLimit, Permit
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.errors import BackpressureError, DeadlineExceededError, RefusedError
from holdfast.ports.events import Event, OverloadBegan, OverloadEnded, RequestExpired, RequestRefused, RequestShed
from holdfast.ports.service import Priority
from holdfast.ports.statistics import AdmissionStatistics, LimitStatistics
from holdfast.testing import ManualClock


class SteppingClock(ManualClock):
    """One that can be set back, as no monotonic clock should be."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def step_back(self, seconds: float) -> None:
        self._now_s -= seconds


class Desk:
    """A core with a clock; each call happens at the clock's time."""

    def __init__(self, *, slots: int = 1, max_waiting: int = 10, max_bytes: int = 100, max_tokens: int = 100) -> None:
        self.clock = SteppingClock()
        self.told: list[Event] = []
        config = AdmissionConfig(
            max_waiting=max_waiting, max_bytes=max_bytes, max_tokens=max_tokens, ageing_s=1000.0, burst_tokens=0
        )
        self.core = AdmissionCore(config, ConcurrencyLimit(slots), events=self)
        self.woken: list[Entry] = []

    def emit(self, event: Event) -> None:
        self.told.append(event)
        counted = self.statistics
        assert counted.offered == (
            counted.waiting + counted.granted + counted.refused + counted.shed + counted.expired + counted.cancelled
        )

    def offer(
        self,
        priority: Priority = Priority.NORMAL,
        *,
        tenant: str = "a",
        timeout_s: float = 100.0,
        size_bytes: int = 1,
        tokens: int = 1,
    ) -> Permit | Entry:
        now_s = self.clock.monotonic_s()
        urgency = Urgency(priority, Deadline(now_s + timeout_s, self.clock))
        return self.core.offer(tenant=tenant, size_bytes=size_bytes, tokens=tokens, urgency=urgency, now_s=now_s)

    def grant(self) -> Permit:
        granted = self.offer()
        assert isinstance(granted, Permit)
        return granted

    def wait(
        self,
        priority: Priority = Priority.NORMAL,
        *,
        tenant: str = "a",
        timeout_s: float = 100.0,
        size_bytes: int = 1,
        tokens: int = 1,
    ) -> Entry:
        entry = self.offer(priority, tenant=tenant, timeout_s=timeout_s, size_bytes=size_bytes, tokens=tokens)
        assert isinstance(entry, Entry)
        entry.wake = lambda: self.woken.append(entry)
        return entry

    def release(self, permit: Permit) -> None:
        self.core.release(permit, now_s=self.clock.monotonic_s())

    def withdraw(self, entry: Entry) -> None:
        self.core.withdraw(entry, now_s=self.clock.monotonic_s())

    def rise(self, entry: Entry, priority: Priority) -> None:
        entry.urgency.rise_to(Urgency(priority, entry.urgency.deadline))
        self.core.rise(entry, now_s=self.clock.monotonic_s())

    def hold_for(self, held_s: float) -> None:
        """Let one piece of work hold a slot for so long."""
        permit = self.grant()
        self.clock.advance(held_s)
        self.release(permit)

    @property
    def granted(self) -> list[Entry]:
        return [entry for entry in self.woken if isinstance(entry.outcome, Permit)]

    @property
    def statistics(self) -> AdmissionStatistics:
        return self.core.statistics()


def permit_of(entry: Entry) -> Permit:
    assert isinstance(entry.outcome, Permit)
    return entry.outcome


def test_offer_with_a_free_slot_and_nobody_in_line_is_granted_at_once() -> None:
    desk = Desk(slots=2)
    desk.grant()
    desk.grant()

    assert desk.statistics == AdmissionStatistics(
        waiting=0,
        waiting_bytes=0,
        waiting_tokens=0,
        waiting_tenants=0,
        overloaded=0,
        offered=2,
        granted=2,
        refused=0,
        shed=0,
        expired=0,
        cancelled=0,
        limit=LimitStatistics(limit=2, in_flight=2),
    )


def test_offer_without_a_free_slot_waits() -> None:
    desk = Desk()
    desk.grant()
    desk.wait(size_bytes=7, tokens=9)

    assert (desk.statistics.waiting, desk.statistics.waiting_bytes, desk.statistics.waiting_tokens) == (1, 7, 9)


def test_statistics_count_the_tenants_who_wait_each_once() -> None:
    desk = Desk()
    desk.grant()
    for tenant, priority in (("a", Priority.LOW), ("b", Priority.LOW), ("a", Priority.HIGH)):
        desk.wait(priority, tenant=tenant)

    assert (desk.statistics.waiting, desk.statistics.waiting_tenants) == (3, 2)


def test_offer_larger_than_the_line_with_a_free_slot_is_granted_as_it_never_waits() -> None:
    desk = Desk(max_bytes=10)

    assert isinstance(desk.offer(size_bytes=11), Permit)


def test_release_with_nobody_in_line_frees_the_slot() -> None:
    desk = Desk()
    desk.release(desk.grant())

    assert desk.statistics.limit.in_flight == 0


def test_release_hands_the_slot_to_the_next_in_line_before_it_returns() -> None:
    desk = Desk()
    permit = desk.grant()
    first, second = desk.wait(), desk.wait()
    desk.release(permit)

    assert desk.woken == [first]
    assert (desk.statistics.limit.in_flight, desk.statistics.granted, desk.statistics.waiting) == (1, 2, 1)
    desk.release(permit_of(first))
    assert desk.woken == [first, second]


def test_release_hands_the_slot_to_the_most_urgent() -> None:
    desk = Desk()
    permit = desk.grant()
    desk.wait(Priority.LOW)
    urgent = desk.wait(Priority.HIGH)
    desk.release(permit)

    assert desk.woken == [urgent]


def test_release_twice_frees_one_slot() -> None:
    desk = Desk(slots=2)
    permit = desk.grant()
    desk.grant()
    first, second = desk.wait(), desk.wait()
    desk.release(permit)
    desk.release(permit)

    assert desk.woken == [first]
    assert second.waiting
    assert desk.statistics.limit.in_flight == 2


def test_offer_after_a_hand_off_does_not_take_the_slot_past_the_line() -> None:
    desk = Desk()
    permit = desk.grant()
    first = desk.wait()
    desk.release(permit)
    newcomer = desk.wait(Priority.CRITICAL)

    assert (first.waiting, newcomer.waiting) == (False, True)


def test_offer_whose_deadline_has_passed_is_expired_even_with_a_free_slot() -> None:
    desk = Desk()
    with pytest.raises(DeadlineExceededError):
        desk.offer(timeout_s=0.0)

    assert (desk.statistics.expired, desk.statistics.limit.in_flight) == (1, 0)


def test_entry_whose_deadline_passed_in_line_is_expired_when_its_turn_comes_and_the_next_is_granted() -> None:
    desk = Desk()
    permit = desk.grant()
    late = desk.wait(timeout_s=5.0)
    patient = desk.wait(timeout_s=50.0)
    desk.clock.advance(6.0)
    desk.release(permit)

    assert isinstance(late.outcome, DeadlineExceededError)
    assert isinstance(patient.outcome, Permit)
    assert (desk.statistics.expired, desk.statistics.limit.in_flight) == (1, 1)


def test_last_entry_whose_deadline_passed_in_line_leaves_the_slot_free() -> None:
    desk = Desk()
    permit = desk.grant()
    desk.wait(timeout_s=5.0)
    desk.clock.advance(6.0)
    desk.release(permit)

    assert (desk.statistics.waiting, desk.statistics.limit.in_flight) == (0, 0)


def test_withdraw_of_a_waiting_entry_gives_up_its_place_and_its_bytes() -> None:
    desk = Desk()
    permit = desk.grant()
    entry = desk.wait(size_bytes=7)
    desk.withdraw(entry)
    desk.release(permit)

    assert desk.woken == []
    assert (desk.statistics.waiting, desk.statistics.waiting_bytes, desk.statistics.cancelled) == (0, 0, 1)
    assert desk.statistics.limit.in_flight == 0


def test_withdraw_after_the_deadline_counts_as_expired() -> None:
    desk = Desk()
    desk.grant()
    entry = desk.wait(timeout_s=5.0)
    desk.clock.advance(5.0)
    desk.withdraw(entry)

    assert (desk.statistics.expired, desk.statistics.cancelled) == (1, 0)


def test_withdraw_of_an_entry_that_was_just_granted_gives_the_slot_on() -> None:
    desk = Desk()
    permit = desk.grant()
    first, second = desk.wait(), desk.wait()
    desk.release(permit)
    desk.withdraw(first)

    assert desk.woken == [first, second]
    assert (desk.statistics.granted, desk.statistics.cancelled, desk.statistics.limit.in_flight) == (3, 0, 1)


def test_withdraw_of_an_entry_that_was_just_shed_changes_nothing() -> None:
    desk = Desk(max_waiting=1)
    desk.grant()
    shed = desk.wait(Priority.LOW)
    desk.wait(Priority.HIGH)
    desk.withdraw(shed)

    assert (desk.statistics.shed, desk.statistics.cancelled, desk.statistics.waiting) == (1, 0, 1)


def test_offer_to_a_full_line_that_is_no_more_urgent_is_refused() -> None:
    desk = Desk(max_waiting=2)
    desk.grant()
    desk.wait()
    desk.wait()
    with pytest.raises(BackpressureError) as raised:
        desk.offer()

    assert (raised.value.depth, raised.value.capacity) == (2, 2)
    assert raised.value.reason == "the admission queue is full"
    assert (desk.statistics.refused, desk.statistics.waiting) == (1, 2)


@pytest.mark.parametrize(
    ("size_bytes", "tokens", "lack"), [(6, 1, "no room for 6 more bytes"), (1, 7, "no room for 7 more tokens")]
)
def test_offer_that_exceeds_bytes_or_tokens_is_refused_with_what_there_is_too_little_of(
    size_bytes: int, tokens: int, lack: str
) -> None:
    desk = Desk(max_bytes=10, max_tokens=10)
    desk.grant()
    desk.wait(size_bytes=5, tokens=5)
    with pytest.raises(BackpressureError) as raised:
        desk.offer(size_bytes=size_bytes, tokens=tokens)

    assert raised.value.reason == f"the admission queue has {lack}"


def test_offer_to_a_full_line_that_is_more_urgent_sheds_the_lowest_and_newest() -> None:
    desk = Desk(max_waiting=3)
    desk.grant()
    desk.wait(Priority.NORMAL)
    desk.wait(Priority.LOW)
    newest = desk.wait(Priority.LOW)
    desk.wait(Priority.HIGH)

    assert desk.woken == [newest]
    assert isinstance(newest.outcome, BackpressureError)
    assert newest.outcome.reason == "the admission queue is full and more urgent work has come"
    assert (newest.outcome.depth, newest.outcome.capacity) == (3, 3)
    assert (desk.statistics.shed, desk.statistics.waiting) == (1, 3)


def test_offer_of_many_bytes_sheds_as_many_as_it_takes_each_with_an_error_of_its_own() -> None:
    desk = Desk(max_bytes=10)
    desk.grant()
    low = [desk.wait(Priority.LOW, size_bytes=5) for _ in range(2)]
    desk.wait(Priority.HIGH, size_bytes=8)

    assert desk.woken == low[::-1]
    assert low[0].outcome is not low[1].outcome
    assert (desk.statistics.shed, desk.statistics.waiting_bytes) == (2, 8)


def test_offer_of_as_many_bytes_as_may_wait_waits() -> None:
    desk = Desk(max_bytes=10)
    desk.grant()

    assert isinstance(desk.offer(size_bytes=10), Entry)


def test_offer_of_more_bytes_than_may_wait_is_refused_and_sheds_nobody() -> None:
    desk = Desk(max_bytes=10)
    desk.grant()
    desk.wait(Priority.LOW)
    with pytest.raises(BackpressureError, match="11 bytes are more than may wait, 10"):
        desk.offer(Priority.CRITICAL, size_bytes=11)

    assert (desk.statistics.refused, desk.statistics.waiting) == (1, 1)


def test_offer_of_more_tokens_than_may_wait_is_refused_and_sheds_nobody() -> None:
    desk = Desk(max_tokens=10)
    desk.grant()
    desk.wait(Priority.LOW)
    with pytest.raises(BackpressureError, match="11 tokens are more than may wait, 10"):
        desk.offer(Priority.CRITICAL, tokens=11)

    assert (desk.statistics.refused, desk.statistics.waiting) == (1, 1)


def test_offer_of_as_many_tokens_as_may_wait_waits() -> None:
    desk = Desk(max_tokens=10)
    desk.grant()

    assert isinstance(desk.offer(tokens=10), Entry)


def test_refusal_that_no_retry_can_help_names_no_time() -> None:
    desk = Desk(max_bytes=10)
    desk.hold_for(3.0)
    desk.grant()
    with pytest.raises(BackpressureError) as raised:
        desk.offer(size_bytes=11)

    assert raised.value.retry_after_s is None


@pytest.mark.parametrize("held_s", [None, 0.0])
def test_refusal_names_a_time_even_where_nothing_was_measured(held_s: float | None) -> None:
    desk = Desk(max_waiting=1)
    if held_s is not None:
        desk.hold_for(held_s)
    desk.grant()
    shed = desk.wait(Priority.LOW)
    desk.wait(Priority.HIGH)
    with pytest.raises(BackpressureError) as raised:
        desk.offer(Priority.LOW)

    assert isinstance(shed.outcome, BackpressureError)
    assert (shed.outcome.retry_after_s, raised.value.retry_after_s) == (1.0, 1.0)


def test_offer_before_any_slot_came_back_is_not_judged_by_a_wait_that_nobody_knows() -> None:
    desk = Desk()
    desk.grant()
    for _ in range(5):
        desk.wait(timeout_s=0.01)

    assert desk.statistics.waiting == 5


def test_offer_that_would_outwait_its_deadline_is_refused_with_the_predicted_wait() -> None:
    desk = Desk()
    desk.hold_for(10.0)
    desk.grant()
    desk.wait()
    desk.wait()
    with pytest.raises(BackpressureError, match="the predicted wait of 20 s outlasts the deadline") as raised:
        desk.offer(timeout_s=19.0)

    assert raised.value.retry_after_s == 20.0
    assert desk.statistics.refused == 1


def test_offer_whose_deadline_is_just_as_far_as_the_predicted_wait_waits() -> None:
    desk = Desk()
    desk.hold_for(10.0)
    desk.grant()
    desk.wait()

    assert isinstance(desk.offer(timeout_s=10.0), Entry)


def test_predicted_wait_counts_only_those_ahead_of_the_newcomer() -> None:
    desk = Desk()
    desk.hold_for(10.0)
    desk.grant()
    for _ in range(3):
        desk.wait(Priority.LOW)

    assert isinstance(desk.offer(Priority.HIGH, timeout_s=1.0), Entry)


def test_predicted_wait_is_shared_by_the_slots() -> None:
    desk = Desk(slots=4)
    desk.hold_for(10.0)
    for _ in range(4):
        desk.grant()
    for _ in range(2):
        desk.wait()

    with pytest.raises(BackpressureError, match="wait of 5 s"):
        desk.offer(timeout_s=4.9)
    assert isinstance(desk.offer(timeout_s=5.1), Entry)


def test_predicted_wait_follows_the_holding_times_by_an_eighth_each() -> None:
    desk = Desk()
    desk.hold_for(8.0)
    desk.hold_for(16.0)
    desk.grant()
    desk.wait()
    with pytest.raises(BackpressureError) as raised:
        desk.offer(timeout_s=1.0)

    assert raised.value.retry_after_s == 9.0


def test_predicted_wait_is_not_shortened_by_a_slot_that_nobody_used() -> None:
    desk = Desk()
    desk.hold_for(8.0)
    permit = desk.grant()
    cancelled = desk.wait()
    desk.wait()
    desk.clock.advance(8.0)
    desk.release(permit)
    desk.withdraw(cancelled)
    desk.wait()
    with pytest.raises(BackpressureError) as raised:
        desk.offer(timeout_s=1.0)

    assert raised.value.retry_after_s == 8.0


def test_refusal_of_a_full_line_says_when_those_who_wait_will_have_been_admitted() -> None:
    desk = Desk(max_waiting=2)
    desk.hold_for(3.0)
    desk.grant()
    desk.wait()
    desk.wait()
    with pytest.raises(BackpressureError) as raised:
        desk.offer()

    assert raised.value.retry_after_s == 6.0


def test_shed_entry_is_told_when_those_who_wait_will_have_been_admitted() -> None:
    desk = Desk(max_waiting=2)
    desk.hold_for(3.0)
    desk.grant()
    desk.wait()
    shed = desk.wait()
    desk.wait(Priority.HIGH)

    assert isinstance(shed.outcome, RefusedError)
    assert shed.outcome.retry_after_s == 6.0


def test_entry_that_rose_in_line_is_granted_first() -> None:
    desk = Desk()
    permit = desk.grant()
    desk.wait(Priority.NORMAL)
    rising = desk.wait(Priority.BULK)
    desk.rise(rising, Priority.CRITICAL)
    desk.release(permit)

    assert desk.woken == [rising]


def test_entry_that_rises_after_it_was_granted_stays_as_it_ended() -> None:
    desk = Desk()
    permit = desk.grant()
    granted = desk.wait(Priority.BULK)
    stays = desk.wait(Priority.BULK)
    desk.release(permit)
    desk.rise(granted, Priority.CRITICAL)

    assert (desk.woken, stays.waiting, desk.statistics.waiting) == ([granted], True, 1)


def test_entry_whose_deadline_was_postponed_in_line_is_granted() -> None:
    desk = Desk()
    permit = desk.grant()
    flight = desk.wait(Priority.NORMAL, timeout_s=5.0)
    flight.urgency.rise_to(Urgency(Priority.BULK, Deadline(100.0, desk.clock)))
    desk.clock.advance(6.0)
    desk.release(permit)

    assert isinstance(flight.outcome, Permit)


def test_release_gives_the_slot_to_the_tenant_whose_turn_it_is() -> None:
    desk = Desk()
    permit = desk.grant()
    entries = [desk.wait(tenant=tenant) for tenant in ("a", "a", "b")]
    desk.release(permit)
    desk.release(permit_of(entries[0]))

    assert desk.woken == [entries[0], entries[2]]


def test_entry_whose_deadline_passed_in_line_costs_its_tenant_no_turn() -> None:
    desk = Desk()
    permit = desk.grant()
    late = desk.wait(tenant="a", timeout_s=5.0)
    patient = [desk.wait(tenant=tenant) for tenant in ("a", "b")]
    desk.clock.advance(6.0)
    desk.release(permit)

    assert desk.woken == [late, patient[0]]


def overloaded(desk: Desk) -> tuple[Permit, list[Entry]]:
    """Return the permit that is held and those who wait, once the line of tenant a is overloaded, at 11.0."""
    permit = desk.grant()
    entries = []
    for now_s in range(12):
        desk.clock.advance(now_s - desk.clock.monotonic_s())
        entries.append(desk.wait())
    return permit, entries


def test_line_that_is_overloaded_serves_the_newest_first_and_sheds_what_has_waited_for_too_long() -> None:
    desk = Desk(max_waiting=100)
    permit, entries = overloaded(desk)
    desk.release(permit)

    assert isinstance(entries[-1].outcome, Permit)
    shed = [entry for entry in entries if not entry.waiting and not isinstance(entry.outcome, Permit)]
    assert shed == entries[:6]
    assert (desk.statistics.shed, desk.statistics.waiting, desk.statistics.overloaded) == (6, 5, 1)


def test_line_that_is_overloaded_sheds_what_has_waited_for_too_long_when_one_comes_but_not_the_oldest() -> None:
    desk = Desk(max_waiting=100)
    _, entries = overloaded(desk)

    assert [number for number, entry in enumerate(entries) if not entry.waiting] == [1, 2, 3, 4, 5]


def test_shed_for_overload_says_so_and_when_to_come_back() -> None:
    desk = Desk(max_waiting=100)
    _, entries = overloaded(desk)

    assert isinstance(entries[1].outcome, BackpressureError)
    assert entries[1].outcome.reason == "the line of the tenant is overloaded and newer work goes first"
    assert entries[1].outcome.retry_after_s == 1.0


def test_line_of_another_tenant_is_not_touched_by_the_overload_of_the_first() -> None:
    desk = Desk(max_waiting=100)
    permit = desk.grant()
    patient = [desk.wait(tenant="b"), desk.wait(tenant="b")]
    for _ in range(11):
        desk.wait()
        desk.clock.advance(1.0)
    newest = desk.wait()
    for _ in range(3):
        desk.release(permit)
        permit = permit_of(desk.granted[-1])

    assert desk.granted == [patient[0], newest, patient[1]]
    assert desk.statistics.shed > 0


def test_line_that_was_empty_is_no_longer_overloaded() -> None:
    desk = Desk(max_waiting=100)
    permit, _ = overloaded(desk)
    while desk.statistics.waiting:
        desk.release(permit)
        permit = permit_of(desk.granted[-1])
    first, _ = desk.wait(), desk.wait()
    desk.release(permit)

    assert desk.granted[-1] is first


def test_event_of_a_refusal_names_tenant_priority_reason_and_when_to_come_back() -> None:
    desk = Desk(max_waiting=1, max_bytes=10)
    desk.hold_for(3.0)
    desk.grant()
    desk.wait(Priority.HIGH)
    with pytest.raises(BackpressureError):
        desk.offer(Priority.LOW, tenant="b")
    with pytest.raises(BackpressureError):
        desk.offer(Priority.LOW, tenant="b", timeout_s=2.0)
    with pytest.raises(BackpressureError):
        desk.offer(Priority.LOW, tenant="b", size_bytes=11)

    assert desk.told == [
        RequestRefused(tenant="b", priority=Priority.LOW, reason=reason, retry_after_s=retry_after_s)
        for reason, retry_after_s in (("full", 3.0), ("predicted wait", 3.0), ("too large", None))
    ]


def test_event_of_one_that_is_shed_says_how_long_it_waited() -> None:
    desk = Desk(max_waiting=1)
    desk.grant()
    desk.wait(Priority.LOW, tenant="b")
    desk.clock.advance(2.0)
    desk.wait(Priority.HIGH)

    assert desk.told == [RequestShed(tenant="b", priority=Priority.LOW, reason="full", waited_s=2.0, retry_after_s=1.0)]


def test_event_of_a_deadline_that_passed_says_how_long_the_request_waited() -> None:
    desk = Desk()
    permit = desk.grant()
    with pytest.raises(DeadlineExceededError):
        desk.offer(timeout_s=0.0)
    left = desk.wait(Priority.HIGH, timeout_s=1.0)
    desk.wait(Priority.LOW, tenant="b", timeout_s=2.0)
    desk.clock.advance(3.0)
    desk.withdraw(left)
    desk.release(permit)

    assert desk.told == [
        RequestExpired(tenant="a", priority=Priority.NORMAL, waited_s=0.0),
        RequestExpired(tenant="a", priority=Priority.HIGH, waited_s=3.0),
        RequestExpired(tenant="b", priority=Priority.LOW, waited_s=3.0),
    ]


def test_event_of_overload_is_told_once_and_again_when_the_line_has_been_empty() -> None:
    desk = Desk(max_waiting=100)
    permit, entries = overloaded(desk)
    desk.clock.advance(1.0)
    desk.release(permit)
    for entry in entries:
        desk.withdraw(entry)

    told = [event for event in desk.told if isinstance(event, OverloadBegan | OverloadEnded)]
    assert told == [
        OverloadBegan(tenant="a", priority=Priority.NORMAL, waiting=10),
        OverloadEnded(tenant="a", priority=Priority.NORMAL, lasted_s=2.0),
    ]


def test_event_of_overload_is_told_where_a_slot_that_comes_back_shows_it() -> None:
    desk = Desk(max_waiting=100)
    permit = desk.grant()
    for now_s in (0.0, 4.0, 7.0):
        desk.clock.advance(now_s - desk.clock.monotonic_s())
        desk.wait()
    desk.clock.advance(3.0)
    desk.release(permit)

    assert OverloadBegan(tenant="a", priority=Priority.NORMAL, waiting=2) in desk.told


def test_event_of_overload_is_not_told_where_the_line_is_empty_as_soon_as_it_shows() -> None:
    desk = Desk(max_waiting=100)
    permit = desk.grant()
    entries = []
    for now_s in (0.0, 4.0, 7.0):
        desk.clock.advance(now_s - desk.clock.monotonic_s())
        entries.append(desk.wait())
    for entry in entries[1:]:
        desk.withdraw(entry)
    desk.clock.advance(3.0)
    desk.release(permit)

    assert desk.granted == entries[:1]
    assert desk.told == []


def test_event_of_overload_ends_where_the_last_entry_rises_out_of_the_line() -> None:
    desk = Desk(max_waiting=100)
    _, entries = overloaded(desk)
    for entry in entries:
        if entry.waiting:
            desk.rise(entry, Priority.HIGH)

    assert isinstance(desk.told[-1], OverloadEnded)
    assert desk.statistics.overloaded == 0


def test_event_of_overload_ends_where_more_urgent_work_takes_all_the_room_of_the_line() -> None:
    desk = Desk(max_waiting=100, max_bytes=100)
    overloaded(desk)
    desk.wait(Priority.HIGH, size_bytes=100)

    assert isinstance(desk.told[-1], OverloadEnded)
    assert desk.statistics.overloaded == 0


def test_overload_without_anybody_to_tell_is_the_same() -> None:
    desk = Desk(max_waiting=100)
    desk.core = AdmissionCore(AdmissionConfig(), ConcurrencyLimit(1))
    permit, entries = overloaded(desk)
    desk.release(permit)

    assert isinstance(entries[-1].outcome, Permit)
    assert (desk.statistics.shed, desk.statistics.overloaded) == (6, 1)


def test_clock_that_steps_back_by_an_hour_lets_no_newcomer_pass_those_who_wait() -> None:
    desk = Desk()
    permit = desk.grant()
    old = desk.wait(Priority.NORMAL, timeout_s=9000.0)
    desk.clock.step_back(3600.0)
    desk.wait(Priority.LOW, timeout_s=9000.0)
    desk.wait(Priority.NORMAL, timeout_s=9000.0)
    desk.release(permit)

    assert desk.woken == [old]


def test_clock_that_steps_back_by_an_hour_does_not_hide_the_time_that_goes_on() -> None:
    desk = Desk(max_waiting=100)
    for _ in range(2):
        desk.hold_for(10.0)
        desk.clock.step_back(3600.0)
    desk.grant()
    desk.wait()
    with pytest.raises(BackpressureError) as raised:
        desk.offer(timeout_s=1.0)

    assert raised.value.retry_after_s == 10.0
