"""One limit for each tenant, within a bound."""

from __future__ import annotations

import tracemalloc

import pytest

from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.ports.errors import ConfigurationError, RateLimitedError
from holdfast.ports.events import RateLimited
from holdfast.testing import ManualClock
from tests.fakes.events import Listener

ONE_A_SECOND = RateLimitConfig(requests_per_minute=60, burst_requests=10)


def limit_of(limits: TenantLimits, tenant: str) -> RateLimit:
    limit = limits.get(tenant)
    assert limit is not None
    return limit


def use(limits: TenantLimits, tenant: str, requests: int = 1) -> None:
    for _ in range(requests):
        limit_of(limits, tenant).reserve(1).settle(1)


def refused(limits: TenantLimits, tenant: str) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        limits.get(tenant)
    return caught.value


def test_tenants_have_the_same_limit_and_none_takes_from_another() -> None:
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock())
    use(limits, "a", 10)

    use(limits, "b", 10)
    with pytest.raises(RateLimitedError, match="tenant 'a' on requests"):
        use(limits, "a")


def test_named_tenant_has_a_limit_of_its_own() -> None:
    limits = TenantLimits(ONE_A_SECOND, {"small": RateLimitConfig(requests_per_minute=1)}, clock=ManualClock())
    use(limits, "small")

    with pytest.raises(RateLimitedError, match="tenant 'small' on requests"):
        use(limits, "small")


def test_named_tenant_without_a_limit_is_not_held_to_the_common_one() -> None:
    assert TenantLimits(ONE_A_SECOND, {"ours": None}, clock=ManualClock()).get("ours") is None


def test_tenant_without_any_limit_is_not_kept() -> None:
    limits = TenantLimits(None, {}, clock=ManualClock())

    assert limits.get("a") is None
    assert limits.statistics().tracked == 0


def test_named_tenant_is_limited_where_the_others_are_not() -> None:
    limits = TenantLimits(None, {"a": ONE_A_SECOND}, clock=ManualClock())
    use(limits, "a", 10)

    with pytest.raises(RateLimitedError):
        use(limits, "a")


def test_full_of_active_tenants_a_new_one_is_refused_and_told_when_to_come_back() -> None:
    clock = ManualClock()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=clock, max_tracked=2)
    use(limits, "a", 5)
    use(limits, "b", 3)
    error = refused(limits, "c")
    clock.advance(3.0)

    assert (error.scope, error.quantity, error.retry_after_s) == ("tenant 'c'", "tenants", 3.0)
    use(limits, "c")
    assert limits.statistics().dropped == 1


def test_full_of_tenants_with_requests_under_way_nobody_can_tell_when_to_come_back() -> None:
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), max_tracked=1)
    limit_of(limits, "a").reserve(1)

    assert refused(limits, "b").retry_after_s is None


def test_room_is_made_by_an_idle_tenant_and_not_by_an_active_one() -> None:
    clock = ManualClock()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=clock, max_tracked=3)
    use(limits, "active", 10)
    use(limits, "idle", 1)
    use(limits, "also active", 10)
    clock.advance(2.0)
    use(limits, "new")

    assert limit_of(limits, "active").statistics().requests_left == 2.0
    assert limit_of(limits, "also active").statistics().requests_left == 2.0
    assert (limits.statistics().tracked, limits.statistics().dropped) == (3, 1)


def test_tenant_used_longest_ago_makes_room_first() -> None:
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), max_tracked=2)
    first, second = limit_of(limits, "a"), limit_of(limits, "b")
    limits.get("a")
    limits.get("c")

    assert limit_of(limits, "a") is first
    assert limit_of(limits, "b") is not second


def test_dropped_tenant_gains_nothing_by_it() -> None:
    clock = ManualClock()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=clock, max_tracked=1)
    use(limits, "a", 10)
    clock.advance(10.0)
    use(limits, "b")
    clock.advance(1.0)
    use(limits, "a", 10)

    with pytest.raises(RateLimitedError):
        use(limits, "a")


def test_newcomers_who_look_at_busy_tenants_only_get_round_to_the_idle_one() -> None:
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), max_tracked=200)
    for number in range(199):
        use(limits, str(number))
    limits.get("idle")
    refusals = 0
    while limits.statistics().dropped == 0:
        try:
            limits.get("new")
        except RateLimitedError:
            refusals += 1

    assert refusals == 3  # 64 are looked at each time


def test_named_tenants_take_no_room_of_the_others_and_are_never_dropped() -> None:
    limits = TenantLimits(ONE_A_SECOND, {"named": ONE_A_SECOND}, clock=ManualClock(), max_tracked=1)
    named = limit_of(limits, "named")
    use(limits, "a")
    refused(limits, "b")

    assert limit_of(limits, "named") is named
    assert limits.statistics().tracked == 2


def test_statistics_add_up_over_tenants_that_come_and_go() -> None:
    clock = ManualClock()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=clock, max_tracked=2)
    use(limits, "a", 10)
    limit_of(limits, "b").reserve(5).cancel()
    with pytest.raises(RateLimitedError):
        use(limits, "a")
    limit_of(limits, "c").reserve(1)
    refused(limits, "d")
    statistics = limits.statistics()

    assert (statistics.asked, statistics.refused, statistics.reserved) == (14, 2, 1)
    assert (statistics.settled, statistics.cancelled, statistics.tokens_used) == (10, 1, 10)
    assert (statistics.tracked, statistics.dropped, statistics.crowded_out) == (2, 1, 1)


def test_refused_newcomer_is_told_as_an_event() -> None:
    listener = Listener()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), events=listener, max_tracked=1)
    use(limits, "a")
    refused(limits, "b")

    assert listener.heard == [RateLimited(scope="tenant 'b'", quantity="tenants", retry_after_s=1.0)]


def test_refusal_at_the_limit_of_a_tenant_is_told_as_an_event() -> None:
    listener = Listener()
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), events=listener)
    use(limits, "a", 10)
    with pytest.raises(RateLimitedError):
        use(limits, "a")

    assert listener.heard == [RateLimited(scope="tenant 'a'", quantity="requests", retry_after_s=1.0)]


def test_room_for_nobody_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenantLimits(None, {}, clock=ManualClock(), max_tracked=0)

    assert caught.value.path == "tenants.max_tracked"


def test_flood_of_new_names_takes_bounded_memory() -> None:
    limits = TenantLimits(ONE_A_SECOND, {}, clock=ManualClock(), max_tracked=100)

    def flood(begin: int) -> None:
        for number in range(begin, begin + 1000):
            try:
                use(limits, f"tenant-{number}")
            except RateLimitedError:
                continue

    flood(0)
    tracemalloc.start()
    try:
        flood(1000)
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert limits.statistics().tracked == 100
    assert grown_bytes < 16 * 1024
