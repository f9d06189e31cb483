from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.domain.admission_line import AdmissionLine, Entry
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

AGEING_S = 10.0
FAR = Deadline(1e9, ManualClock())


def line(*, max_waiting: int = 100, max_bytes: int = 1000) -> AdmissionLine:
    return AdmissionLine(max_waiting=max_waiting, max_bytes=max_bytes, ageing_s=AGEING_S)


def arrive(
    at: AdmissionLine, priority: Priority = Priority.NORMAL, *, now_s: float = 0.0, size_bytes: int = 1
) -> Entry:
    return at.entry(size_bytes=size_bytes, urgency=Urgency(priority, FAR), now_s=now_s)


def join(at: AdmissionLine, priority: Priority = Priority.NORMAL, *, now_s: float = 0.0, size_bytes: int = 1) -> Entry:
    entry = arrive(at, priority, now_s=now_s, size_bytes=size_bytes)
    at.add(entry)
    return entry


def served(at: AdmissionLine) -> Iterator[Entry]:
    while at:
        yield at.pop_first()


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

    assert queue.pop_first() is {"urgent": urgent, "old": old}[first]


@pytest.mark.parametrize(("later_s", "first"), [(39.9, "urgent"), (40.1, "old")])
def test_bulk_entry_is_overtaken_by_critical_ones_for_four_ageing_times_only(later_s: float, first: str) -> None:
    queue = line()
    old = join(queue, Priority.BULK, now_s=0.0)
    urgent = join(queue, Priority.CRITICAL, now_s=later_s)

    assert queue.pop_first() is {"urgent": urgent, "old": old}[first]


def test_entry_whose_priority_rises_moves_up_as_if_it_had_come_with_it() -> None:
    queue = line()
    first = join(queue, Priority.HIGH, now_s=0.0)
    rising = join(queue, Priority.BULK, now_s=1.0)
    last = join(queue, Priority.HIGH, now_s=2.0)
    rising.urgency.rise_to(Urgency(Priority.HIGH, FAR))

    assert list(served(queue)) == [first, rising, last]


def test_entry_that_left_is_no_longer_moved_when_its_priority_rises() -> None:
    queue = line()
    left = join(queue, Priority.BULK)
    stays = join(queue, Priority.LOW)
    queue.remove(left)
    left.urgency.rise_to(Urgency(Priority.CRITICAL, FAR))

    assert list(served(queue)) == [stays]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_remove_takes_out_that_entry_and_its_bytes(index: int) -> None:
    queue = line()
    entries = [join(queue, size_bytes=size_bytes) for size_bytes in (1, 2, 4)]
    removed = entries.pop(index)
    queue.remove(removed)

    assert queue.size_bytes == sum(entry.size_bytes for entry in entries)
    assert (removed.waiting, list(served(queue))) == (False, entries)


def test_ahead_of_counts_those_that_would_be_served_before() -> None:
    queue = line()
    for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL):
        join(queue, priority)

    assert [queue.ahead_of(arrive(queue, priority)) for priority in Priority] == [0, 1, 2, 3, 3]


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
