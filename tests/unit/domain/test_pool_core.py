from __future__ import annotations

import dataclasses

import pytest

from holdfast.domain.pool_config import PoolConfig
from holdfast.domain.pool_core import PoolCore
from holdfast.domain.pool_jobs import Close, Create, Job, Reset, Validate
from holdfast.domain.pool_lease import Lease, Waiter
from holdfast.ports.errors import ClosedError, PoolExhaustedError, PoolTimeoutError


class Desk:
    """A pool core whose jobs are done by hand, at a time set by hand."""

    def __init__(self, *, resettable: bool = False, uniform: float = 0.0, **config: float) -> None:
        self.now_s = 1000.0
        self.made = 0
        self.core: PoolCore[int] = PoolCore(
            "desk",
            PoolConfig(**config),  # type: ignore[arg-type] # each test gives whole numbers where they are due
            resettable=resettable,
            random=lambda: uniform,
            take_back=self._take_back,
        )
        self.core.open(self.now_s)

    def _take_back(self, lease: Lease[int], *, broken: bool) -> None:
        self.core.end(lease, self.now_s, broken=broken)

    def jobs(self) -> list[Job[int]]:
        jobs = list(self.core.jobs)
        self.core.jobs.clear()
        return jobs

    def wait(self) -> Waiter[int]:
        waiter: Waiter[int] = Waiter(lambda: None)
        self.core.wait(waiter, self.now_s)
        return waiter

    def create(self, job: Job[int]) -> None:
        assert isinstance(job, Create)
        self.made += 1
        self.core.created(self.made, job.generation, self.now_s)

    def fail_create(self, error: Exception) -> None:
        self.core.creation_failed(error, self.now_s)

    def lease(self) -> Lease[int]:
        """Lease one, made anew if none idles."""
        lease = self.core.lease_nowait(self.now_s)
        if lease is None:
            waiter = self.wait()
            (job,) = self.jobs()
            self.create(job)
            lease = self.core.collect(waiter)
        return lease

    def idle(self, count: int) -> list[int]:
        """Let `count` new resources idle; the first one the longest."""
        leases = [self.lease() for _ in range(count)]
        for lease in leases:
            lease.release()
        return [lease.resource for lease in leases]


def test_lease_from_an_empty_pool_asks_for_one_resource() -> None:
    desk = Desk()

    waiter = desk.wait()

    assert desk.jobs() == [Create(generation=0)]
    assert waiter.lease is None


def test_lease_of_the_resource_that_came_back_last_comes_first() -> None:
    desk = Desk()
    first, second = desk.idle(2)

    leased = [desk.lease().resource, desk.lease().resource]

    assert leased == [second, first]


def test_lease_returned_goes_to_the_caller_who_waits_longest() -> None:
    desk = Desk(max_size=1)
    lease = desk.lease()
    early, late = desk.wait(), desk.wait()

    lease.release()

    assert early.lease is not None
    assert early.lease.resource == lease.resource
    assert late.lease is None
    assert desk.core.statistics().idle == 0


def test_lease_nowait_of_a_fresh_resource_does_not_overtake_those_in_line() -> None:
    desk = Desk(max_lifetime_s=10.0)
    oldest = desk.lease()
    desk.now_s += 9.0
    stale, fresh = desk.lease(), desk.lease()
    stale.release()
    desk.now_s += 0.9
    desk.core.withdraw(desk.wait(), desk.now_s)
    fresh.release()
    oldest.release()
    desk.now_s += 0.2
    early = desk.wait()
    desk.core.sweep(desk.now_s)

    assert early.lease is None
    assert (desk.core.statistics().leased, desk.core.statistics().idle) == (1, 1)
    assert desk.core.lease_nowait(desk.now_s) is None


def test_lease_nowait_of_a_resource_whose_lifetime_ends_this_moment_is_none() -> None:
    desk = Desk(max_lifetime_s=10.0)
    lease = desk.lease()
    desk.now_s += 9.75
    lease.release()
    desk.now_s += 0.25

    assert desk.core.lease_nowait(desk.now_s) is None


