from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry
from holdfast.domain.admission_lane import FairLane
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

FAR = Deadline(1e9, ManualClock())


class Desk:
    """A lane, where each entry costs 10 unless it says otherwise."""

    def __init__(self, *, burst_tokens: int = 0, weights: dict[str, float] | None = None) -> None:
        self.lane = FairLane(Priority.NORMAL, AdmissionConfig(burst_tokens=burst_tokens, weights=weights or {}))
        self._numbers = itertools.count()

    def join(self, tenant: str, *, tokens: int = 10, count: int = 1) -> list[Entry]:
        entries = [
            Entry(
                tenant=tenant,
                size_bytes=1,
                tokens=tokens,
                urgency=Urgency(Priority.NORMAL, FAR),
                arrived_s=0.0,
                number=next(self._numbers),
            )
            for _ in range(count)
        ]
        for entry in entries:
            self.lane.add(entry, 0.0)
        return entries

    def serve(self, times: int) -> str:
        """Serve so many entries and return whose they were."""
        return "".join(itertools.islice(self.served(), times))

    def served(self) -> Iterator[str]:
        while self.lane.flows:
            flow = self.lane.flows[0]
            self.lane.take(flow.first, 0.0)
            yield flow.tenant


def test_tenants_of_equal_weight_take_turns() -> None:
    desk = Desk()
    desk.join("a", count=4)
    desk.join("b", count=4)

    assert desk.serve(8) == "abababab"


def test_tenant_of_three_times_the_weight_is_served_three_times_as_much() -> None:
    desk = Desk(weights={"h": 3.0})
    desk.join("h", count=60)
    desk.join("l", count=60)

    assert Counter(desk.serve(40)) == {"h": 30, "l": 10}


def test_tenant_whose_entries_cost_twice_as_much_is_served_half_as_many() -> None:
    desk = Desk()
    desk.join("c", tokens=20, count=20)
    desk.join("l", tokens=10, count=20)

    assert Counter(desk.serve(15)) == {"c": 5, "l": 10}


def test_entry_that_leaves_unserved_costs_its_tenant_nothing() -> None:
    desk = Desk()
    entries = desk.join("a", count=5)
    desk.join("b", count=3)
    for entry in entries[:2]:
        desk.lane.remove(entry)

    assert desk.serve(6) == "ababab"


def test_tenant_that_comes_back_without_a_burst_goes_on_with_the_others() -> None:
    desk = Desk()
    desk.join("a", count=20)
    desk.join("b")
    desk.serve(12)
    desk.join("b", count=3)

    assert desk.serve(6) == "bababa"


def test_tenant_that_comes_back_gets_what_it_left_unused_first() -> None:
    desk = Desk(burst_tokens=1000)
    desk.join("a", count=20)
    desk.join("b")
    assert desk.serve(6) == "abaaaa"
    desk.join("b", count=9)

    assert desk.serve(8) == "bbbbabab"


def test_tenant_that_comes_back_gets_no_more_than_the_burst_first() -> None:
    desk = Desk(burst_tokens=20)
    desk.join("a", count=50)
    desk.join("b")
    desk.serve(30)
    desk.join("b", count=9)

    assert desk.serve(6) == "bbbaba"


def test_burst_of_a_tenant_is_as_much_more_as_its_weight() -> None:
    desk = Desk(burst_tokens=20, weights={"b": 2.0})
    desk.join("a", count=50)
    desk.join("b")
    desk.serve(30)
    desk.join("b", count=9)

    assert desk.serve(7) == "bbbbbba"


def test_tenant_that_has_just_been_served_does_not_gain_by_leaving_and_coming_back() -> None:
    desk = Desk(burst_tokens=1000)
    desk.join("a", count=20)
    order = ""
    for _ in range(4):
        desk.join("b")
        order += desk.serve(2)

    assert order == "abababab"


def test_tenant_that_is_not_known_waits_for_one_turn_of_each_other() -> None:
    desk = Desk(burst_tokens=1000)
    desk.join("a", count=9)
    desk.join("b", count=9)
    desk.serve(8)
    desk.join("n", count=2)

    assert desk.serve(6) == "abnabn"


def test_tenant_that_is_not_known_waits_for_one_turn_only_however_much_its_first_entry_costs() -> None:
    desk = Desk()
    desk.join("a", count=9)
    desk.join("n", tokens=100_000)

    assert desk.serve(2) == "an"


def test_stream_of_tenants_that_are_not_known_keeps_nobody_waiting_for_ever() -> None:
    desk = Desk()
    desk.join("x", tokens=1000, count=2)
    names = (f"newcomer {number}" for number in itertools.count())
    served = 0
    for tenant in desk.served():
        desk.join(next(names))
        served += 1
        if tenant == "x":
            break

    assert served <= 1000 / 10 + 1


def test_memory_of_tenants_that_do_not_wait_is_bounded_and_forgets_those_that_left_first() -> None:
    desk = Desk(burst_tokens=1_000_000)
    desk.join("first")
    for number in range(1024):
        desk.join(str(number))
    list(desk.served())
    desk.join("a", count=9)
    desk.serve(8)
    desk.join("first")
    desk.join("1023")

    assert [flow.tenant for flow in desk.lane.flows] == ["1023", "a", "first"]


def test_entry_that_is_served_out_of_turn_costs_its_tenant_a_later_one() -> None:
    desk = Desk()
    entries = desk.join("a", count=6)
    desk.join("b", count=6)
    for entry in entries[:3]:
        desk.lane.take(entry, 0.0)

    assert desk.serve(7) == "bbbabab"


def test_entries_are_those_of_all_tenants_in_the_order_they_came() -> None:
    desk = Desk()
    first, second, third = (desk.join(tenant)[0] for tenant in ("b", "a", "b"))
    desk.lane.remove(second)

    assert desk.lane.entries == [first, third]


@pytest.mark.parametrize("tenants", [["a"], ["a", "b", "c"]])
def test_lane_that_is_empty_has_no_flow(tenants: list[str]) -> None:
    desk = Desk()
    for tenant in tenants:
        desk.join(tenant)
    list(desk.served())

    assert (desk.lane.flows, desk.lane.entries, desk.lane.flow_of("a")) == ([], [], None)
