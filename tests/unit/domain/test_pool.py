from __future__ import annotations

import itertools
import math
import random
import re
import warnings
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import TaskStatus

from holdfast.domain.pool import AsyncResourcePool, Lease, PoolConfig
from holdfast.ports.errors import AttemptTimeoutError, ClosedError, PoolExhaustedError, PoolTimeoutError
from holdfast.testing import VirtualClock
from tests.fakes.resource import FakeProvider, Thing

pytestmark = pytest.mark.anyio


class HaltError(BaseException):
    """Like an interrupt, but not one that asyncio lets out of its loop at once."""


def _pool(provider: FakeProvider, config: PoolConfig | None = None) -> AsyncResourcePool[Thing]:
    return AsyncResourcePool(
        "things", provider, config or PoolConfig(), clock=VirtualClock(), random=random.Random(1).random
    )


def _slowly(delay_s: float) -> Callable[[], Awaitable[None]]:
    return lambda: anyio.sleep(delay_s)


def _raising(error: BaseException, after_s: float = 0.0) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        await anyio.sleep(after_s)
        raise error

    return work


async def _settle() -> None:
    """Let the pool's tasks run until all of them wait for time to pass."""
    await anyio.sleep(0.01)


async def test_lease_of_a_new_pool_makes_a_resource() -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool, pool.lease() as lease:
        assert lease.resource is provider.made[0]
        assert pool.statistics().leased == 1


async def test_lease_after_a_good_use_is_the_same_resource() -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool:
        for _ in range(3):
            async with pool.lease():
                pass
        now = pool.statistics()

    assert len(provider.made) == 1
    assert (now.leases, now.idle, now.created) == (3, 1, 1)


async def test_lease_nowait_with_nothing_idle_is_none_and_makes_nothing() -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool:
        assert pool.lease_nowait() is None
        await _settle()

    assert provider.made == []


async def test_lease_nowait_with_a_fresh_resource_idle_is_granted() -> None:
    async with _pool(FakeProvider()) as pool:
        (await pool.acquire()).release()

        lease = pool.lease_nowait()

        assert lease is not None
        assert await pool.acquire() is not lease


@pytest.mark.parametrize("error", [ValueError("use"), KeyboardInterrupt()])
async def test_lease_whose_body_raises_is_closed_and_the_error_passes_through(error: BaseException) -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool:
        with pytest.raises(type(error)) as caught:
            async with pool.lease():
                raise error
        await _settle()
        now = pool.statistics()

    assert caught.value is error
    assert provider.made[0].closings == 1
    assert (now.leased, now.idle, now.closing, now.closed) == (0, 0, 0, 1)


async def test_lease_whose_body_is_cancelled_is_closed() -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool:
        with anyio.move_on_after(1.0) as scope:
            async with pool.lease():
                await anyio.sleep_forever()
        await _settle()

        assert scope.cancelled_caught
        assert provider.made[0].closings == 1


async def test_lease_whose_body_is_cancelled_is_reset_if_it_can_be() -> None:
    provider = FakeProvider(resettable=True)

    async with _pool(provider, PoolConfig(max_size=1)) as pool:
        with anyio.move_on_after(1.0):
            async with pool.lease():
                await anyio.sleep_forever()
        async with pool.lease() as lease:
            assert lease.resource.resets == 1

    assert len(provider.made) == 1
    assert provider.overlaps == []


@pytest.mark.parametrize("on_reset", [_raising(OSError("reset")), _slowly(math.inf)], ids=["raises", "hangs"])
async def test_reset_that_fails_closes_the_resource_and_is_counted(on_reset: Callable[[], Awaitable[None]]) -> None:
    provider = FakeProvider(resettable=True)
    provider.on_reset = on_reset

    async with _pool(provider, PoolConfig(upkeep_timeout_s=1.0)) as pool:
        (await pool.acquire()).discard()
        await anyio.sleep(2.0)
        now = pool.statistics()

    assert (now.failures, now.closed, now.leased) == (1, 1, 0)
    assert provider.made[0].closings == 1