def test_lease_ended_twice_ends_once() -> None:
    desk = Desk()
    lease = desk.lease()
    lease.release()

    lease.release()
    lease.discard()

    assert desk.core.statistics().idle == 1
    assert desk.jobs() == []


def test_lease_ended_late_does_not_end_the_next_lease_of_the_same_resource() -> None:
    desk = Desk()
    old = desk.lease()
    old.release()
    new = desk.lease()

    old.discard()

    assert new.resource == old.resource
    assert desk.core.statistics().leased == 1


def test_waiters_beyond_the_limit_are_refused_with_the_numbers() -> None:
    desk = Desk(max_size=1, max_waiters=2)
    desk.lease()
    desk.wait()
    desk.wait()

    with pytest.raises(PoolExhaustedError) as caught:
        desk.wait()

    assert (caught.value.pool, caught.value.waiters) == ("desk", 2)
    assert desk.core.statistics().refused == 1


def test_waiter_whose_time_is_up_leaves_the_line() -> None:
    desk = Desk(max_size=1, acquire_timeout_s=3.0)
    lease = desk.lease()
    waiter = desk.wait()

    with pytest.raises(PoolTimeoutError) as caught:
        desk.core.collect(waiter)

    assert (caught.value.pool, caught.value.timeout_s, caught.value.__cause__) == ("desk", 3.0, None)
    assert desk.core.statistics().timeouts == 1
    lease.release()
    assert desk.core.statistics().idle == 1


def test_waiter_cancelled_in_line_is_passed_over() -> None:
    desk = Desk(max_size=1)
    lease = desk.lease()
    cancelled, patient = desk.wait(), desk.wait()

    desk.core.withdraw(cancelled, desk.now_s)
    lease.release()

    assert cancelled.lease is None
    assert patient.lease is not None
    assert desk.core.statistics().timeouts == 0


def test_waiter_cancelled_as_it_was_served_passes_the_resource_on_as_if_never_leased() -> None:
    desk = Desk(max_size=1, max_uses=2)
    lease = desk.lease()
    cancelled, patient = desk.wait(), desk.wait()
    lease.release()
    before = desk.core.statistics()

    desk.core.withdraw(cancelled, desk.now_s)

    assert patient.lease is not None
    assert patient.lease.resource == lease.resource
    assert desk.core.statistics() == dataclasses.replace(before, waiting=0)


def test_waiter_cancelled_after_its_lease_was_revoked_changes_nothing() -> None:
    desk = Desk(max_size=1)
    lease = desk.lease()
    waiter = desk.wait()
    lease.release()
    desk.core.shut()
    desk.core.revoke()

    desk.core.withdraw(waiter, desk.now_s)

    assert desk.core.statistics().closing == 1
    assert len(desk.jobs()) == 1


def test_creation_for_many_waiters_runs_two_at_a_time() -> None:
    desk = Desk(max_size=5, max_creating=2)

    for _ in range(4):
        desk.wait()

    assert desk.jobs() == [Create(generation=0)] * 2
    desk.create(Create(generation=0))
    assert desk.jobs() == [Create(generation=0)]


def test_creation_is_asked_for_no_more_often_than_callers_wait() -> None:
    desk = Desk(max_creating=5)

    desk.wait()
    desk.wait()

    assert len(desk.jobs()) == 2


def test_creation_stops_at_the_greatest_size() -> None:
    desk = Desk(max_size=2, max_creating=5)

    for _ in range(3):
        desk.wait()

    assert len(desk.jobs()) == 2


def test_creation_of_the_least_size_begins_on_opening() -> None:
    desk = Desk(min_size=2, max_creating=5)

    assert desk.jobs() == [Create(generation=0)] * 2


def test_creation_waits_for_a_slow_close_at_the_greatest_size() -> None:
    desk = Desk(max_size=1)
    lease = desk.lease()
    waiter = desk.wait()
    lease.discard()
    (closing,) = desk.jobs()

    desk.core.closed(desk.now_s)

    assert isinstance(closing, Close)
    assert desk.jobs() == [Create(generation=0)]
    assert waiter.lease is None


