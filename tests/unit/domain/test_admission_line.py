from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry
from holdfast.domain.admission_line import AdmissionLine
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

AGEING_S = 10.0
FAR = Deadline(1e9, ManualClock())


def line(*, max_waiting: int = 100, max_bytes: int = 1000, max_tokens: int = 1000) -> AdmissionLine:
    return AdmissionLine(
        AdmissionConfig(max_waiting=max_waiting, max_bytes=max_bytes, max_tokens=max_tokens, ageing_s=AGEING_S)
    )


def arrive(
    at: AdmissionLine,
    priority: Priority = Priority.NORMAL,
    *,
    tenant: str = "a",
    now_s: float = 0.0,
    size_bytes: int = 1,
    tokens: int = 1,
) -> Entry:
    return at.entry(tenant=tenant, size_bytes=size_bytes, tokens=tokens, urgency=Urgency(priority, FAR), now_s=now_s)


def join(
    at: AdmissionLine,
    priority: Priority = Priority.NORMAL,
    *,
    tenant: str = "a",
    now_s: float = 0.0,
    size_bytes: int = 1,
    tokens: int = 1,
) -> Entry:
    entry = arrive(at, priority, tenant=tenant, now_s=now_s, size_bytes=size_bytes, tokens=tokens)
    at.add(entry, now_s)
    return entry


def serve(at: AdmissionLine, *, now_s: float = 0.0) -> Entry:
    first = at.first()
    at.take(first, now_s)
    return first


def served(at: AdmissionLine) -> Iterator[Entry]:
    while at:
        yield serve(at)


def overload(at: AdmissionLine, priority: Priority = Priority.NORMAL, *, tenant: str = "a") -> Entry:
    """Make a line in which one entry waits since 0.0 pass for overloaded at 10.0, and return that entry."""
    oldest = join(at, priority, tenant=tenant)
    watch = oldest.flow.overload
    for now_s in (4.0, 5.0, 7.0, 8.0, 10.0):
        watch.count_arrival(now_s, oldest_s=0.0)
    return oldest


def test_entries_of_one_priority_are_served_in_the_order_they_came() -> None:
    queue = line()
    entries = [join(queue, now_s=now_s) for now_s in (0.0, 0.0, 1.0)]

    assert list(served(queue)) == entries


def test_entries_that_came_together_are_served_by_priority() -> None:
    queue = line()
    entries = {priority: join(queue, priority) for priority in reversed(Priority)}

    assert list(served(queue)) == [entries[priority] for priority in Priority]


@pytest.mark.parametrize(("later_s", "first"), [(9.9, "urgent"), (10.1, "old")])
def test_entry_one_level_above_overtakes_unless_it_comes_more_than_the_ageing_time_later(
    later_s: float, first: str
) -> None:
    queue = line()
    old = join(queue, Priority.LOW, now_s=0.0)
    urgent = join(queue, Priority.NORMAL, now_s=later_s)

    assert serve(queue) is {"urgent": urgent, "old": old}[first]


@pytest.mark.parametrize(("later_s", "first"), [(39.9, "urgent"), (40.1, "old")])
def test_bulk_entry_is_overtaken_by_critical_ones_for_four_ageing_times_only(later_s: float, first: str) -> None:
    queue = line()
    old = join(queue, Priority.BULK, now_s=0.0)
    urgent = join(queue, Priority.CRITICAL, now_s=later_s)

    assert serve(queue) is {"urgent": urgent, "old": old}[first]


def test_entry_whose_priority_rises_moves_up_as_if_it_had_come_with_it() -> None:
    queue = line()
    first = join(queue, Priority.HIGH, now_s=0.0)
    rising = join(queue, Priority.BULK, now_s=1.0)
    last = join(queue, Priority.HIGH, now_s=2.0)
    rising.urgency.rise_to(Urgency(Priority.HIGH, FAR))
    queue.move_up(rising, 3.0)

    assert list(served(queue)) == [first, rising, last]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_remove_takes_out_that_entry_and_its_bytes(index: int) -> None:
    queue = line()
    entries = [join(queue, size_bytes=size_bytes) for size_bytes in (1, 2, 4)]
    removed = entries.pop(index)
    queue.remove(removed)

    assert (len(queue), queue.size_bytes) == (2, sum(entry.size_bytes for entry in entries))
    assert (removed.waiting, list(served(queue))) == (False, entries)


def test_ahead_of_counts_those_that_would_be_served_before() -> None:
    queue = line()
    for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL):
        join(queue, priority)

    assert [queue.ahead_of(arrive(queue, priority), 0.0) for priority in Priority] == [0, 1, 2, 3, 3]


