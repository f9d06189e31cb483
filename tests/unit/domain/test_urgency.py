from __future__ import annotations

from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

CLOCK = ManualClock(0.0)


def urgency(priority: Priority, at_s: float = 5.0) -> Urgency:
    return Urgency(priority, Deadline(at_s, CLOCK))


def test_rise_to_a_more_urgent_one_takes_its_priority() -> None:
    flight = urgency(Priority.LOW)
    flight.rise_to(urgency(Priority.HIGH))

    assert flight.priority is Priority.HIGH


def test_rise_to_a_less_urgent_one_keeps_the_priority() -> None:
    flight = urgency(Priority.HIGH)
    flight.rise_to(urgency(Priority.LOW))

    assert flight.priority is Priority.HIGH


def test_rise_to_a_later_deadline_takes_it_whatever_the_priority() -> None:
    flight = urgency(Priority.HIGH, at_s=5.0)
    flight.rise_to(urgency(Priority.LOW, at_s=9.0))

    assert flight.deadline.at_s == 9.0


def test_rise_to_an_earlier_deadline_keeps_the_later() -> None:
    flight = urgency(Priority.LOW, at_s=5.0)
    flight.rise_to(urgency(Priority.HIGH, at_s=1.0))

    assert flight.deadline.at_s == 5.0


def test_watcher_when_the_priority_rises_sees_the_new_one() -> None:
    flight = urgency(Priority.BULK)
    seen: list[Priority] = []
    flight.watch(lambda: seen.append(flight.priority))
    flight.rise_to(urgency(Priority.LOW))
    flight.rise_to(urgency(Priority.CRITICAL))

    assert seen == [Priority.LOW, Priority.CRITICAL]


def test_watcher_when_the_priority_stays_is_not_called() -> None:
    flight = urgency(Priority.HIGH)
    seen: list[Priority] = []
    flight.watch(lambda: seen.append(flight.priority))
    flight.rise_to(urgency(Priority.HIGH, at_s=9.0))
    flight.rise_to(urgency(Priority.LOW))

    assert seen == []


def test_watcher_that_was_taken_off_is_not_called() -> None:
    flight = urgency(Priority.BULK)
    seen: list[Priority] = []
    flight.watch(lambda: seen.append(flight.priority))
    flight.watch(None)
    flight.rise_to(urgency(Priority.LOW))

    assert seen == []


def test_copy_that_rises_leaves_the_original_and_its_watcher() -> None:
    original = urgency(Priority.LOW, at_s=5.0)
    seen: list[Priority] = []
    original.watch(lambda: seen.append(original.priority))
    copied = original.copy()
    copied.rise_to(urgency(Priority.HIGH, at_s=9.0))

    assert (original.priority, original.deadline.at_s, seen) == (Priority.LOW, 5.0, [])
    assert (copied.priority, copied.deadline.at_s) == (Priority.HIGH, 9.0)