def test_creation_that_failed_reaches_everyone_who_waits_with_an_error_of_their_own() -> None:
    desk = Desk(max_size=1)
    waiters = [desk.wait(), desk.wait()]
    error = ConnectionRefusedError("no")

    desk.fail_create(error)

    told = [waiter.error for waiter in waiters]
    assert [type(one) for one in told] == [ConnectionRefusedError] * 2
    assert len({id(error), *map(id, told)}) == 3
    assert desk.core.statistics().failures == 1


def test_creation_that_failed_leaves_those_in_line_whom_a_lease_may_still_serve() -> None:
    desk = Desk()
    lease = desk.lease()
    waiter = desk.wait()

    desk.fail_create(ConnectionRefusedError("no"))

    assert waiter.error is None
    lease.release()
    assert waiter.lease is not None


@pytest.mark.parametrize("still_busy", ["creating", "validating", "resetting"])
def test_creation_that_failed_leaves_those_in_line_whom_other_work_may_still_serve(still_busy: str) -> None:
    desk = Desk(resettable=True)
    match still_busy:
        case "creating":
            desk.wait()
        case "validating":
            desk.idle(1)
            desk.now_s += 1.0
            desk.wait()
        case _:
            desk.lease().discard()
    waiter = desk.wait()

    desk.fail_create(ConnectionRefusedError("no"))

    assert waiter.error is None


def test_creation_after_a_failure_pauses_and_then_goes_on() -> None:
    desk = Desk(creation_backoff_s=1.0, max_creation_backoff_s=4.0)
    desk.wait()
    desk.jobs()
    desk.fail_create(ConnectionRefusedError("no"))
    desk.wait()

    assert desk.jobs() == []
    assert desk.core.creation_pause_s(desk.now_s) == pytest.approx(0.5)
    desk.now_s += 0.5
    desk.core.balance(desk.now_s)
    assert len(desk.jobs()) == 1


def test_creation_that_succeeds_ends_the_pause_for_everyone() -> None:
    desk = Desk(max_creating=2)
    desk.wait()
    desk.wait()
    desk.wait()
    desk.jobs()
    desk.fail_create(ConnectionRefusedError("no"))

    desk.create(Create(generation=0))

    assert len(desk.jobs()) == 2
    assert desk.core.creation_pause_s(desk.now_s) == 0.0


def test_waiter_whose_time_is_up_in_a_pause_learns_why_nothing_was_made() -> None:
    desk = Desk(max_size=1)
    desk.wait()
    error = ConnectionRefusedError("no")
    desk.fail_create(error)
    waiter = desk.wait()

    with pytest.raises(PoolTimeoutError) as caught:
        desk.core.collect(waiter)

    assert caught.value.__cause__ is error


def test_creation_that_was_cancelled_leaves_no_trace() -> None:
    desk = Desk()
    before = desk.core.statistics()
    waiter = desk.wait()
    desk.core.shut()

    desk.core.creation_cancelled()

    assert isinstance(waiter.error, ClosedError)
    assert desk.core.statistics() == before


def test_idle_resource_is_validated_only_after_the_time_it_may_be_trusted() -> None:
    desk = Desk(validate_after_idle_s=0.5)
    (resource,) = desk.idle(1)

    desk.now_s += 0.5
    desk.lease().release()
    desk.now_s += 0.6
    waiter = desk.wait()

    (job,) = desk.jobs()
    assert isinstance(job, Validate)
    assert job.member.resource == resource
    assert waiter.lease is None
    assert (desk.core.statistics().leased, desk.core.statistics().idle) == (1, 0)


def test_idle_resource_found_good_goes_to_the_first_in_line() -> None:
    desk = Desk(max_size=1)
    desk.idle(1)
    desk.now_s += 1.0
    waiter = desk.wait()
    (job,) = desk.jobs()
    assert isinstance(job, Validate)

    desk.core.validated(job.member, desk.now_s, good=True)

    assert waiter.lease is not None
    assert desk.jobs() == []


def test_idle_resource_found_bad_is_closed_and_another_made() -> None:
    desk = Desk()
    desk.idle(1)
    desk.now_s += 1.0
    waiter = desk.wait()
    (job,) = desk.jobs()
    assert isinstance(job, Validate)

    desk.core.validated(job.member, desk.now_s, good=False)

    assert desk.jobs() == [Close(member=job.member), Create(generation=0)]
    assert waiter.lease is None


