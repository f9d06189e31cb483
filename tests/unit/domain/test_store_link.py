"""The link to a shared store: asked within a time limit, lost once, found once, and told when everything was lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from holdfast.domain.store_link import AWAY, Away, StoreLink, StoreLinkConfig
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import SharedStoreEmptied, SharedStoreLost, SharedStoreRejoined
from holdfast.ports.statistics import SharedStoreStatistics
from holdfast.testing import VirtualClock, cancel_at_checkpoint, sweep_cancellation
from tests.fakes.events import Listener
from tests.fakes.shared_place import SharedPlace

pytestmark = pytest.mark.anyio

CONFIG = StoreLinkConfig()


class Member:
    """Notes when it was brought up to date, and whether everything was lost."""

    def __init__(self, place: SharedPlace) -> None:
        self._place = place
        self.refreshed: list[tuple[float, bool]] = []
        self.fails_with: Exception | None = None

    async def refresh(self, *, emptied: bool) -> None:
        async def look() -> None:
            if self.fails_with is not None:
                raise self.fails_with
            self.refreshed.append((round(anyio.current_time() - self.began_s, 6), emptied))

        await self._place.ask("refresh", look)

    began_s = 0.0


class Watch:
    """One link with its place, a member, and what was told."""

    def __init__(self, config: StoreLinkConfig = CONFIG) -> None:
        self.place = SharedPlace()
        self.told = Listener()
        self.link = StoreLink(self.place, config, clock=VirtualClock(), random=lambda: 0.5, events=self.told)
        self.member = Member(self.place)
        self.link.add(self.member)

    async def answer(self) -> int:
        return await self.place.ask("answer", self._answer)

    async def ask(self, timeout_s: float = 0.2) -> int | Away:
        return await self.link.ask(self.answer, timeout_s=timeout_s)

    async def _answer(self) -> int:
        return 42

    @property
    def counted(self) -> SharedStoreStatistics:
        return self.link.statistics()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.member.began_s = anyio.current_time()
        async with self.link:
            yield
        assert_adds_up(self.counted)


def assert_adds_up(s: SharedStoreStatistics) -> None:
    assert s.asked == s.answered + s.failed + s.cancelled
    assert s.in_flight == 0
    assert s.lost - s.rejoined in (0, 1)


@pytest.mark.parametrize("name", ["timeout_s", "refresh_s", "rejoin_s", "refused_s"])
def test_config_of_no_time_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"shared\.link\.{name}"):
        StoreLinkConfig(**{name: 0.0})


async def test_open_of_a_store_that_is_there_has_brought_each_member_up_to_date() -> None:
    watch = Watch()
    other = Member(watch.place)
    watch.link.add(other)
    async with watch.opened():
        assert watch.link.is_joined
        assert [len(member.refreshed) for member in (watch.member, other)] == [1, 1]

    assert watch.told.heard == []


async def test_open_of_a_store_that_is_away_goes_on_after_the_time_limit() -> None:
    watch = Watch()
    watch.place.deaf = True
    began_s = anyio.current_time()
    async with watch.opened():
        assert anyio.current_time() - began_s == pytest.approx(0.5)
        assert not watch.link.is_joined

    assert watch.told.heard == [SharedStoreLost(store="place", error="StoreUnavailableError", is_refusal=False)]


async def test_round_comes_at_its_interval_while_the_store_is_there() -> None:
    watch = Watch()
    async with watch.opened():
        await anyio.sleep(1.1)

    assert [at_s for at_s, _ in watch.member.refreshed] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


async def test_round_asks_for_the_epoch_before_anything_else() -> None:
    watch = Watch()
    async with watch.opened():
        pass

    assert watch.place.asked == ["epoch", "refresh"]


async def test_ask_a_store_that_is_there_gives_its_answer() -> None:
    watch = Watch()
    async with watch.opened():
        assert await watch.ask() == 42
        assert (watch.counted.joined, watch.counted.skipped) == (True, 0)


async def test_ask_takes_no_longer_than_its_limit_and_loses_a_store_that_is_too_slow() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.latency_s = 1.0
        began_s = anyio.current_time()

        assert await watch.ask(timeout_s=0.2) is AWAY

        assert anyio.current_time() - began_s == pytest.approx(0.2)
        assert not watch.link.is_joined


async def test_ask_a_store_that_is_away_costs_no_time_and_reaches_nobody() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.leave()
        assert await watch.ask() is AWAY
        asked, began_s = len(watch.place.asked), anyio.current_time()

        for _ in range(1000):
            assert await watch.ask() is AWAY

        assert len(watch.place.asked) == asked
        assert anyio.current_time() == began_s
        assert watch.counted.skipped == 1000


async def test_ask_by_many_while_it_freezes_is_lost_once() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.deaf = True
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(watch.ask)
        watch.place.come_back()
        await anyio.sleep(2.0)

    assert [type(event) for event in watch.told.heard] == [SharedStoreLost, SharedStoreRejoined]
    assert (watch.counted.lost, watch.counted.rejoined) == (1, 1)


async def test_ask_that_fails_after_the_store_was_found_again_says_nothing_about_it_now() -> None:
    watch = Watch()
    async with watch.opened(), anyio.create_task_group() as tasks:
        watch.place.deaf = True
        tasks.start_soon(watch.ask, 5.0)  # another question of the same outage, by somebody more patient
        await anyio.sleep(1.0)
        assert not watch.link.is_joined
        watch.place.come_back()
        await anyio.sleep(5.0)
        assert watch.link.is_joined

    assert [type(event) for event in watch.told.heard] == [SharedStoreLost, SharedStoreRejoined]
    assert watch.counted.failed == 2


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no route"), ExceptionGroup("both", [ValueError()])])
async def test_ask_that_raises_anything_is_away_and_raises_nothing(error: Exception) -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.fails_with = error

        assert await watch.ask() is AWAY

    assert watch.told.heard == [SharedStoreLost(store="place", error=type(error).__name__, is_refusal=False)]


async def test_ask_that_raises_no_exception_but_something_greater_lets_it_through() -> None:
    watch = Watch()
    async with watch.opened():

        async def work() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await watch.link.ask(work, timeout_s=1.0)

        assert watch.link.is_joined
        assert watch.counted.cancelled == 1


async def test_store_that_is_away_is_looked_for_at_the_interval_for_that() -> None:
    watch = Watch()
    watch.place.leave()
    async with watch.opened():
        await anyio.sleep(3.5)

        assert watch.place.asked == ["epoch"] * 4


async def test_store_that_refuses_is_asked_again_after_a_longer_while() -> None:
    watch = Watch()
    watch.place.refuse()
    async with watch.opened():
        await anyio.sleep(29.9)
        assert watch.place.asked == ["epoch"]
        watch.place.come_back()
        await anyio.sleep(0.2)

        assert watch.link.is_joined

    lost, rejoined = watch.told.heard
    assert lost == SharedStoreLost(store="place", error="StoreRefusedError", is_refusal=True)
    assert isinstance(rejoined, SharedStoreRejoined)
    assert rejoined.away_s == pytest.approx(30.0)


async def test_store_that_refuses_after_it_was_away_is_told_of_once() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.leave()
        await anyio.sleep(1.0)
        watch.place.refuse()
        await anyio.sleep(40.0)

    assert [type(event) for event in watch.told.heard] == [SharedStoreLost]


@pytest.mark.parametrize(("uniform", "expected_s"), [(0.0, 0.5), (0.999, 1.499)])
async def test_pause_before_it_is_looked_for_is_half_longer_or_shorter(uniform: float, expected_s: float) -> None:
    place = SharedPlace()
    place.leave()
    async with StoreLink(place, CONFIG, clock=VirtualClock(), random=lambda: uniform):
        await anyio.sleep(expected_s - 0.001)
        before = len(place.asked)
        await anyio.sleep(0.002)

    assert (before, len(place.asked)) == (1, 2)


async def test_store_found_again_has_each_member_up_to_date_before_it_is_asked() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.leave()
        await anyio.sleep(1.0)
        watch.place.come_back()
        watch.member.fails_with = ValueError("not yet")
        await anyio.sleep(1.5)
        assert await watch.ask() is AWAY

        watch.member.fails_with = None
        await anyio.sleep(1.5)

        assert await watch.ask() == 42

    lost, rejoined = watch.told.heard
    assert isinstance(lost, SharedStoreLost)
    assert isinstance(rejoined, SharedStoreRejoined)


async def test_member_that_fails_loses_the_store_and_spares_the_others() -> None:
    watch = Watch()
    other = Member(watch.place)
    watch.link.add(other)
    async with watch.opened():
        watch.member.fails_with = ValueError("a key of another type")
        await anyio.sleep(0.3)

        assert not watch.link.is_joined
        assert len(other.refreshed) == 1


async def test_member_that_takes_too_long_loses_the_store() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.latency_s = 0.6
        await anyio.sleep(1.0)

        assert not watch.link.is_joined


async def test_emptied_store_is_told_to_each_member_once() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.emptied += 1
        await anyio.sleep(0.6)

    assert [emptied for _, emptied in watch.member.refreshed] == [False, True, False]
    assert watch.told.heard == [SharedStoreEmptied(store="place")]
    assert watch.counted.emptied == 1


async def test_emptied_store_stays_so_until_each_member_has_heard_of_it() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.emptied += 1
        watch.member.fails_with = ValueError("not yet")
        await anyio.sleep(2.0)
        watch.member.fails_with = None
        await anyio.sleep(1.5)

    assert [emptied for _, emptied in watch.member.refreshed].count(True) == 1


async def test_emptied_store_whose_members_fail_is_told_of_once() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.emptied += 1
        watch.member.fails_with = ValueError("not yet")
        await anyio.sleep(10.0)
        watch.member.fails_with = None
        await anyio.sleep(2.0)

    assert watch.told.heard.count(SharedStoreEmptied(store="place")) == 1
    assert watch.counted.emptied == 1


async def test_store_restarted_empty_while_it_was_away_is_told_as_emptied() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.leave()
        await anyio.sleep(1.0)
        watch.place.emptied += 1
        watch.place.come_back()
        await anyio.sleep(1.5)

    assert [type(event) for event in watch.told.heard] == [SharedStoreLost, SharedStoreEmptied, SharedStoreRejoined]


async def test_store_found_for_the_first_time_was_not_emptied() -> None:
    watch = Watch()
    watch.place.leave()
    async with watch.opened():
        watch.place.emptied += 1
        watch.place.come_back()
        await anyio.sleep(1.5)

    assert watch.counted.emptied == 0
    assert next(emptied for _, emptied in watch.member.refreshed) is False


async def test_member_added_later_is_brought_up_to_date_with_the_next_round() -> None:
    watch = Watch()
    async with watch.opened():
        later = Member(watch.place)
        watch.link.add(later)
        await anyio.sleep(0.3)

        assert len(later.refreshed) == 1


async def test_member_discarded_is_left_alone_and_the_others_are_not() -> None:
    watch = Watch()
    other = Member(watch.place)
    watch.link.add(other)
    async with watch.opened():
        watch.link.discard(watch.member)
        await anyio.sleep(0.3)

        assert (len(watch.member.refreshed), len(other.refreshed)) == (1, 2)


async def test_member_discarded_during_a_round_disturbs_nobody() -> None:
    watch = Watch()
    first, last = Member(watch.place), Member(watch.place)
    watch.link.add(first)
    watch.link.add(last)
    watch.place.latency_s = 0.1
    async with watch.opened():
        await anyio.sleep(0.25 + 0.15)  # while the first one is asked
        watch.link.discard(watch.member)
        await anyio.sleep(0.3)

        assert len(last.refreshed) == 2


async def test_hurry_brings_the_next_round_forward() -> None:
    watch = Watch()
    async with watch.opened():
        await anyio.sleep(0.05)
        watch.link.hurry()
        await anyio.sleep(0.05)

    assert [at_s for at_s, _ in watch.member.refreshed] == pytest.approx([0.0, 0.075])


async def test_hurry_again_and_again_makes_no_storm() -> None:
    watch = Watch()
    async with watch.opened():
        for _ in range(1000):
            watch.link.hurry()
            await anyio.sleep(0.001)

    assert len(watch.member.refreshed) <= 1 + 1.0 / 0.025


async def test_hurry_during_a_round_begins_another_one() -> None:
    watch = Watch()
    watch.place.latency_s = 0.01
    async with watch.opened():
        await anyio.sleep(0.255)  # within the question for the epoch
        watch.link.hurry()
        await anyio.sleep(0.07)

    assert len(watch.member.refreshed) == 3


async def test_hurry_while_the_store_is_away_makes_no_haste() -> None:
    watch = Watch()
    watch.place.leave()
    async with watch.opened():
        for _ in range(90):
            watch.link.hurry()
            await anyio.sleep(0.1)

        assert len(watch.place.asked) <= 10


async def test_body_that_raises_raises_the_same_error() -> None:
    error = ValueError("of the body")
    watch = Watch()

    with pytest.raises(ValueError, match="of the body") as raised:
        async with watch.opened():
            raise error

    assert raised.value is error


async def test_close_while_a_round_waits_ends_at_once() -> None:
    watch = Watch()
    async with watch.opened():
        watch.place.deaf = True
        await anyio.sleep(0.3)
        began_s = anyio.current_time()

    assert anyio.current_time() == began_s


async def test_cancellation_at_any_moment_says_nothing_about_the_store() -> None:
    watch = Watch()
    async with watch.opened():

        async def check() -> None:
            s = watch.counted
            assert s.joined
            assert s.in_flight == 0
            assert s.lost == 0

        assert await sweep_cancellation(watch.ask, check) > 0
        assert watch.counted.cancelled > 0


async def test_cancellation_while_it_is_opened_leaves_no_task_behind() -> None:
    at, reached = 0, True
    while reached:
        at += 1
        watch = Watch()

        async def scenario(watch: Watch = watch) -> None:
            async with watch.link:
                await watch.ask()

        reached = await cancel_at_checkpoint(scenario(), at)
        asked = len(watch.place.asked)
        await anyio.sleep(1.0)

        assert len(watch.place.asked) == asked
        assert_adds_up(watch.counted)

    assert at > 2


async def test_link_that_nobody_listens_to_is_lost_emptied_and_found_as_any_other() -> None:
    place = SharedPlace()
    async with StoreLink(place, CONFIG, clock=VirtualClock(), random=lambda: 0.5) as link:
        place.leave()
        await anyio.sleep(1.0)
        place.emptied += 1
        place.come_back()
        await anyio.sleep(1.5)

        s = link.statistics()
        assert (s.joined, s.lost, s.rejoined, s.emptied) == (True, 1, 1, 1)


async def test_clock_of_this_process_an_hour_off_changes_nothing() -> None:
    class Off(VirtualClock):
        def monotonic_s(self) -> float:
            return super().monotonic_s() - 3600.0

    place, told = SharedPlace(), Listener()
    async with StoreLink(place, CONFIG, clock=Off(), random=lambda: 0.5, events=told) as link:
        place.leave()
        await anyio.sleep(1.25)
        place.come_back()
        await anyio.sleep(1.0)
        assert link.is_joined

    rejoined = told.heard[-1]
    assert isinstance(rejoined, SharedStoreRejoined)
    assert rejoined.away_s == pytest.approx(1.0)
