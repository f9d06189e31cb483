"""A rate limit that several processes share: what each of them lets through, with the store and without it."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Sequence
from functools import partial

import anyio
import pytest

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.store_link import StoreLink, StoreLinkConfig
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.ports.errors import RateLimitedError, StoreUnavailableError
from holdfast.ports.rate_store import RateClaim, RateTerms
from holdfast.ports.statistics import SharedRateStatistics
from holdfast.testing import ManualClock, VirtualClock, sweep_cancellation
from tests.fakes.rates import REFRESH_S, FaultyRates, flood, join, run

REQUESTS = RateLimitConfig(requests_per_minute=60, burst_requests=8)
TOKENS = RateLimitConfig(tokens_per_minute=60, burst_tokens=8)
ROUNDING = 1e-9


class SlowRates(FaultyRates):
    """Takes its time before and after."""

    delay_s = 0.01

    async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
        await anyio.sleep(self.delay_s)
        terms = await super().settle(member, share, claims, lease_s=lease_s)
        await anyio.sleep(0.01)
        return terms


class World:
    """A clock, a store and some processes with a limit each."""

    def __init__(
        self, processes: int, config: RateLimitConfig = REQUESTS, store: type[FaultyRates] = FaultyRates
    ) -> None:
        self.clock = ManualClock()
        self.store = store(clock=self.clock)
        self.hubs = [join(self.store, self.clock) for _ in range(processes)]
        self.limits = [RateLimit("backend 'a'", config, clock=self.clock, shared=hub) for hub in self.hubs]

    def round(self, *, emptied: bool = False) -> None:
        for hub in self.hubs:
            run(hub.refresh(emptied=emptied))

    def settle_down(self) -> None:
        """Let everybody know of everybody, and have his share."""
        for _ in range(3):
            self.round()

    def failing_round(self, moment: str) -> None:
        self.store.fails = moment
        for hub in self.hubs:
            with pytest.raises(StoreUnavailableError):
                hub.refresh(emptied=False).send(None)
        self.store.fails = None

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds / REFRESH_S)):
            self.clock.advance(REFRESH_S)
            self.round()


def test_reserve_without_the_store_from_the_start_has_the_whole_limit() -> None:
    world = World(1)

    assert len(flood(world.limits[0])) == 8
    assert world.hubs[0].statistics() == SharedRateStatistics(
        joined=False, processes=1, share=0.0, followed=1, told=0, terms=0
    )


def test_reserve_of_a_limit_that_nobody_has_used_has_its_share_at_once() -> None:
    world = World(2)
    world.settle_down()

    assert [len(flood(limit)) for limit in world.limits] == [2, 2]
    assert [hub.statistics().share for hub in world.hubs] == [0.25, 0.25]
    assert [hub.statistics().processes for hub in world.hubs] == [2, 2]


def test_reserve_by_one_of_two_has_more_than_its_share_after_a_round() -> None:
    world = World(2)
    world.settle_down()
    first = len(flood(world.limits[0]))
    world.round()
    second = len(flood(world.limits[0]))
    world.round()
    third = len(flood(world.limits[0]))

    assert (first, first + second + third) == (2, 6)
    assert len(flood(world.limits[1])) == 2  # nobody takes its share


def test_reserve_over_time_has_the_whole_rate_whoever_asks() -> None:
    world = World(4)
    world.settle_down()
    granted = 0
    for _ in range(240):
        world.go_on(REFRESH_S)
        granted += len(flood(world.limits[0]))

    assert 60 + 4 <= granted <= 60 + 8


def test_reserve_by_all_shares_the_rate_fairly() -> None:
    world = World(2)
    world.settle_down()
    granted, order, shuffle = [0, 0], [0, 1], random.Random(7).shuffle
    for _ in range(480):
        world.clock.advance(REFRESH_S)
        shuffle(order)
        for process in order:
            run(world.hubs[process].refresh(emptied=False))
            granted[process] += len(flood(world.limits[process]))

    assert 120 + 4 <= sum(granted) <= 120 + 8
    assert min(granted) > 0.3 * sum(granted)


def test_tokens_that_were_reserved_and_not_used_are_there_for_all_after_a_round() -> None:
    world = World(2, TOKENS)
    world.settle_down()
    reservation = world.limits[0].reserve(2)
    world.round()
    reservation.settle(0)
    world.go_on(1.0)
    world.round()

    reached = 0
    for _ in range(3):
        reached += sum(1 for _ in flood(world.limits[1], 1))
        world.round()
    assert reached == 6  # all but the other one's share


def test_tokens_that_two_wait_for_are_not_kept_from_each_other_by_halves() -> None:
    config = RateLimitConfig(tokens_per_minute=0.001, burst_tokens=8)
    world = World(2, config)
    world.settle_down()
    granted: list[int] = []
    for _ in range(4):
        for process, limit in enumerate(world.limits):
            granted += [process for _ in flood(limit, 6)]
            run(world.hubs[process].refresh(emptied=False))

    assert len(granted) == 1


def test_store_is_told_how_much_more_the_smallest_of_the_refused_needs_and_of_each_only_once() -> None:
    told: list[float] = []

    class Listening(FaultyRates):
        async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
            told.extend(claim.least for claim in claims)
            return await super().settle(member, share, claims, lease_s=lease_s)

    world = World(2, RateLimitConfig(tokens_per_minute=0.001, burst_tokens=8), Listening)
    world.settle_down()
    told.clear()
    for too_large in (6, 5, 7):
        with pytest.raises(RateLimitedError):
            world.limits[0].reserve(too_large)
    run(world.hubs[0].refresh(emptied=False))
    run(world.hubs[0].refresh(emptied=False))

    assert told == [pytest.approx(3.0, abs=0.01), 0.0]  # it holds two of the five


def test_small_calls_are_let_through_while_a_large_one_waits_for_more() -> None:
    world = World(2, RateLimitConfig(tokens_per_minute=0.001, burst_tokens=8))
    world.settle_down()
    assert len(flood(world.limits[1], 3)) == 0
    run(world.hubs[1].refresh(emptied=False))
    assert len(flood(world.limits[1], 3)) == 2  # so that there is not enough for a large one
    for too_large in (6, 7):
        with pytest.raises(RateLimitedError):
            world.limits[0].reserve(too_large)
    run(world.hubs[0].refresh(emptied=False))

    assert len(flood(world.limits[0], 1)) == 2


def test_debt_of_one_is_paid_off_by_all() -> None:
    world = World(2, TOKENS)
    world.settle_down()
    world.limits[0].reserve(1).settle(20)
    assert world.limits[0].statistics().tokens_left == pytest.approx(2 - 20)
    world.settle_down()
    flood(world.limits[1])  # what it held already
    world.go_on(10.0)
    assert flood(world.limits[1]) == flood(world.limits[0]) == []
    world.go_on(20.0)

    assert flood(world.limits[1])


def test_cancelled_request_that_was_not_told_is_given_back_at_once() -> None:
    world = World(1)
    world.settle_down()
    before = world.limits[0].statistics().requests_left
    world.limits[0].reserve(1).cancel()

    assert world.limits[0].statistics().requests_left == before


def test_cancelled_request_that_was_told_is_given_back_by_the_rate() -> None:
    world = World(1)
    world.settle_down()
    reservations = flood(world.limits[0])
    world.round()
    for reservation in reservations:
        reservation.cancel()
    left = world.limits[0].statistics().requests_left
    world.go_on(10.0)

    assert left == 4.0  # of the other half of the burst
    assert len(flood(world.limits[0])) == 4
    assert world.limits[0].statistics().cancelled == 4


def test_cancelled_request_that_was_told_gives_back_nothing_of_one_that_was_not() -> None:
    world = World(1)
    world.settle_down()
    told = world.limits[0].reserve(1)
    world.go_on(10.0)
    untold = world.limits[0].reserve(1)
    left = world.limits[0].statistics().requests_left
    told.cancel()

    assert left is not None
    assert world.limits[0].statistics().requests_left == left
    untold.cancel()
    assert world.limits[0].statistics().requests_left == left + 1


def test_tokens_cancelled_at_any_time_are_given_back() -> None:
    world = World(1, TOKENS)
    world.settle_down()
    reservation = world.limits[0].reserve(4)
    world.round()
    reservation.cancel()
    world.round()

    assert world.limits[0].statistics().tokens_left == pytest.approx(8, abs=1.0)


def test_what_was_held_when_the_store_was_lost_may_be_used_alone() -> None:
    world = World(2)
    world.settle_down()
    held = flood(world.limits[0])
    world.round()
    world.failing_round("before")
    newcomer = RateLimit("tenant 'new'", REQUESTS, clock=world.clock, shared=world.hubs[1])

    assert len(held) == 2
    assert [len(flood(limit)) for limit in world.limits] == [4, 2]
    assert len(flood(newcomer)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_round_that_fails_ends_what_was_held_and_goes_on_with_a_part_of_the_rate(moment: str) -> None:
    world = World(2)
    world.settle_down()
    for limit in world.limits:
        flood(limit)
    world.failing_round(moment)

    assert [len(flood(limit)) for limit in world.limits] == [0, 0]
    granted = 0
    for _ in range(60):
        world.clock.advance(1.0)
        granted += sum(len(flood(limit)) for limit in world.limits)
    assert 58 <= granted <= 60
    assert not world.hubs[0].statistics().joined


def test_lease_that_was_not_renewed_ends_by_itself() -> None:
    world = World(2)
    world.settle_down()
    flood(world.limits[0])
    world.round()
    world.clock.advance(8 * REFRESH_S + 0.001)

    assert len(flood(world.limits[0])) == 4  # as many as the round brought, and no more
    assert not world.hubs[0].statistics().joined


def test_clock_that_is_set_back_by_an_hour_changes_nothing_after_a_round() -> None:
    world = World(1)
    world.settle_down()
    flood(world.limits[0])
    world.clock = ManualClock(world.clock.monotonic_s() - 3600.0)
    stepped = join(world.store, world.clock)
    limit = RateLimit("backend 'a'", REQUESTS, clock=world.clock, shared=stepped)
    run(stepped.refresh(emptied=False))

    assert stepped.statistics().joined
    assert len(flood(limit)) <= 8


def test_call_that_takes_more_than_a_part_is_let_through_alone_and_paid_off() -> None:
    world = World(4, TOKENS)
    world.settle_down()
    world.failing_round("before")
    world.clock.advance(8.0)
    world.limits[0].reserve(6).settle(6)
    assert world.limits[0].statistics().tokens_left == pytest.approx(-4)
    with pytest.raises(RateLimitedError) as refused:
        world.limits[0].reserve(6)

    assert refused.value.retry_after_s == pytest.approx(4 * 6)


def test_what_was_taken_alone_is_told_when_the_store_is_back() -> None:
    world = World(1)
    taken = flood(world.limits[0])
    world.settle_down()

    assert (len(taken), flood(world.limits[0])) == (8, [])
    world.go_on(5.0)
    assert 4 <= len(flood(world.limits[0])) <= 5


def test_reservation_from_before_the_store_was_lost_counts_only_what_it_used_beyond_it() -> None:
    world = World(1, TOKENS)
    world.settle_down()
    cheap, dear = world.limits[0].reserve(1), world.limits[0].reserve(1)
    world.failing_round("before")
    cheap.settle(0)
    assert world.limits[0].statistics().tokens_left == pytest.approx(2)
    dear.settle(5)
    assert world.limits[0].statistics().tokens_left == pytest.approx(-2)
    alone = world.limits[0].statistics()

    assert (alone.settled, alone.reserved) == (2, 0)


def test_reservation_from_alone_that_ends_after_the_return_counts_only_what_it_used_beyond_it() -> None:
    world = World(1, TOKENS)
    cheap, dear = world.limits[0].reserve(2), world.limits[0].reserve(2)
    world.settle_down()
    before = world.limits[0].statistics().tokens_left
    assert before is not None
    cheap.settle(0)
    assert world.limits[0].statistics().tokens_left == before
    dear.settle(4)

    assert world.limits[0].statistics().tokens_left == pytest.approx(before - 2)


def test_limits_begin_with_nothing_after_the_store_was_emptied() -> None:
    world = World(2)
    world.settle_down()
    flood(world.limits[0])
    world.round()
    world.store = FaultyRates(clock=world.clock)
    for hub in world.hubs:
        hub._store = world.store  # the same store, empty
    for _ in range(2):
        world.round(emptied=True)

    assert flood(world.limits[0]) == []
    assert world.hubs[0].statistics().terms == 3


def test_more_than_can_be_taken_while_others_share_is_never_let_through() -> None:
    world = World(2, TOKENS)
    world.settle_down()

    with pytest.raises(RateLimitedError) as refused:
        world.limits[0].reserve(7)

    assert refused.value.retry_after_s is None
    assert len(flood(world.limits[0], 2)) == 1


def test_refusal_says_when_to_come_back() -> None:
    world = World(1)
    world.settle_down()
    flood(world.limits[0])
    with pytest.raises(RateLimitedError) as soon:
        world.limits[0].reserve(1)
    for _ in range(3):
        world.round()
        flood(world.limits[0])
    world.round()
    with pytest.raises(RateLimitedError) as later:
        world.limits[0].reserve(1)

    assert soon.value.retry_after_s is not None
    assert later.value.retry_after_s == pytest.approx(1.0, abs=0.01)


def test_limit_that_is_not_used_any_more_is_told_no_more() -> None:
    world = World(1)
    world.settle_down()
    world.limits[0].reserve(1).settle(1)
    assert world.hubs[0].statistics().followed == 1
    assert world.limits[0].idle_in_s() == REFRESH_S
    world.go_on(2.0)

    assert world.hubs[0].statistics().followed == 0
    assert world.limits[0].idle_in_s() == 0.0
    assert world.hubs[0].statistics().told > 0


def test_limit_that_is_used_while_it_retires_goes_on_being_told() -> None:
    world = World(1)
    world.settle_down()
    world.limits[0].reserve(1).settle(1)
    settle = FaultyRates.settle

    async def and_meanwhile(
        store: FaultyRates, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float
    ) -> RateTerms:
        terms = await settle(store, member, share, claims, lease_s=lease_s)
        if any(grant.retired for grant in terms.grants):
            world.limits[0].reserve(1).settle(1)
        return terms

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FaultyRates, "settle", and_meanwhile)
        world.go_on(1.5)
        seen = world.hubs[0].statistics().followed, world.limits[0].statistics().settled

    assert seen[0] == 1
    assert seen[1] > 1
    world.go_on(2.0)
    assert world.hubs[0].statistics().followed == 0


@pytest.mark.parametrize("lost", [False, True], ids=["from the start", "since the store was lost"])
def test_tenants_that_come_and_go_alone_take_no_room(lost: bool) -> None:
    clock = ManualClock()
    hub = join(FaultyRates(clock=clock), clock)
    if lost:
        run(hub.refresh(emptied=False))
        clock.advance(60.0)
    tenants = TenantLimits(REQUESTS, {}, clock=clock, max_tracked=10, shared=hub)
    for number in range(100):
        limit = tenants.get(f"{number}")
        assert limit is not None
        limit.reserve(1).settle(1)
        clock.advance(60.0)
        del limit
    gc.collect()

    assert hub.statistics().followed <= 10


def test_limit_that_is_made_again_is_no_more_than_one() -> None:
    world = World(2)
    world.settle_down()
    again = [RateLimit("backend 'a'", REQUESTS, clock=world.clock, shared=world.hubs[0]) for _ in range(5)]

    assert [len(flood(limit)) for limit in (world.limits[0], *again)] == [2, 0, 0, 0, 0, 0]
    world.go_on(1.0)
    assert sum(len(flood(limit)) for limit in (world.limits[0], *again)) <= 3
    assert world.hubs[0].statistics().followed == 1


def test_limit_that_is_made_again_by_other_numbers_goes_by_these() -> None:
    world = World(1)
    more = RateLimitConfig(requests_per_minute=240, burst_requests=16)
    flood(world.limits[0])
    again = RateLimit("backend 'a'", more, clock=world.clock, shared=world.hubs[0])
    world.clock.advance(60.0)

    assert len(flood(again)) == 16


def test_limits_of_one_name_that_come_and_go_are_one_and_take_no_room() -> None:
    world = World(2)
    world.settle_down()
    world.limits.clear()
    granted = 0
    for _ in range(10):
        limit = RateLimit("backend 'a'", REQUESTS, clock=world.clock, shared=world.hubs[0])
        granted += len(flood(limit))
        del limit
        gc.collect()
        world.round()
    world.go_on(20.0)

    assert granted == 6  # all but what is left to the other process
    assert world.hubs[0].statistics().followed == 0


def test_limit_that_is_reconfigured_goes_on_with_what_it_holds_and_by_the_new_rate() -> None:
    world = World(1)
    world.settle_down()
    flood(world.limits[0])
    world.limits[0].reconfigure(RateLimitConfig(requests_per_minute=240, burst_requests=16))
    more = len(flood(world.limits[0]))
    world.go_on(10.0)

    assert (more, len(flood(world.limits[0]))) == (4, 8)  # half of what was added, and half of a burst


def test_limit_that_is_reconfigured_alone_goes_by_the_new_rate() -> None:
    world = World(2)
    world.settle_down()
    flood(world.limits[0])
    world.failing_round("before")
    world.limits[0].reconfigure(RateLimitConfig(requests_per_minute=240, burst_requests=16))
    before = len(flood(world.limits[0]))
    world.clock.advance(60.0)

    assert (before, len(flood(world.limits[0]))) == (4, 8)


def test_many_limits_are_settled_in_several_calls() -> None:
    clock = ManualClock()
    hub = join(FaultyRates(clock=clock), clock)
    tenants = TenantLimits(REQUESTS, {}, clock=clock, shared=hub)
    run(hub.refresh(emptied=False))
    for number in range(600):
        limit = tenants.get(f"{number}")
        assert limit is not None
        limit.reserve(1).settle(1)
    run(hub.refresh(emptied=False))

    assert hub.statistics().told == 600


@pytest.mark.anyio
async def test_refused_request_hurries_the_round_that_brings_more() -> None:
    clock = VirtualClock()
    store = FaultyRates(clock=clock)
    link = StoreLink(store, StoreLinkConfig(refresh_s=10.0), clock=clock, random=lambda: 0.5)
    hub = SharedRates(store, link=link, refresh_s=10.0, make_token=lambda: "p", clock=clock)
    limit = RateLimit("backend 'a'", REQUESTS, clock=clock, shared=hub)
    async with link:
        assert len(flood(limit)) == 4
        begun_s = clock.monotonic_s()
        await anyio.sleep(1.5)

        assert len(flood(limit)) >= 3
        assert clock.monotonic_s() - begun_s < 10.0


@pytest.mark.anyio
async def test_round_cancelled_at_any_moment_leaves_nothing_held() -> None:
    clock = VirtualClock()

    hub = join(SlowRates(clock=clock), clock)
    limit = RateLimit("backend 'a'", REQUESTS, clock=clock, shared=hub)
    finished = False

    async def scenario() -> None:
        nonlocal finished
        finished = False
        await hub.refresh(emptied=False)
        for reservation in flood(limit, most=1):
            reservation.settle(1)
        await hub.refresh(emptied=False)
        finished = True

    async def check() -> None:
        statistics = limit.statistics()
        assert statistics.reserved == 0
        assert hub.statistics().joined == finished

    assert await sweep_cancellation(scenario, check) > 3


@pytest.mark.anyio
async def test_answer_that_comes_after_the_lease_brings_nothing() -> None:
    clock = VirtualClock()
    store = SlowRates(clock=clock)
    hub = join(store, clock)
    limit = RateLimit("backend 'a'", REQUESTS, clock=clock, shared=hub)
    await hub.refresh(emptied=False)
    held = len(flood(limit))
    store.delay_s = 3.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(hub.refresh, emptied=False))
        await anyio.sleep(2.5)
        assert not hub.statistics().joined

    assert held == 4
    assert not hub.statistics().joined
    assert len(flood(limit)) == 0  # of the rate, it had nothing to begin with


def test_wait_of_nothing_is_none() -> None:
    world = World(1)
    world.settle_down()
    part = world.hubs[0].limit("b", per_s=1.0, burst=8.0, max_debt_s=60.0, holds=False)

    assert part.wait_s(1.0, world.clock.monotonic_s()) == 0.0
    assert part.wait_s(9.0, world.clock.monotonic_s()) == math.inf


def test_refusal_of_a_burst_that_others_hold_too_much_of_says_no_time_to_come_back() -> None:
    world = World(2, RateLimitConfig(requests_per_minute=60, burst_requests=1))
    world.settle_down()

    with pytest.raises(RateLimitedError) as refused:
        world.limits[0].reserve(0)

    assert (refused.value.retry_after_s, refused.value.most) == (None, None)