def test_idle_resources_are_validated_one_for_each_who_waits() -> None:
    desk = Desk()
    desk.idle(3)
    desk.now_s += 1.0

    desk.wait()
    desk.wait()

    assert [type(job) for job in desk.jobs()] == [Validate, Validate]
    assert desk.core.statistics().idle == 1


def test_idle_resource_beneath_an_expired_one_is_leased_without_being_validated() -> None:
    desk = Desk(max_lifetime_s=10.0)
    oldest = desk.lease()
    desk.now_s += 6.0
    younger = desk.lease()
    desk.now_s += 3.9
    younger.release()
    oldest.release()
    desk.now_s += 0.2
    assert desk.core.lease_nowait(desk.now_s) is None

    waiter = desk.wait()

    assert waiter.lease is not None
    assert waiter.lease.resource == younger.resource
    assert [type(job) for job in desk.jobs()] == [Close]


def test_lease_that_comes_back_past_its_lifetime_is_closed() -> None:
    desk = Desk(max_lifetime_s=10.0)
    lease = desk.lease()
    desk.now_s += 10.0

    lease.release()

    assert [type(job) for job in desk.jobs()] == [Close]
    assert desk.core.statistics().closing == 1


@pytest.mark.parametrize(("uniform", "lifetime_s"), [(0.0, 10.0), (1.0, 9.75)])
def test_lifetime_is_shortened_by_up_to_a_fortieth(uniform: float, lifetime_s: float) -> None:
    desk = Desk(max_lifetime_s=10.0, uniform=uniform)
    desk.idle(1)

    desk.now_s += lifetime_s - 0.01
    desk.core.sweep(desk.now_s)
    assert desk.core.statistics().idle == 1
    desk.now_s += 0.02
    desk.core.sweep(desk.now_s)
    assert desk.core.statistics().idle == 0


def test_lease_number_max_uses_is_the_last_of_a_resource() -> None:
    desk = Desk(max_uses=2)
    desk.idle(1)
    assert desk.jobs() == []

    desk.lease().release()

    assert [type(job) for job in desk.jobs()] == [Close]


def test_lease_discarded_is_closed_and_replaced_for_those_who_wait() -> None:
    desk = Desk(max_size=2)
    first, _ = desk.lease(), desk.lease()
    desk.wait()

    first.discard()
    desk.core.closed(desk.now_s)

    assert [type(job) for job in desk.jobs()] == [Close, Create]


def test_lease_discarded_of_a_resettable_resource_is_reset_and_served() -> None:
    desk = Desk(max_size=1, resettable=True)
    lease = desk.lease()
    waiter = desk.wait()
    lease.discard()
    (job,) = desk.jobs()
    assert isinstance(job, Reset)
    assert desk.core.statistics().leased == 1

    desk.core.was_reset(job.member, desk.now_s, good=True)

    assert waiter.lease is not None
    assert waiter.lease.resource == lease.resource


def test_lease_discarded_whose_reset_failed_is_closed() -> None:
    desk = Desk(resettable=True)
    desk.lease().discard()
    (job,) = desk.jobs()
    assert isinstance(job, Reset)

    desk.core.was_reset(job.member, desk.now_s, good=False)

    assert desk.jobs() == [Close(member=job.member)]


def test_lease_discarded_of_a_spent_resource_is_closed_without_a_reset() -> None:
    desk = Desk(resettable=True, max_uses=1)

    desk.lease().discard()

    assert [type(job) for job in desk.jobs()] == [Close]


def test_sweep_closes_what_idled_too_long_but_keeps_the_least_size() -> None:
    desk = Desk(min_size=1, max_idle_s=600.0)
    for job in desk.jobs():
        desk.create(job)
    longest, *_ = desk.idle(3)
    desk.now_s += 600.0

    desk.core.sweep(desk.now_s)

    closed = [job.member.resource for job in desk.jobs() if isinstance(job, Close)]
    assert longest in closed
    assert len(closed) == 2
    assert desk.core.statistics().idle == 1


def test_sweep_before_the_idle_time_is_over_closes_nothing() -> None:
    desk = Desk(max_idle_s=600.0)
    desk.idle(1)
    desk.now_s += 599.9

    desk.core.sweep(desk.now_s)

    assert desk.jobs() == []