async def test_callers_in_line_are_served_in_the_order_they_came() -> None:
    served: list[int] = []

    async def take_turn(number: int) -> None:
        async with pool.lease():
            served.append(number)

    async with _pool(FakeProvider(), PoolConfig(max_size=1)) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(take_turn, number)
                await _settle()
            lease.release()

    assert served == [0, 1, 2, 3, 4]


async def test_caller_cancelled_as_a_resource_comes_back_passes_it_on() -> None:
    scope = anyio.CancelScope()

    async def wait_in_vain() -> None:
        with scope:
            await pool.acquire()

    async with _pool(FakeProvider(), PoolConfig(max_size=1)) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await _settle()
            tasks.start_soon(_use, pool)
            await _settle()
            scope.cancel()
            lease.release()
        now = pool.statistics()

    assert scope.cancelled_caught
    assert (now.leases, now.idle, now.created) == (2, 1, 1)


async def test_caller_cancelled_as_an_expired_resource_comes_to_it_has_it_closed() -> None:
    provider = FakeProvider()
    scope = anyio.CancelScope()

    async def wait_in_vain() -> None:
        with scope:
            await pool.acquire()

    async with _pool(provider, PoolConfig(max_size=1)) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await _settle()
            scope.cancel()
            lease.release()
            pool.expire_all()
        await _settle()

        assert provider.made[0].closings == 1
        assert (pool.statistics().leased, pool.statistics().leases) == (0, 1)


async def test_callers_beyond_the_line_are_refused_at_once() -> None:
    async with _pool(FakeProvider(), PoolConfig(max_size=1, max_waiters=1)) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_use, pool)
            await _settle()
            with pytest.raises(PoolExhaustedError):
                await pool.acquire()
            lease.release()

        assert pool.statistics().refused == 1


async def _use(pool: AsyncResourcePool[Thing], hold_s: float = 0.0) -> None:
    async with pool.lease():
        await anyio.sleep(hold_s)


async def test_acquire_gives_up_after_its_timeout() -> None:
    async with _pool(FakeProvider(), PoolConfig(max_size=1, acquire_timeout_s=3.0)) as pool:
        lease = await pool.acquire()
        began_s = anyio.current_time()

        with pytest.raises(PoolTimeoutError) as caught:
            await pool.acquire()

        assert anyio.current_time() - began_s == pytest.approx(3.0)
        assert caught.value.timeout_s == 3.0
        assert (pool.statistics().timeouts, pool.statistics().waiting) == (1, 0)
        lease.release()


async def test_creation_goes_on_after_its_caller_has_given_up() -> None:
    provider = FakeProvider()
    provider.on_create = _slowly(10.0)

    async with _pool(provider, PoolConfig(acquire_timeout_s=3.0)) as pool:
        with pytest.raises(PoolTimeoutError):
            await pool.acquire()
        await anyio.sleep(8.0)

        assert pool.statistics().idle == 1


async def test_creation_runs_two_at_a_time() -> None:
    provider = FakeProvider()
    provider.on_create = _slowly(1.0)

    async with _pool(provider) as pool, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(_use, pool, 10.0)

    assert provider.most_creating == 2
    assert len(provider.made) == 8


async def test_creation_error_reaches_every_caller_as_a_copy_and_the_pool_stands() -> None:
    provider = FakeProvider()
    error = ConnectionRefusedError("no")
    provider.on_create = _raising(error, after_s=0.1)
    raised: list[BaseException] = []

    async def ask() -> None:
        with pytest.raises(ConnectionRefusedError) as caught:
            await pool.acquire()
        raised.append(caught.value)

    async with _pool(provider, PoolConfig(max_creating=1)) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
        provider.on_create = _slowly(0.0)
        async with pool.lease() as lease:
            assert lease.resource is provider.made[0]

    assert provider.attempts == 2
    assert len({id(one) for one in [*raised, error]}) == 4
    assert all(one.__cause__ is error for one in raised)


