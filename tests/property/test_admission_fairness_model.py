"""Any history of tenants that come, are served and leave: what each got for its weight stays within the bound."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.admission_config import AdmissionConfig
from holdfast.domain.admission_flow import Entry
from holdfast.domain.admission_lane import FairLane
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

FAR = Deadline(1e9, ManualClock())
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 0.5, "d": 4.0}
MOST_TOKENS = 50
TOLERANCE = 1e-6


@dataclass(eq=False)
class Backlog:
    """What waits of one tenant, and what it was served for its weight since it began to wait."""

    entries: list[Entry] = field(default_factory=list)
    served: float = 0.0


class FairnessMachine(RuleBasedStateMachine):
    """Tenants that wait all along are served alike for their weights; whoever waits is served before long."""

    @initialize(burst_tokens=st.sampled_from([0, 30, 500]))
    def begin(self, burst_tokens: int) -> None:
        self.burst_tokens = burst_tokens
        self.lane = FairLane(Priority.NORMAL, AdmissionConfig(burst_tokens=burst_tokens, weights=WEIGHTS))
        self.numbers = itertools.count()
        self.backlogs: dict[str, Backlog] = {}
        # By each pair of tenants that wait: what they were served when the later of them began to wait.
        self.since: dict[tuple[str, str], float] = {}

    @rule(tenant=st.sampled_from(list(WEIGHTS)), tokens=st.integers(1, MOST_TOKENS), count=st.integers(1, 5))
    def come(self, tenant: str, tokens: int, count: int) -> None:
        if tenant not in self.backlogs:
            backlog = self.backlogs[tenant] = Backlog()
            for other, theirs in self.backlogs.items():
                self.since[tenant, other] = backlog.served - theirs.served
                self.since[other, tenant] = theirs.served - backlog.served
        for _ in range(count):
            entry = Entry(
                tenant=tenant,
                size_bytes=1,
                tokens=tokens,
                urgency=Urgency(Priority.NORMAL, FAR),
                arrived_s=0.0,
                number=next(self.numbers),
            )
            self.lane.add(entry, 0.0)
            self.backlogs[tenant].entries.append(entry)

    @precondition(lambda self: self.backlogs)
    @rule(times=st.integers(1, 10))
    def serve(self, times: int) -> None:
        for _ in range(times):
            if self.backlogs:
                flow = self.lane.flows[0]
                entry = flow.first
                self.lane.take(entry, 0.0)
                assert entry is self.backlogs[flow.tenant].entries[0]
                self.backlogs[flow.tenant].served += entry.tokens / WEIGHTS[flow.tenant]
                self.forget(entry)

    @precondition(lambda self: self.backlogs)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.backlogs)))
        entry = data.draw(st.sampled_from(self.backlogs[tenant].entries))
        self.lane.remove(entry)
        self.forget(entry)

    def forget(self, entry: Entry) -> None:
        backlog = self.backlogs[entry.tenant]
        backlog.entries.remove(entry)
        if not backlog.entries:
            del self.backlogs[entry.tenant]

    @invariant()
    def tenants_that_wait_all_along_are_served_alike(self) -> None:
        for one, other in itertools.permutations(self.backlogs, 2):
            gained = self.backlogs[one].served - self.backlogs[other].served - self.since[one, other]
            bound = self.burst_tokens + MOST_TOKENS / WEIGHTS[one] + MOST_TOKENS / WEIGHTS[other]
            assert gained <= bound + TOLERANCE

    @invariant()
    def lane_holds_what_waits(self) -> None:
        waiting = [entry for backlog in self.backlogs.values() for entry in backlog.entries]
        assert self.lane.entries == sorted(waiting, key=lambda entry: entry.number)
        assert {flow.tenant for flow in self.lane.flows} == set(self.backlogs)
        for flow in self.lane.flows:
            assert flow.entries == self.backlogs[flow.tenant].entries
            assert flow.tokens == sum(entry.tokens for entry in flow.entries)
        assert [flow.place for flow in self.lane.flows] == sorted(flow.place for flow in self.lane.flows)

    @precondition(lambda self: self.backlogs)
    @rule(data=st.data(), newcomers=st.integers(0, 2))
    def whoever_waits_is_served_before_long(self, data: st.DataObject, newcomers: int) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.backlogs)))
        watched = self.backlogs[tenant].entries[0]
        strangers = (f"stranger {number}" for number in self.numbers)
        for _ in range(10_000):
            entry = self.lane.flows[0].first
            self.lane.take(entry, 0.0)
            if entry.tenant in self.backlogs:
                self.backlogs[entry.tenant].served += entry.tokens / WEIGHTS[entry.tenant]
                self.forget(entry)
            if entry is watched:
                break
            for _ in range(newcomers):
                self.lane.add(
                    Entry(
                        tenant=next(strangers),
                        size_bytes=1,
                        tokens=MOST_TOKENS,
                        urgency=Urgency(Priority.NORMAL, FAR),
                        arrived_s=0.0,
                        number=next(self.numbers),
                    ),
                    0.0,
                )
        else:
            raise AssertionError(f"{tenant} starves")
        for stranger in [entry for entry in self.lane.entries if entry.tenant not in WEIGHTS]:
            self.lane.remove(stranger)


TestFairness = FairnessMachine.TestCase
TestFairness.settings = settings(max_examples=60, stateful_step_count=30)