def test_sweep_replaces_an_expired_resource_of_the_least_size() -> None:
    desk = Desk(min_size=1, max_lifetime_s=10.0)
    desk.create(desk.jobs()[0])
    desk.now_s += 10.0

    desk.core.sweep(desk.now_s)

    assert [type(job) for job in desk.jobs()] == [Close, Create]


def test_sweep_reports_each_overdue_lease_once() -> None:
    desk = Desk(leak_warning_s=60.0)
    desk.lease()
    desk.now_s += 30.0
    desk.lease()
    desk.now_s += 31.0

    reports = [desk.core.sweep(desk.now_s), desk.core.sweep(desk.now_s)]

    assert reports == [[61.0], []]
    desk.now_s += 30.0
    assert desk.core.sweep(desk.now_s) == [61.0]


def test_sweep_reports_a_resource_anew_when_it_is_leased_anew() -> None:
    desk = Desk(leak_warning_s=60.0)
    lease = desk.lease()
    desk.now_s += 60.0
    desk.core.sweep(desk.now_s)
    lease.release()
    again = desk.lease()
    desk.now_s += 60.0

    assert again.resource == lease.resource
    assert desk.core.sweep(desk.now_s) == [60.0]


def test_expire_all_closes_idle_resources_now_and_leased_ones_when_they_return() -> None:
    desk = Desk()
    lease = desk.lease()
    desk.idle(1)

    desk.core.expire_all(desk.now_s)

    assert desk.core.statistics().closing == 1
    lease.release()
    assert desk.core.statistics().closing == 2
    assert desk.core.statistics().idle == 0


def test_expire_all_closes_what_was_being_made_and_makes_another() -> None:
    desk = Desk()
    waiter = desk.wait()
    (job,) = desk.jobs()
    desk.core.expire_all(desk.now_s)

    desk.create(job)

    assert [type(job) for job in desk.jobs()] == [Close, Create]
    assert waiter.lease is None
    desk.create(Create(generation=1))
    assert waiter.lease is not None


def test_expire_all_restores_the_least_size() -> None:
    desk = Desk(min_size=1)
    desk.create(desk.jobs()[0])

    desk.core.expire_all(desk.now_s)

    assert [type(job) for job in desk.jobs()] == [Close, Create]


def test_shut_refuses_those_in_line_and_closes_what_idles() -> None:
    desk = Desk(max_size=2)
    lease = desk.lease()
    desk.idle(1)
    desk.now_s += 1.0
    waiters = [desk.wait(), desk.wait()]
    desk.jobs()

    desk.core.shut()

    assert [type(waiter.error) for waiter in waiters] == [ClosedError, ClosedError]
    assert waiters[0].error is not waiters[1].error
    assert not desk.core.is_drained
    lease.release()
    assert desk.core.is_drained


def test_shut_pool_serves_nobody_and_makes_nothing() -> None:
    desk = Desk(min_size=1)
    desk.create(desk.jobs()[0])

    desk.core.shut()

    with pytest.raises(ClosedError) as caught:
        desk.wait()
    assert "'desk'" in str(caught.value)
    assert desk.core.lease_nowait(desk.now_s) is None
    assert [type(job) for job in desk.jobs()] == [Close]


def test_shut_pool_closes_what_is_still_being_made() -> None:
    desk = Desk()
    desk.wait()
    (job,) = desk.jobs()
    desk.core.shut()

    desk.create(job)

    assert [type(job) for job in desk.jobs()] == [Close]


def test_revoke_ends_every_lease_once() -> None:
    desk = Desk()
    lease = desk.lease()
    desk.core.shut()

    desk.core.revoke()
    lease.release()

    assert [type(job) for job in desk.jobs()] == [Close]
    assert desk.core.is_drained


def test_statistics_count_each_kind_of_ending() -> None:
    desk = Desk(max_size=1, max_waiters=1)
    desk.lease().release()
    desk.core.job_failed("close", OSError())

    now = desk.core.statistics()

    assert (now.created, now.leases, now.idle, now.failures, now.max_size) == (1, 1, 1, 1, 1)