def test_ahead_of_counts_those_of_lower_priority_that_have_aged_past_it() -> None:
    queue = line()
    for now_s in (0.0, 0.5, 2.0):
        join(queue, Priority.LOW, now_s=now_s)

    assert queue.ahead_of(arrive(queue, Priority.NORMAL, now_s=11.0), 11.0) == 2


def test_ahead_of_the_first_entry_of_a_tenant_is_one_turn_of_each_other() -> None:
    queue = line()
    for tenant in ("a", "a", "a", "b", "b"):
        join(queue, tenant=tenant)

    assert queue.ahead_of(arrive(queue, tenant="c"), 0.0) == 2


def test_ahead_of_a_further_entry_of_a_tenant_are_its_own_and_as_many_turns_of_the_others() -> None:
    queue = line()
    for tenant in ("a", "a", "a", "a", "b", "b", "c"):
        join(queue, tenant=tenant)

    assert queue.ahead_of(arrive(queue, tenant="b"), 0.0) == 2 + 3 + 1


def test_ahead_of_an_entry_are_few_costly_ones_of_another_tenant() -> None:
    queue = line()
    for tenant, tokens in (("a", 10), ("a", 10), ("b", 10)):
        join(queue, tenant=tenant, tokens=tokens)
    for _ in range(10):
        join(queue, tenant="c", tokens=1)

    assert queue.ahead_of(arrive(queue, tenant="c"), 0.0) == 10 + 1 + 1


def test_ahead_of_an_entry_is_nobody_of_a_tenant_whose_turn_comes_later() -> None:
    queue = line()
    join(queue, tenant="a", tokens=100)
    join(queue, tenant="b", tokens=1)

    assert queue.ahead_of(arrive(queue, tenant="b"), 0.0) == 1


def test_ahead_of_an_entry_in_an_overloaded_line_is_nobody_of_it() -> None:
    queue = line()
    overload(queue)
    join(queue, now_s=1.0)

    assert queue.ahead_of(arrive(queue, now_s=20.0), 20.0) == 0


def test_entries_of_two_tenants_take_turns_whoever_sent_more() -> None:
    queue = line()
    for tenant in ("a", "a", "a", "a", "b", "b"):
        join(queue, tenant=tenant)

    assert [entry.tenant for entry in served(queue)] == ["a", "b", "a", "b", "a", "a"]


def test_entry_of_a_higher_priority_goes_first_whoseever_turn_it_is() -> None:
    queue = line()
    join(queue, Priority.NORMAL, tenant="b")
    urgent = [join(queue, Priority.HIGH, tenant="a") for _ in range(3)]

    assert [serve(queue) for _ in range(3)] == urgent


def test_entry_whose_turn_it_is_but_that_came_just_now_does_not_pass_a_higher_priority_by_the_age_of_another() -> None:
    queue = line()
    oldest = join(queue, Priority.LOW, tenant="a", now_s=0.0, tokens=9)
    join(queue, Priority.NORMAL, tenant="c", now_s=10.5)
    newest = join(queue, Priority.LOW, tenant="b", now_s=11.0)

    assert oldest.flow.tag > newest.flow.tag
    assert [entry.tenant for entry in served(queue)] == ["a", "c", "b"]


def test_entry_whose_turn_it_is_goes_first_where_it_has_aged_past_the_higher_priority_itself() -> None:
    queue = line()
    join(queue, Priority.LOW, tenant="a", now_s=0.0, tokens=9)
    join(queue, Priority.LOW, tenant="b", now_s=0.2)
    join(queue, Priority.NORMAL, tenant="c", now_s=10.5)

    assert [entry.tenant for entry in served(queue)] == ["b", "a", "c"]


def test_priority_of_which_one_entry_has_aged_is_served_by_turns_where_no_higher_one_waits() -> None:
    queue = line()
    join(queue, Priority.NORMAL, tenant="a", now_s=0.0, tokens=9)
    join(queue, Priority.NORMAL, tenant="b", now_s=9.0)
    join(queue, Priority.LOW, tenant="c", now_s=0.0)

    assert [entry.tenant for entry in served(queue)] == ["b", "a", "c"]


def test_in_the_way_with_room_is_nobody() -> None:
    queue = line(max_waiting=2, max_bytes=10)
    join(queue, size_bytes=5)

    assert queue.in_the_way_of(arrive(queue, size_bytes=5)) == []


