"""The pool's decisions against a model that knows nothing but who came first and what exists."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from holdfast.domain.pool_config import PoolConfig
from holdfast.domain.pool_core import PoolCore
from holdfast.domain.pool_jobs import Close, Create, Reset, Validate
from holdfast.domain.pool_lease import Lease, Waiter
from holdfast.ports.errors import ClosedError, PoolExhaustedError, PoolTimeoutError


class Caller:
    """Someone in line, as the model sees them."""

    def __init__(self) -> None:
        self.waiter: Waiter[int] = Waiter(self._wake)
        self.wakings = 0

    def _wake(self) -> None:
        self.wakings += 1


class PoolMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    @initialize(
        max_size=st.integers(1, 4),
        min_size=st.integers(0, 2),
        max_creating=st.integers(1, 2),
        max_uses=st.none() | st.integers(1, 3),
        resettable=st.booleans(),
        uniform=st.floats(0, 1, exclude_max=True),
    )
    def begin(
        self,
        max_size: int,
        min_size: int,
        max_creating: int,
        max_uses: int | None,
        resettable: bool,
        uniform: float,
    ) -> None:
        self.config = PoolConfig(
            max_size=max_size,
            min_size=min(min_size, max_size),
            max_waiters=3,
            max_creating=max_creating,
            max_uses=max_uses,
            max_lifetime_s=20.0,
            max_idle_s=5.0,
        )
        self.now_s = 1000.0
        self.core: PoolCore[int] = PoolCore(
            "model", self.config, resettable=resettable, random=lambda: uniform, take_back=self.take_back
        )
        self.line: list[Caller] = []
        self.granted: dict[int, Lease[int]] = {}
        self.resettable = resettable
        self.uses: Counter[int] = Counter()
        self.made = 0
        self.outdated: set[int] = set()
        self.generation = 0
        self.closed: set[int] = set()
        self.creates: list[Create] = []
        self.validates: list[Validate[int]] = []
        self.resets: list[Reset[int]] = []
        self.closes: list[Close[int]] = []
        self.is_open = True
        self.core.open(self.now_s)
        self.settle()

    def take_back(self, lease: Lease[int], *, broken: bool) -> None:
        self.core.end(lease, self.now_s, broken=broken)

    def settle(self) -> None:
        """Take the jobs, and see that whoever was served came before all who still wait."""
        for job in self.core.jobs:
            match job:
                case Create():
                    self.creates.append(job)
                case Validate():
                    self.validates.append(job)
                case Reset():
                    assert self.resettable
                    self.resets.append(job)
                case Close():
                    assert job.member.resource not in self.closed
                    self.closed.add(job.member.resource)
                    self.closes.append(job)
        self.core.jobs.clear()
        waiting = [caller.waiter.lease is None and caller.waiter.error is None for caller in self.line]
        assert waiting == sorted(waiting), "someone was served before one who came earlier"
        assert all(caller.wakings == (not waits) for caller, waits in zip(self.line, waiting, strict=True))

    def hold(self, lease: Lease[int]) -> Lease[int]:
        assert lease.resource not in self.granted, "one resource in two hands"
        assert lease.resource not in self.closed, "leased after it was closed"
        assert lease.resource not in self.outdated, "leased after everything expired"
        self.uses[lease.resource] += 1
        assert self.uses[lease.resource] <= (self.config.max_uses or self.uses[lease.resource])
        self.granted[lease.resource] = lease
        return lease

    @rule(target=leases)
    def lease_nowait(self) -> Lease[int] | MultipleResults[Lease[int]]:
        lease = self.core.lease_nowait(self.now_s)
        if lease is None:
            return multiple()
        assert not self.line or all(caller.wakings for caller in self.line)
        return self.hold(lease)

    @rule()
    def wait(self) -> None:
        caller = Caller()
        waiting = self.core.statistics().waiting
        if not self.is_open:
            with pytest.raises(ClosedError):
                self.core.wait(caller.waiter, self.now_s)
        elif waiting == self.config.max_waiters:
            with pytest.raises(PoolExhaustedError):
                self.core.wait(caller.waiter, self.now_s)
        else:
            self.core.wait(caller.waiter, self.now_s)
            self.line.append(caller)
        self.settle()

    @precondition(lambda self: self.line)
    @rule(target=leases, data=st.data())
    def wait_ends(self, data: st.DataObject) -> Lease[int] | MultipleResults[Lease[int]]:
        """A caller takes what came, or finds that their time is up."""
        caller = self.line.pop(data.draw(st.integers(0, len(self.line) - 1)))
        try:
            lease = self.core.collect(caller.waiter)
        except (PoolTimeoutError, ClosedError, ConnectionRefusedError):
            assert caller.waiter.lease is None
            self.settle()
            return multiple()
        return self.hold(lease)

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def wait_is_cancelled(self, data: st.DataObject) -> None:
        caller = self.line.pop(data.draw(st.integers(0, len(self.line) - 1)))
        before = self.core.statistics()
        had_lease = caller.waiter.lease is not None
        self.core.withdraw(caller.waiter, self.now_s)
        passed_on = sum(other.wakings for other in self.line) and had_lease
        assert self.core.statistics().timeouts == before.timeouts
        if not passed_on:
            assert self.core.statistics().leases == before.leases - had_lease
        self.settle()

    @rule(lease=leases, broken=st.booleans())
    def end(self, lease: Lease[int], broken: bool) -> None:
        """Also leases that have ended already: the bundle keeps them."""
        if self.granted.get(lease.resource) is lease:
            del self.granted[lease.resource]
        if broken:
            lease.discard()
        else:
            lease.release()
        self.settle()

    @precondition(lambda self: self.creates)
    @rule(succeeds=st.booleans())
    def create_ends(self, succeeds: bool) -> None:
        job = self.creates.pop(0)
        if succeeds:
            self.made += 1
            if job.generation < self.generation:
                self.outdated.add(self.made)
            self.core.created(self.made, job.generation, self.now_s)
        else:
            self.core.creation_failed(ConnectionRefusedError("no"), self.now_s)
        self.settle()

    @precondition(lambda self: self.creates and not self.is_open)
    @rule()
    def create_is_cancelled(self) -> None:
        self.creates.pop()
        self.core.creation_cancelled()

    @precondition(lambda self: self.validates)
    @rule(good=st.booleans())
    def validate_ends(self, good: bool) -> None:
        self.core.validated(self.validates.pop(0).member, self.now_s, good=good)
        self.settle()

    @precondition(lambda self: self.resets)
    @rule(good=st.booleans())
    def reset_ends(self, good: bool) -> None:
        self.core.was_reset(self.resets.pop(0).member, self.now_s, good=good)
        self.settle()

    @precondition(lambda self: self.closes)
    @rule()
    def close_ends(self) -> None:
        self.closes.pop(0)
        self.core.closed(self.now_s)
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        paused = self.core.creation_pause_s(self.now_s) > 0
        self.now_s += seconds
        if paused:
            self.core.balance(self.now_s)
        self.settle()

    @rule()
    def sweep(self) -> None:
        self.core.sweep(self.now_s)
        self.settle()

    @rule()
    def expire_all(self) -> None:
        on_their_way = {caller.waiter.lease.resource for caller in self.line if caller.waiter.lease is not None}
        self.outdated.update(set(range(1, self.made + 1)) - on_their_way)
        self.generation += 1
        self.core.expire_all(self.now_s)
        self.settle()

        assert self.core.statistics().idle == 0

    @rule(chance=st.integers(0, 9))
    def shut(self, chance: int) -> None:
        if chance == 0:
            self.is_open = False
            self.core.shut()
            self.settle()

    @precondition(lambda self: not self.is_open)
    @rule()
    def revoke(self) -> None:
        self.core.revoke()
        self.granted.clear()
        self.line.clear()
        self.settle()

    @invariant()
    def never_more_than_may_exist(self) -> None:
        now = self.core.statistics()

        assert now.leased + now.idle + now.creating + now.closing <= self.config.max_size
        assert now.creating <= self.config.max_creating
        assert now.waiting <= self.config.max_waiters

    @invariant()
    def nothing_gets_lost(self) -> None:
        now = self.core.statistics()
        on_their_way = sum(caller.waiter.lease is not None for caller in self.line)

        assert now.created == now.closed + now.leased + now.idle + now.closing == self.made
        assert now.closed + now.closing == len(self.closed)
        assert now.leased == len(self.granted) + on_their_way + len(self.validates) + len(self.resets)
        assert (now.creating, now.closing) == (len(self.creates), len(self.closes))
        assert now.waiting == sum(not caller.wakings for caller in self.line)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        now = self.core.statistics()
        if now.idle:
            assert now.waiting <= len(self.validates)
        room = self.config.max_size - now.leased - now.idle - now.creating - now.closing
        paused = self.core.creation_pause_s(self.now_s) > 0
        if self.is_open and room > 0 and now.creating < self.config.max_creating and not paused:
            assert now.waiting <= len(self.validates) + now.creating
            assert now.leased + now.idle + now.creating >= self.config.min_size

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        self.core.shut()
        self.core.revoke()
        self.granted.clear()
        self.line.clear()
        self.settle()
        while self.creates or self.validates or self.resets or self.closes:
            if self.creates:
                self.create_ends(succeeds=True)
            elif self.validates:
                self.validate_ends(good=True)
            elif self.resets:
                self.reset_ends(good=True)
            else:
                self.close_ends()
        now = self.core.statistics()

        assert (now.leased, now.idle, now.creating, now.closing, now.waiting) == (0, 0, 0, 0, 0)
        assert now.created == now.closed == len(self.closed)


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestPoolModel = PoolMachine.TestCase