async def test_creation_after_failures_pauses_ever_longer() -> None:
    provider = FakeProvider()
    began_s: list[float] = []

    async def fail() -> None:
        began_s.append(anyio.current_time())
        raise ConnectionRefusedError("no")

    provider.on_create = fail
    async with AsyncResourcePool(
        "things",
        provider,
        PoolConfig(min_size=1, creation_backoff_s=1.0, max_creation_backoff_s=2.0),
        clock=VirtualClock(),
        random=lambda: 0.0,
    ):
        await anyio.sleep(3.5)

    pauses_s = [later - earlier for earlier, later in itertools.pairwise(began_s)]
    assert pauses_s == pytest.approx([0.5, 0.75, 1.0, 1.0])


class HastyClock(VirtualClock):
    """Wakes a little early, as an event loop's timers may."""

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s if delay_s < 0.001 else delay_s * 0.999)


async def test_creation_after_a_pause_goes_on_even_if_the_clock_wakes_early() -> None:
    provider = FakeProvider()
    provider.on_create = _raising(ConnectionRefusedError("no"))

    async with AsyncResourcePool(
        "things", provider, PoolConfig(min_size=1), clock=HastyClock(), random=lambda: 0.0
    ) as pool:
        await _settle()
        provider.on_create = _slowly(0.0)
        await anyio.sleep(0.2)

        assert pool.statistics().idle == 1


async def test_creation_that_takes_too_long_is_cancelled_and_reported() -> None:
    provider = FakeProvider()
    provider.on_create = _slowly(math.inf)

    async with _pool(provider, PoolConfig(create_timeout_s=2.0)) as pool:
        with pytest.raises(AttemptTimeoutError) as caught:
            await pool.acquire()

        assert caught.value.timeout_s == 2.0
        assert (pool.statistics().creating, pool.statistics().failures) == (0, 1)


async def test_timeout_while_creation_pauses_names_the_creation_error_as_its_cause() -> None:
    provider = FakeProvider()
    error = ConnectionRefusedError("no")
    provider.on_create = _raising(error)
    config = PoolConfig(creation_backoff_s=60.0, max_creation_backoff_s=60.0, acquire_timeout_s=1.0)

    async with _pool(provider, config) as pool:
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire()
        with pytest.raises(PoolTimeoutError) as caught:
            await pool.acquire()

    assert caught.value.__cause__ is error


async def test_idle_resource_is_validated_before_its_next_lease() -> None:
    provider = FakeProvider()

    async with _pool(provider) as pool:
        await _use(pool)
        await anyio.sleep(1.0)
        async with pool.lease() as lease:
            assert lease.resource.validations == 1
        await _use(pool)

    assert [thing.validations for thing in provider.made] == [1]


async def _say_bad(provider: FakeProvider) -> None:
    provider.is_good = lambda thing: False


async def _raise_in_validate(provider: FakeProvider) -> None:
    provider.on_validate = _raising(OSError("validate"))


async def _hang_in_validate(provider: FakeProvider) -> None:
    provider.on_validate = _slowly(math.inf)


@pytest.mark.parametrize(
    ("go_bad", "failures"),
    [(_say_bad, 0), (_raise_in_validate, 1), (_hang_in_validate, 1)],
    ids=["no", "raise", "hang"],
)
async def test_idle_resource_found_bad_is_replaced(
    go_bad: Callable[[FakeProvider], Awaitable[None]], failures: int
) -> None:
    provider = FakeProvider()

    async with _pool(provider, PoolConfig(upkeep_timeout_s=1.0)) as pool:
        await _use(pool)
        await go_bad(provider)
        await anyio.sleep(1.0)
        async with pool.lease() as lease:
            assert lease.resource is provider.made[1]
        await _settle()

        assert provider.made[0].closings == 1
        assert pool.statistics().failures == failures