def test_in_the_way_of_a_more_urgent_entry_is_the_lowest_and_newest() -> None:
    queue = line(max_waiting=3)
    join(queue, Priority.BULK, now_s=0.0)
    newest = join(queue, Priority.BULK, now_s=1.0)
    join(queue, Priority.NORMAL, now_s=2.0)

    assert queue.in_the_way_of(arrive(queue, Priority.HIGH, now_s=3.0)) == [newest]


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.LOW])
def test_in_the_way_of_an_entry_no_more_urgent_is_none_that_it_may_displace(priority: Priority) -> None:
    queue = line(max_waiting=1)
    join(queue, Priority.NORMAL)

    assert queue.in_the_way_of(arrive(queue, priority)) is None


def test_in_the_way_of_a_more_urgent_entry_is_nobody_who_has_aged_past_it() -> None:
    queue = line(max_waiting=1)
    join(queue, Priority.BULK, now_s=0.0)

    assert queue.in_the_way_of(arrive(queue, Priority.CRITICAL, now_s=41.0)) is None


def test_in_the_way_of_a_large_entry_are_as_many_as_its_bytes_take() -> None:
    queue = line(max_bytes=10)
    entries = [join(queue, Priority.LOW, size_bytes=size_bytes) for size_bytes in (3, 3, 4)]

    assert queue.in_the_way_of(arrive(queue, Priority.HIGH, size_bytes=5)) == [entries[2], entries[1]]


def test_in_the_way_of_a_large_entry_is_none_if_one_of_them_is_ahead_of_it() -> None:
    queue = line(max_bytes=10)
    join(queue, Priority.CRITICAL, size_bytes=6)
    join(queue, Priority.LOW, size_bytes=4)

    assert queue.in_the_way_of(arrive(queue, Priority.HIGH, size_bytes=5)) is None


def test_in_the_way_of_an_entry_as_large_as_the_line_is_everybody() -> None:
    queue = line(max_bytes=10)
    entries = [join(queue, Priority.LOW, size_bytes=5) for _ in range(2)]

    assert queue.in_the_way_of(arrive(queue, Priority.HIGH, size_bytes=10)) == entries[::-1]


def test_in_the_way_of_an_entry_of_a_small_tenant_is_the_newest_of_the_one_with_the_most_backlog() -> None:
    queue = line(max_waiting=4)
    entries = [join(queue, tenant=tenant) for tenant in ("big", "big", "big", "small")]

    assert queue.in_the_way_of(arrive(queue, tenant="new")) == [entries[2]]


def test_in_the_way_of_a_further_entry_of_the_tenant_with_the_most_backlog_is_none_but_itself() -> None:
    queue = line(max_waiting=4)
    for tenant in ("big", "big", "big", "small"):
        join(queue, tenant=tenant)

    assert queue.in_the_way_of(arrive(queue, tenant="big")) is None


def test_in_the_way_of_an_entry_that_makes_the_backlog_of_its_tenant_as_large_as_that_of_the_largest_is_none() -> None:
    queue = line(max_waiting=3)
    for tenant in ("a", "a", "b"):
        join(queue, tenant=tenant)

    assert queue.in_the_way_of(arrive(queue, tenant="b")) is None


def test_in_the_way_of_an_entry_is_the_backlog_that_is_most_in_tokens_not_in_entries() -> None:
    queue = line(max_waiting=4)
    for tenant, tokens in (("many", 1), ("many", 1), ("many", 1), ("costly", 9)):
        join(queue, tenant=tenant, tokens=tokens)

    leaving = queue.in_the_way_of(arrive(queue, tenant="new"))

    assert leaving is not None
    assert [entry.tenant for entry in leaving] == ["costly"]


def test_in_the_way_of_an_entry_is_the_backlog_that_is_most_for_its_weight() -> None:
    queue = AdmissionLine(AdmissionConfig(max_waiting=5, weights={"heavy": 4.0}))
    for tenant in ("heavy", "heavy", "heavy", "light", "light"):
        join(queue, tenant=tenant)

    leaving = queue.in_the_way_of(arrive(queue, tenant="new"))

    assert leaving is not None
    assert [entry.tenant for entry in leaving] == ["light"]


def test_in_the_way_of_a_large_entry_are_the_largest_backlogs_in_turn() -> None:
    queue = line(max_bytes=6)
    for tenant in ("a", "a", "a", "b", "b", "c"):
        join(queue, tenant=tenant)

    leaving = queue.in_the_way_of(arrive(queue, tenant="new", size_bytes=3))

    assert leaving is not None
    assert [entry.tenant for entry in leaving] == ["a", "a", "b"]


def test_in_the_way_of_an_entry_of_many_tokens_are_as_many_as_these_take() -> None:
    queue = line(max_tokens=10)
    entries = [join(queue, Priority.LOW, tokens=5) for _ in range(2)]

    assert queue.in_the_way_of(arrive(queue, Priority.HIGH, tokens=5)) == [entries[1]]


