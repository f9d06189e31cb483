"""`Deduplicator` against a model in virtual time: callers who come, wait and lose patience, calls that end or fail."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Disposition, Priority
from holdfast.ports.statistics import DeduplicationStatistics
from holdfast.testing import VirtualClock, virtual_backend

# Callers come at whole seconds, calls end, callers leave and answers expire at fractions of their own, so that no two
# things that depend on each other ever happen at the same moment.
CALL_FRACTION_S = 0.3
PATIENCE_FRACTION_S = 0.6
WINDOW_S = 6.15


@dataclass(frozen=True)
class Caller:
    at_s: int
    key: int
    patience_s: int
    call_s: int
    call_fails: bool


@dataclass
class Flight:
    leader: int
    ends_s: float
    waiting: set[int] = field(default_factory=set)


Ending = tuple[Disposition, int] | str
"""How a caller ended: with an answer of that leader's call, or by failure, or by leaving."""


@dataclass
class Model:
    endings: dict[int, Ending] = field(default_factory=dict)
    called: int = 0
    joined: int = 0
    cached: int = 0
    completed: int = 0
    failed: int = 0
    abandoned: int = 0

    def run(self, callers: list[Caller]) -> None:
        """Go through the moments at which anything can happen, in order."""
        flights: dict[int, Flight] = {}
        kept: dict[int, tuple[int, float]] = {}
        moments = {float(caller.at_s) for caller in callers}
        moments |= {caller.at_s + caller.call_s + CALL_FRACTION_S for caller in callers}
        moments |= {caller.at_s + caller.patience_s + PATIENCE_FRACTION_S for caller in callers}
        for now_s in sorted(moments):
            for number, caller in enumerate(callers):
                if caller.at_s == now_s:
                    self._arrive(number, caller, flights, kept)
            for key, flight in list(flights.items()):
                leavers = {
                    number
                    for number in flight.waiting
                    if callers[number].at_s + callers[number].patience_s + PATIENCE_FRACTION_S == now_s
                }
                self.endings |= dict.fromkeys(leavers, "left")
                flight.waiting -= leavers
                if not flight.waiting:
                    self.abandoned += 1
                    del flights[key]
                elif flight.ends_s == now_s:
                    del flights[key]
                    self._end(flight, callers[flight.leader], kept)

    def _arrive(
        self, number: int, caller: Caller, flights: dict[int, Flight], kept: dict[int, tuple[int, float]]
    ) -> None:
        leader, until_s = kept.get(caller.key, (0, 0.0))
        if caller.key in flights:
            flights[caller.key].waiting.add(number)
            self.joined += 1
        elif caller.at_s < until_s:
            self.endings[number] = (Disposition.CACHED, leader)
            self.cached += 1
        else:
            ends_s = caller.at_s + caller.call_s + CALL_FRACTION_S
            flights[caller.key] = Flight(leader=number, ends_s=ends_s, waiting={number})
            self.called += 1

    def _end(self, flight: Flight, leader: Caller, kept: dict[int, tuple[int, float]]) -> None:
        if leader.call_fails:
            self.failed += 1
            self.endings |= dict.fromkeys(flight.waiting, "failed")
            return
        self.completed += 1
        kept[leader.key] = (flight.leader, flight.ends_s + WINDOW_S)
        for number in flight.waiting:
            disposition = Disposition.CALLED if number == flight.leader else Disposition.JOINED
            self.endings[number] = (disposition, flight.leader)


async def measured(callers: list[Caller]) -> tuple[dict[int, Ending], DeduplicationStatistics]:
    clock = VirtualClock()
    endings: dict[int, Ending] = {}
    shared = Deduplicator[int](DeduplicationConfig(window_s=WINDOW_S), clock=clock, size_of=lambda _: 1)

    async def call(number: int, caller: Caller) -> int:
        await anyio.sleep(caller.call_s + CALL_FRACTION_S)
        if caller.call_fails:
            raise ValueError(number)
        return number

    async def run(number: int, caller: Caller) -> None:
        await anyio.sleep(caller.at_s)
        with anyio.move_on_after(caller.patience_s + PATIENCE_FRACTION_S):
            try:
                answer = await shared.run(
                    DeduplicationKey(digest=bytes([caller.key])),
                    lambda _: call(number, caller),
                    urgency=Urgency(Priority.NORMAL, Deadline.after(60.0, clock)),
                )
            except ValueError:
                endings[number] = "failed"
            else:
                endings[number] = (answer.disposition, answer.value)
            return
        endings[number] = "left"

    async with shared:
        async with anyio.create_task_group() as tasks:
            for number, caller in enumerate(callers):
                tasks.start_soon(run, number, caller)
        return endings, shared.statistics()


scripts = st.lists(
    st.builds(
        Caller,
        at_s=st.integers(0, 30),
        key=st.integers(0, 1),
        patience_s=st.integers(0, 8),
        call_s=st.integers(0, 8),
        call_fails=st.booleans(),
    ),
    max_size=16,
    unique_by=lambda caller: caller.at_s,
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(callers=scripts)
@settings(max_examples=150)
def test_run_by_any_callers_behaves_as_the_model(backend: str, callers: list[Caller]) -> None:
    model = Model()
    model.run(callers)
    name, options = virtual_backend(backend)

    endings, statistics = anyio.run(measured, callers, backend=name, backend_options=options)

    assert endings == model.endings
    assert (statistics.called, statistics.joined, statistics.cached) == (model.called, model.joined, model.cached)
    assert (statistics.completed, statistics.failed, statistics.abandoned) == (
        model.completed,
        model.failed,
        model.abandoned,
    )
    assert statistics.in_flight == 0
    assert statistics.completed == statistics.entries + statistics.expired