async def test_least_size_is_made_on_opening_and_kept() -> None:
    provider = FakeProvider()

    async with _pool(provider, PoolConfig(min_size=3, max_lifetime_s=60.0)) as pool:
        await _settle()
        assert pool.statistics().idle == 3
        await anyio.sleep(70.0)

        assert pool.statistics().idle == 3

    assert len(provider.made) == 6


async def test_idle_resource_is_closed_within_five_seconds_of_its_time() -> None:
    provider = FakeProvider()

    async with _pool(provider, PoolConfig(max_idle_s=18.5)) as pool:
        await _use(pool)
        await anyio.sleep(18.0)
        assert pool.statistics().idle == 1
        await anyio.sleep(5.5)

        assert pool.statistics().closed == 1


async def test_expire_all_replaces_idle_and_leased_resources() -> None:
    provider = FakeProvider()

    async with _pool(provider, PoolConfig(min_size=1)) as pool:
        leases = [await pool.acquire(), await pool.acquire()]
        leases[0].release()

        pool.expire_all()
        leases[1].release()
        await _settle()

        assert [thing.closings for thing in provider.made] == [1, 1, 0]
        assert pool.statistics().idle == 1


async def test_expire_all_before_opening_and_after_closing_does_nothing() -> None:
    provider = FakeProvider()
    pool = _pool(provider)

    pool.expire_all()
    async with pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_release_after, lease, 1.0)
    pool.expire_all()

    assert provider.made[0].closings == 1


async def _release_after(lease: Lease[Thing], delay_s: float) -> None:
    await anyio.sleep(delay_s)
    lease.release()


async def test_lease_held_too_long_is_warned_about_once() -> None:
    async with _pool(FakeProvider(), PoolConfig(leak_warning_s=60.0)) as pool:
        with pytest.warns(ResourceWarning) as caught:
            await _use(pool, hold_s=200.0)

    assert len(caught) == 1
    assert re.fullmatch(r"pool 'things': a lease has been out for 6[0-5] s; release .*", str(caught[0].message))


async def test_lease_held_not_yet_too_long_is_not_warned_about() -> None:
    async with _pool(FakeProvider(), PoolConfig(leak_warning_s=60.0)) as pool:
        await _use(pool, hold_s=59.0)

        assert pool.statistics().idle == 1


async def test_lease_warning_turned_into_an_error_ends_the_pool_and_closes_everything() -> None:
    provider = FakeProvider()

    with warnings.catch_warnings(), pytest.RaisesGroup(ResourceWarning):
        warnings.simplefilter("error")
        async with _pool(provider) as pool, pool.lease():
            await anyio.sleep(100.0)

    assert provider.made[0].closings == 1


async def test_close_waits_for_leases_to_come_back() -> None:
    provider = FakeProvider()
    released_s: list[float] = []

    async def hold() -> None:
        async with pool.lease():
            await anyio.sleep(3.0)
            released_s.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        async with _pool(provider) as pool:
            tasks.start_soon(hold)
            await _settle()
        closed_s = anyio.current_time()
        tasks.cancel_scope.cancel()

    assert released_s == pytest.approx([closed_s], abs=0.1)
    assert provider.made[0].closings == 1


async def test_close_takes_back_what_was_not_returned_in_time() -> None:
    provider = FakeProvider()

    async with _pool(provider, PoolConfig(close_timeout_s=4.0)) as pool:
        lease = await pool.acquire()
        began_s = anyio.current_time()
    lease.release()

    assert anyio.current_time() - began_s == pytest.approx(4.0)
    assert provider.made[0].closings == 1
    assert (pool.statistics().created, pool.statistics().closed, pool.statistics().leased) == (1, 1, 0)


async def test_close_refuses_those_in_line_and_those_who_come_later() -> None:
    refusals: list[ClosedError] = []

    async def ask() -> None:
        with pytest.raises(ClosedError) as caught:
            await pool.acquire()
        refusals.append(caught.value)

    pool = _pool(FakeProvider(), PoolConfig(max_size=1, close_timeout_s=1.0))
    async with anyio.create_task_group() as tasks, pool:
        await pool.acquire()
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await _settle()
    await ask()

    assert len({id(refusal) for refusal in refusals}) == 3
    assert pool.lease_nowait() is None