def test_in_the_way_of_an_entry_is_a_lower_priority_before_a_larger_backlog() -> None:
    queue = line(max_waiting=4)
    for _ in range(3):
        join(queue, Priority.NORMAL, tenant="big")
    low = join(queue, Priority.LOW, tenant="small")

    assert queue.in_the_way_of(arrive(queue, Priority.NORMAL, tenant="new")) == [low]


def test_in_the_way_of_an_entry_is_its_own_priority_rather_than_a_lower_one_that_has_aged_past_it() -> None:
    queue = line(max_waiting=3)
    join(queue, Priority.NORMAL, tenant="big", now_s=0.0)
    newest = join(queue, Priority.NORMAL, tenant="big", now_s=0.0)
    join(queue, Priority.LOW, tenant="aged", now_s=1.0)

    assert queue.in_the_way_of(arrive(queue, Priority.NORMAL, tenant="new", now_s=20.0)) == [newest]


def test_in_the_way_of_an_entry_into_its_own_overloaded_line_is_the_oldest_of_it() -> None:
    queue = line(max_waiting=2)
    oldest = overload(queue)
    join(queue, now_s=1.0)

    assert queue.in_the_way_of(arrive(queue, now_s=20.0)) == [oldest]


@pytest.mark.parametrize(
    ("size_bytes", "tokens", "words"),
    [
        (1000, 1000, None),
        (1001, 1, "1001 bytes are more than may wait, 1000"),
        (1, 1001, "1001 tokens are more than may wait, 1000"),
    ],
)
def test_exceeded_by_an_entry_larger_than_a_bound_says_which(size_bytes: int, tokens: int, words: str | None) -> None:
    queue = line()

    assert queue.exceeded_by(arrive(queue, size_bytes=size_bytes, tokens=tokens)) == words


def test_tokens_of_those_who_wait_are_summed_and_none_is_free() -> None:
    queue = line()
    left = join(queue, tokens=5)
    join(queue, tokens=0)
    queue.remove(left)

    assert queue.tokens == 1


def test_stale_in_a_line_that_is_not_overloaded_is_nobody() -> None:
    queue = line()
    flow = join(queue).flow
    join(queue, now_s=99.0)

    assert queue.stale(flow, 100.0, served=True) == []


def test_stale_in_a_line_that_is_empty_by_now_is_nobody() -> None:
    queue = line()
    flow = overload(queue).flow
    serve(queue, now_s=20.0)

    assert queue.stale(flow, 20.0, served=True) == []


def test_stale_once_one_was_served_are_all_that_waited_for_too_long() -> None:
    queue = line()
    oldest = overload(queue)
    others = [join(queue, now_s=now_s) for now_s in (1.0, 14.9, 15.0, 20.0)]
    assert serve(queue, now_s=20.0) is others[-1]

    assert queue.stale(oldest.flow, 20.0, served=True) == [oldest, *others[:2]]


def test_stale_is_never_the_newest_however_long_it_waited() -> None:
    queue = line()
    oldest = overload(queue)
    join(queue, now_s=1.0)

    assert queue.stale(oldest.flow, 100.0, served=True) == [oldest]


def test_stale_when_one_comes_spares_the_oldest_of_its_priority_for_ageing() -> None:
    queue = line()
    oldest = overload(queue)
    second = join(queue, now_s=1.0)
    join(queue, now_s=20.0)

    assert queue.stale(oldest.flow, 20.0, served=False) == [second]


def test_stale_when_one_comes_spares_nobody_where_another_tenant_has_the_oldest() -> None:
    queue = line()
    join(queue, tenant="patient", now_s=-1.0)
    oldest = overload(queue)
    join(queue, now_s=20.0)

    assert queue.stale(oldest.flow, 20.0, served=False) == [oldest]


def test_oldest_entry_of_an_overloaded_line_goes_first_once_it_has_aged_past_higher_priorities() -> None:
    queue = line()
    oldest = overload(queue, Priority.LOW)
    join(queue, Priority.LOW, now_s=20.0)
    join(queue, Priority.NORMAL, tenant="b", now_s=20.0)

    assert queue.first() is oldest


def test_flows_are_those_of_each_tenant_at_each_priority() -> None:
    queue = line()
    for tenant, priority in (("a", Priority.LOW), ("b", Priority.HIGH), ("a", Priority.HIGH)):
        join(queue, priority, tenant=tenant)

    assert [(flow.tenant, flow.priority) for flow in queue.flows] == [
        ("b", Priority.HIGH),
        ("a", Priority.HIGH),
        ("a", Priority.LOW),
    ]