async def test_close_cancels_what_is_being_made() -> None:
    provider = FakeProvider()
    provider.on_create = _slowly(20.0)

    async with _pool(provider, PoolConfig(min_size=2)) as pool:
        await _settle()
        began_s = anyio.current_time()

    assert anyio.current_time() == pytest.approx(began_s)
    assert provider.made == []
    assert pool.statistics().creating == 0


async def test_close_of_a_resource_made_without_yielding_as_the_pool_closes_happens() -> None:
    provider = FakeProvider()

    async def at_once() -> None:
        return

    provider.on_create = at_once
    async with _pool(provider, PoolConfig(min_size=1)) as pool:
        pass

    assert [thing.closings for thing in provider.made] == [1]
    assert pool.statistics().closed == 1


@pytest.mark.parametrize("on_close", [_raising(OSError("close")), _slowly(math.inf)], ids=["raises", "hangs"])
async def test_close_of_a_resource_that_fails_is_counted_and_bounded(on_close: Callable[[], Awaitable[None]]) -> None:
    provider = FakeProvider()
    provider.on_close = on_close

    async with _pool(provider, PoolConfig(upkeep_timeout_s=1.0)) as pool:
        await _use(pool)
        began_s = anyio.current_time()

    assert anyio.current_time() - began_s <= 1.1
    assert (pool.statistics().closed, pool.statistics().closing, pool.statistics().failures) == (1, 0, 1)


async def test_close_of_resources_is_not_cut_short_by_a_cancelled_owner() -> None:
    provider = FakeProvider()
    finished: list[int] = []

    async def close_slowly() -> None:
        await anyio.sleep(2.0)
        finished.append(1)

    provider.on_close = close_slowly
    with anyio.move_on_after(1.0) as scope:
        async with _pool(provider) as pool:
            await _use(pool)
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert finished == [1]
    assert pool.statistics().closed == 1


async def test_owner_cancelled_while_another_task_waits_refuses_that_one() -> None:
    provider = FakeProvider()
    provider.on_create = _slowly(20.0)
    outcome: list[BaseException] = []
    pool = _pool(provider)

    async def own(*, task_status: TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with pool:
                task_status.started(scope)
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1.0)

    async def ask() -> None:
        with pytest.raises(ClosedError) as caught:
            await pool.acquire()
        outcome.append(caught.value)

    async with anyio.create_task_group() as tasks:
        scope = await tasks.start(own)
        tasks.start_soon(ask)
        await _settle()
        scope.cancel()

    assert len(outcome) == 1
    assert provider.attempts == 1


async def _raise_in_body(error: BaseException) -> None:
    async with _pool(FakeProvider()) as pool:
        await _use(pool)
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("body"),
        KeyboardInterrupt(),
        SystemExit(),
        ExceptionGroup("body", [ValueError("one"), OSError("two")]),
    ],
)
async def test_error_raised_in_the_body_of_the_pool_comes_out_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await _raise_in_body(error)

    assert caught.value is error
    assert caught.value.__context__ is None


async def test_halt_in_a_task_of_the_pool_ends_it_and_loses_neither_error() -> None:
    provider = FakeProvider()
    provider.on_validate = _raising(HaltError())

    with pytest.RaisesGroup(ClosedError, HaltError):
        async with _pool(provider) as pool:
            await _use(pool)
            await anyio.sleep(1.0)
            await pool.acquire()

    assert provider.made[0].closings == 1


async def test_pool_that_is_not_open_refuses() -> None:
    pool = _pool(FakeProvider())

    assert pool.lease_nowait() is None
    with pytest.raises(ClosedError):
        await pool.acquire()


async def test_pool_opened_twice_refuses_the_second_time() -> None:
    pool = _pool(FakeProvider())

    async with pool:
        with pytest.raises(ClosedError):
            await pool.__aenter__()
    with pytest.raises(ClosedError):
        async with pool:
            pass
