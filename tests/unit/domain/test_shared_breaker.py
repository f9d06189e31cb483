"""One breaker of several processes: one opening, one probe, and each alone while the store is away."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.shared_breaker import SharedBreakerConfig
from holdfast.ports.breaker_store import Opening
from holdfast.ports.errors import BreakerOpenError, ConfigurationError, RequestError
from holdfast.ports.events import BreakerClosed, BreakerHalfOpened, BreakerOpened
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState
from holdfast.testing import VirtualClock, cancel_at_checkpoint, sweep_cancellation
from tests.fakes.breakers import CONFIG, BreakerPlace, Peer, PeerProcess, open_processes

pytestmark = pytest.mark.anyio

ROUND_S = 0.3
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def states(processes: list[PeerProcess]) -> list[BreakerState]:
    return [process.state for process in processes]


def asked(process: PeerProcess, *names: str) -> int:
    return sum(process.place.asked.count(name) for name in names)


async def invalid() -> str:
    """Fail in a way that says nothing about the peer."""
    raise RequestError("of the caller")


async def half_open(processes: list[PeerProcess]) -> None:
    """Trip the first breaker and wait until its opening is over everywhere."""
    processes[0].trip()
    await anyio.sleep(5.0 + ROUND_S)
    assert set(states(processes)) == {HALF_OPEN}


def test_config_of_no_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"shared\.breakers\.claim_timeout_s"):
        SharedBreakerConfig(claim_timeout_s=0.0)


async def test_open_of_one_is_adopted_by_all_within_a_round_and_counted_as_adopted() -> None:
    async with open_processes(3) as processes:
        processes[0].trip()
        await anyio.sleep(ROUND_S)

        assert states(processes) == [OPEN] * 3
        counted = [process.breaker.statistics() for process in processes]
        assert [(s.opened, s.adopted) for s in counted] == [(1, 0), (0, 1), (0, 1)]
        assert [type(event) for event in processes[1].told.heard] == [BreakerOpened]


async def test_open_is_adopted_for_what_is_left_of_it() -> None:
    async with open_processes(2) as processes:
        processes[0].trip()
        await anyio.sleep(2.0)

        with pytest.raises(BreakerOpenError) as refused:
            await processes[1].breaker.call(Peer())

        assert refused.value.retry_after_s == pytest.approx(3.0, abs=0.01)


async def test_open_is_found_by_a_process_that_starts_later_before_its_first_call() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        processes[0].trip()
        await anyio.sleep(ROUND_S)

    async with open_processes(1, place=place) as restarted:
        assert states(restarted) == [OPEN]


async def test_open_lengthens_with_each_opening_of_whichever_process() -> None:
    ill = Peer()
    async with open_processes(3) as processes:
        processes[0].trip()
        await anyio.sleep(5.0 + ROUND_S)
        assert await processes[1].call(ill) == "ill"
        await anyio.sleep(10.0 + ROUND_S)
        assert await processes[2].call(ill) == "ill"
        await anyio.sleep(ROUND_S)

        opened = [
            event.open_s for process in processes for event in process.told.heard if isinstance(event, BreakerOpened)
        ]
        assert Counter(round(seconds or 0.0) for seconds in opened) == {5: 3, 10: 3, 20: 3}


async def test_open_length_is_remembered_by_a_process_that_starts_later() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        await half_open(processes)
        well = Peer()
        well.ill = False
        assert await processes[0].call(well) == "well"
        await anyio.sleep(ROUND_S)

    async with open_processes(1, place=place) as restarted:
        restarted[0].trip()

        event = restarted[0].told.heard[-1]
        assert isinstance(event, BreakerOpened)
        assert event.open_s == pytest.approx(10.0)


async def test_open_length_is_forgotten_by_the_time_since_it_closed() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        await half_open(processes)
        well = Peer()
        well.ill = False
        await processes[0].call(well)
        await anyio.sleep(ROUND_S)

    await anyio.sleep(10.0)
    async with open_processes(1, place=place) as restarted:
        restarted[0].trip()

        event = restarted[0].told.heard[-1]
        assert isinstance(event, BreakerOpened)
        assert event.open_s == pytest.approx(5.0)


async def test_open_of_two_at_once_is_one_opening_until_the_later_end() -> None:
    async with open_processes(3) as processes:
        processes[0].trip()
        await anyio.sleep(0.01)
        processes[1].trip()
        await anyio.sleep(ROUND_S)

        left = {round(process.breaker.opening().lasts_s, 2) for process in processes}
        assert len(left) == 1
        assert {process.breaker.opening().earlier for process in processes} == {1}


async def test_open_that_the_peer_asked_for_lasts_as_long_everywhere() -> None:
    async with open_processes(2) as processes:
        asking = Verdict(outcome=Outcome.REJECTED_BY_PEER, retry_after_s=60.0)
        processes[1].trip()
        for _ in range(2):
            processes[0].breaker.settle(processes[0].breaker.acquire(), asking)
        await anyio.sleep(ROUND_S)

        assert {round(process.breaker.opening().lasts_s) for process in processes} == {66}


async def test_probe_of_many_at_once_is_one() -> None:
    peer = Peer()
    peer.seconds = 2.0
    async with open_processes(8) as processes:
        await half_open(processes)

        ended: list[str] = []

        async def call(process: PeerProcess) -> None:
            ended.append(await process.call(peer))

        async with anyio.create_task_group() as tasks:
            for process in processes * 5:
                tasks.start_soon(call, process)

        assert (peer.calls, peer.most_running) == (1, 1)
        assert Counter(ended) == {"ill": 1, "refused": 39}


async def test_probe_that_succeeds_closes_all() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(3) as processes:
        await half_open(processes)

        assert await processes[1].call(well) == "well"
        await anyio.sleep(ROUND_S)

        assert states(processes) == [CLOSED] * 3
        assert isinstance(processes[2].told.heard[-1], BreakerClosed)


async def test_probe_that_fails_opens_all_again_for_the_same_time() -> None:
    async with open_processes(3) as processes:
        await half_open(processes)

        assert await processes[1].call(Peer()) == "ill"
        await anyio.sleep(ROUND_S)

        assert states(processes) == [OPEN] * 3
        assert {round(process.breaker.opening().lasts_s, 1) for process in processes} == {9.7}


async def test_probes_of_all_processes_count_together() -> None:
    well = Peer()
    well.ill = False
    config = replace(CONFIG, probe_calls=3, probe_successes=3)
    async with open_processes(3, config) as processes:
        await half_open(processes)
        for process in processes:
            assert await process.call(well) == "well"
            await anyio.sleep(ROUND_S)

        assert states(processes) == [CLOSED] * 3


async def test_probes_that_may_fail_count_together() -> None:
    config = replace(CONFIG, probe_calls=2, probe_successes=1)
    async with open_processes(2, config) as processes:
        await half_open(processes)

        assert await processes[0].call(Peer()) == "ill"
        await anyio.sleep(ROUND_S)
        assert states(processes) == [HALF_OPEN] * 2
        assert await processes[1].call(Peer()) == "ill"
        await anyio.sleep(ROUND_S)

        assert states(processes) == [OPEN] * 2


async def test_probe_of_the_same_process_begins_at_once_after_the_one_before() -> None:
    well = Peer()
    well.ill = False
    config = replace(CONFIG, probe_calls=3, probe_successes=3)
    async with open_processes(1, config) as processes:
        await half_open(processes)
        began_s = anyio.current_time()

        assert [await processes[0].call(well) for _ in range(4)] == ["well"] * 4

        assert anyio.current_time() == began_s


async def test_probe_that_does_not_come_back_opens_all_again() -> None:
    stuck = Peer()
    stuck.seconds = 1000.0
    async with open_processes(2) as processes, anyio.create_task_group() as tasks:
        await half_open(processes)
        tasks.start_soon(processes[0].call, stuck)
        await anyio.sleep(10.0 + ROUND_S)

        assert states(processes) == [OPEN] * 2
        assert (asked(processes[0], "settle failed"), asked(processes[0], "open")) == (1, 1)  # the first of all
        tasks.cancel_scope.cancel()


async def test_probe_whose_process_died_is_over_when_its_lease_is() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        processes[0].trip()
        await anyio.sleep(5.1)
        await place.claim("peer", "of the dead", processes[0].breaker.probe_terms())
        await anyio.sleep(ROUND_S)

        assert await processes[0].call(Peer()) == "refused"
        await anyio.sleep(10.0)
        assert states(processes) == [OPEN]  # as if it had failed
        await anyio.sleep(10.0 + ROUND_S)
        assert await processes[0].call(Peer()) == "ill"


async def test_probe_that_ends_late_changes_nothing() -> None:
    late = Peer()
    late.ill, late.seconds = False, 25.5
    async with open_processes(2) as processes, anyio.create_task_group() as tasks:
        await half_open(processes)
        tasks.start_soon(processes[0].call, late)
        await anyio.sleep(20.0 + 2 * ROUND_S)  # its time is over, and so is the opening that followed
        assert states(processes) == [HALF_OPEN] * 2
        stuck = Peer()
        stuck.seconds = 9.0
        tasks.start_soon(processes[1].call, stuck)
        await anyio.sleep(6.0)  # meanwhile it has come back

        assert late.running == 0
        assert states(processes) == [HALF_OPEN] * 2


async def test_probe_that_says_nothing_about_the_peer_is_given_back() -> None:
    async with open_processes(2) as processes:
        await half_open(processes)

        with pytest.raises(RequestError):
            await processes[0].breaker.call(invalid)
        await anyio.sleep(ROUND_S)

        assert asked(processes[0], "settle given_back") == 1
        assert await processes[1].call(Peer()) == "ill"


async def test_probe_that_ended_is_told_once_more_at_most_when_round_and_claim_come_together() -> None:
    config = replace(CONFIG, probe_calls=3, probe_successes=3)
    async with open_processes(1, config) as processes:
        process = processes[0]
        await half_open(processes)
        with pytest.raises(RequestError):
            await process.breaker.call(invalid)
        process.place.latency_s = 0.05
        await anyio.sleep(0.08)  # the hurried round has asked for the epoch and tells of the probe

        with pytest.raises(RequestError):
            await process.breaker.call(invalid)
        await anyio.sleep(1.0)

        assert asked(process, "settle given_back") == 3
        assert (await process.place.breakers.look("peer")).probe is None


async def test_claim_that_is_refused_is_not_asked_for_again_before_the_next_round() -> None:
    stuck = Peer()
    stuck.seconds = 5.0
    async with open_processes(2) as processes, anyio.create_task_group() as tasks:
        await half_open(processes)
        tasks.start_soon(processes[0].call, stuck)
        await anyio.sleep(0.01)

        for _ in range(1000):
            assert await processes[1].call(stuck) == "refused"

        assert asked(processes[1], "claim") == 1
        tasks.cancel_scope.cancel()


async def test_closed_breaker_asks_nobody() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(1) as processes:
        before = len(processes[0].place.asked)

        for _ in range(1000):
            await processes[0].call(well)

        assert len(processes[0].place.asked) <= before + 1


async def test_rounds_of_a_breaker_that_nothing_happens_to_only_look() -> None:
    async with open_processes(1) as processes:
        await anyio.sleep(10.0)

        assert set(processes[0].place.asked) == {"epoch", "look"}


async def test_clock_an_hour_off_has_no_effect() -> None:
    class Off(VirtualClock):
        def __init__(self, hours: float) -> None:
            self._off_s = hours * 3600.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self._off_s

    peer = Peer()
    async with open_processes(3, clocks=lambda number: Off(number - 1)) as processes:
        processes[0].trip()
        await anyio.sleep(4.9)
        assert states(processes) == [OPEN] * 3
        await anyio.sleep(0.1 + ROUND_S)
        assert states(processes) == [HALF_OPEN] * 3

        assert [await process.call(peer) for process in processes] == ["ill", "refused", "refused"]
        await anyio.sleep(ROUND_S)

        assert {round(process.breaker.opening().lasts_s, 1) for process in processes} == {9.7}


# Without the store.


async def test_store_away_lets_each_go_on_alone() -> None:
    async with open_processes(2) as processes:
        for process in processes:
            process.place.leave()
        processes[0].trip()
        await anyio.sleep(2.0)
        assert states(processes) == [OPEN, CLOSED]
        await anyio.sleep(3.0)

        well = Peer()
        well.ill = False
        assert await processes[0].call(well) == "well"
        assert states(processes) == [CLOSED, CLOSED]


async def test_store_away_lets_each_probe_for_itself_and_none_of_them_waits() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(2) as processes:
        await half_open(processes)
        for process in processes:
            process.place.leave()
        await anyio.sleep(ROUND_S)
        began_s = anyio.current_time()

        assert [await process.call(well) for process in processes] == ["well", "well"]

        assert anyio.current_time() == began_s


@pytest.mark.parametrize("heard", [True, False])
async def test_store_that_freezes_delays_a_probe_by_the_claim_timeout_and_no_other_call(heard: bool) -> None:
    well = Peer()
    well.ill = False
    async with open_processes(1, sharing=SharedBreakerConfig(claim_timeout_s=0.1)) as processes:
        await half_open(processes)
        processes[0].place.mute, processes[0].place.deaf = heard, not heard
        began_s = anyio.current_time()

        assert await processes[0].call(well) == "well"

        assert anyio.current_time() - began_s == pytest.approx(0.1)
        for _ in range(100):
            assert await processes[0].call(well) == "well"
        assert anyio.current_time() - began_s == pytest.approx(0.1)


async def test_claim_that_was_heard_and_not_answered_is_given_back_when_the_store_is_back() -> None:
    async with open_processes(2) as processes:
        await half_open(processes)
        processes[0].place.mute = True
        with pytest.raises(RequestError):
            await processes[0].breaker.call(invalid)
        assert (await processes[1].place.breakers.look("peer")).probe is not None
        processes[0].place.come_back()
        await anyio.sleep(2.0)

        assert (await processes[1].place.breakers.look("peer")).probe is None
        assert await processes[1].call(Peer()) == "ill"


async def test_opening_that_happened_alone_is_told_for_what_is_left_when_the_store_is_back() -> None:
    async with open_processes(2) as processes:
        processes[0].place.leave()
        await anyio.sleep(ROUND_S)
        processes[0].trip()
        processes[0].place.come_back()
        await anyio.sleep(2.0)

        assert states(processes) == [OPEN, OPEN]
        assert {round(process.breaker.opening().lasts_s, 1) for process in processes} == {3.0}


async def test_opening_that_happened_alone_and_is_over_is_told_as_half_open() -> None:
    async with open_processes(2) as processes:
        processes[0].place.leave()
        await anyio.sleep(ROUND_S)
        processes[0].trip()
        await anyio.sleep(10.0)
        processes[0].place.come_back()
        await anyio.sleep(2.0)

        assert states(processes) == [HALF_OPEN, HALF_OPEN]


async def test_opening_that_happened_alone_and_closed_again_is_not_told() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(2) as processes:
        processes[0].place.leave()
        await anyio.sleep(ROUND_S)
        processes[0].trip()
        await anyio.sleep(5.0)
        assert await processes[0].call(well) == "well"
        processes[0].place.come_back()
        await anyio.sleep(2.0)

        assert states(processes) == [CLOSED, CLOSED]
        assert asked(processes[0], "open") == 0


async def test_shared_opening_wins_over_a_breaker_that_stayed_closed_alone() -> None:
    async with open_processes(2) as processes:
        processes[1].place.leave()
        await anyio.sleep(ROUND_S)
        processes[0].trip()
        await anyio.sleep(1.0)
        assert states(processes) == [OPEN, CLOSED]
        processes[1].place.come_back()
        await anyio.sleep(2.0)

        assert states(processes) == [OPEN, OPEN]


async def test_emptied_store_is_told_again_by_whoever_knows_that_it_is_open() -> None:
    place = BreakerPlace()
    async with open_processes(2, place=place) as processes:
        processes[0].trip()
        await anyio.sleep(1.0)
        place.lose(*(process.place for process in processes))
        await anyio.sleep(2 * ROUND_S)

        assert states(processes) == [OPEN, OPEN]
        assert (await place.breakers.look("peer")).lasts_s == pytest.approx(5.0 - 1.0 - 2 * ROUND_S, abs=0.05)
        async with open_processes(1, place=place) as restarted:
            assert states(restarted) == [OPEN]


async def test_record_lost_alone_is_told_again() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        processes[0].trip()
        await anyio.sleep(1.0)
        place.breakers.lose()  # evicted, say: the epoch is still the same
        await anyio.sleep(2 * ROUND_S)

        assert (await place.breakers.look("peer")).state is OPEN


async def test_record_lost_while_it_is_half_open_is_told_again_as_half_open() -> None:
    place = BreakerPlace()
    async with open_processes(2, place=place) as processes:
        await half_open(processes)
        place.breakers.lose()
        assert await processes[0].call(Peer()) == "refused"  # nobody knows whose turn it is
        await anyio.sleep(ROUND_S)

        assert states(processes) == [HALF_OPEN, HALF_OPEN]
        assert await processes[0].call(Peer()) == "ill"


async def test_emptied_store_of_closed_breakers_changes_nothing() -> None:
    place = BreakerPlace()
    async with open_processes(2, place=place) as processes:
        place.lose(*(process.place for process in processes))
        await anyio.sleep(1.0)

        assert states(processes) == [CLOSED, CLOSED]
        assert processes[0].breaker.statistics().generation == 1


async def test_store_that_refuses_is_as_one_that_is_away() -> None:
    async with open_processes(2) as processes:
        for process in processes:
            process.place.refuse()
        processes[0].trip()
        await anyio.sleep(5.0)

        assert await processes[0].call(Peer()) == "ill"
        assert states(processes) == [OPEN, CLOSED]


# Operators.


@pytest.mark.parametrize("mode", [BreakerMode.FORCED_OPEN, BreakerMode.DISABLED, BreakerMode.METRICS_ONLY])
async def test_mode_of_an_operator_stays_local_and_is_not_overruled(mode: BreakerMode) -> None:
    async with open_processes(2) as processes:
        processes[1].breaker.switch_to(mode)
        processes[0].trip()
        await anyio.sleep(2 * ROUND_S)

        assert states(processes) == [OPEN, BreakerState(mode.value)]
        assert asked(processes[1], "open") == 0


async def test_mode_automatic_again_follows_what_the_others_know() -> None:
    async with open_processes(2) as processes:
        processes[1].breaker.switch_to(BreakerMode.DISABLED)
        processes[0].trip()
        await anyio.sleep(ROUND_S)
        processes[1].breaker.switch_to(BreakerMode.AUTOMATIC)
        await anyio.sleep(ROUND_S)

        assert states(processes) == [OPEN, OPEN]


async def test_close_of_the_sharing_leaves_the_breaker_to_itself() -> None:
    async with open_processes(2) as processes:
        processes[1].shared.close()
        processes[0].trip()
        await anyio.sleep(ROUND_S)
        assert states(processes) == [OPEN, CLOSED]
        processes[1].trip()
        await anyio.sleep(5.0)

        assert await processes[1].call(Peer()) == "ill"
        assert asked(processes[1], "claim", "open") == 0


# Cancellation.


async def test_cancellation_of_a_probe_at_any_moment_gives_it_back() -> None:
    at, reached = 0, True
    peer = Peer()
    peer.ill, peer.seconds = False, 1.0
    async with open_processes(2) as processes:
        for process in processes:
            process.place.latency_s = 0.01
        await half_open(processes)
        while reached:
            at += 1
            before = processes[0].breaker.statistics()
            reached = await cancel_at_checkpoint(processes[0].call(peer), at)
            await anyio.sleep(2 * ROUND_S)
            after = processes[0].breaker.statistics()

            assert (await processes[1].place.breakers.look("peer")).probe is None
            assert after.in_flight == 0
            if reached:
                assert (after.failed, after.generation) == (before.failed, before.generation)
                assert states(processes) == [HALF_OPEN] * 2
        assert states(processes) == [CLOSED] * 2

    assert at > 3


async def test_cancellation_of_a_round_at_any_moment_loses_nothing_that_is_to_be_told() -> None:
    place = BreakerPlace()
    async with open_processes(1, place=place) as processes:
        process = processes[0]
        process.place.fails_with = ValueError("only by hand")
        await anyio.sleep(ROUND_S)
        process.place.fails_with = None

        async def scenario() -> None:
            place.breakers.lose()
            process.trip()
            await process.shared.refresh(emptied=False)

        async def check() -> None:
            await process.shared.refresh(emptied=False)
            assert (await place.breakers.look("peer")).state is OPEN
            process.breaker.switch_to(BreakerMode.AUTOMATIC)

        assert await sweep_cancellation(scenario, check) > 0


async def test_deadline_that_passes_while_the_store_is_asked_says_nothing_about_the_peer() -> None:
    from holdfast.domain.deadline import Deadline  # noqa: PLC0415 - only here

    async with open_processes(1) as processes:
        process = processes[0]
        await half_open(processes)
        process.place.deaf = True
        deadline = Deadline.after(0.05, clock=VirtualClock())
        with anyio.move_on_after(0.05):
            await process.breaker.call(Peer(), deadline=deadline)

        assert process.breaker.statistics().failed == 2  # those that tripped it
        assert process.state is HALF_OPEN


async def test_probe_whose_breaker_closes_while_it_is_asked_for_is_a_call_like_any_other() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(2) as processes:
        await half_open(processes)
        assert await processes[0].call(well) == "well"
        await anyio.sleep(0.03)  # the store knows, the other process does not yet

        assert processes[1].state is HALF_OPEN
        assert await processes[1].call(well) == "well"
        assert processes[1].state is CLOSED
        assert processes[1].breaker.statistics().succeeded == 1


async def test_probe_that_the_store_finds_open_is_refused_with_the_time_left() -> None:
    async with open_processes(2) as processes:
        await half_open(processes)
        await processes[0].place.breakers.open("peer", Opening(lasts_s=7.0, earlier=1))

        with pytest.raises(BreakerOpenError) as refused:
            await processes[1].breaker.call(Peer())

        assert refused.value.retry_after_s == pytest.approx(7.0)
        assert processes[1].breaker.statistics().refused == 1


async def test_probe_granted_after_its_time_is_given_back_and_refused() -> None:
    config = BreakerConfig(failures_in_row=2, probe_calls=1, probe_successes=1, probe_timeout_s=0.05)
    async with open_processes(1, config) as processes:
        process = processes[0]
        await half_open(processes)
        process.place.latency_s = 0.1

        assert await process.call(Peer()) == "refused"

        assert process.state is OPEN
        await anyio.sleep(1.0)
        assert (await process.place.breakers.look("peer")).probe is None


async def test_probe_time_begins_when_it_is_granted() -> None:
    async def quick() -> str:
        await anyio.sleep(0.95)
        return "well"

    config = replace(CONFIG, slow_after_s=1.0, slow_ratio=0.5)
    async with open_processes(1, config) as processes:
        await half_open(processes)
        processes[0].place.latency_s = 0.1

        assert await processes[0].call(quick) == "well"

        s = processes[0].breaker.statistics()
        assert (s.succeeded, s.slow) == (1, 0)


async def test_events_of_a_process_that_adopts_are_those_of_one_that_decides() -> None:
    well = Peer()
    well.ill = False
    async with open_processes(2) as processes:
        await half_open(processes)
        await processes[0].call(well)
        await anyio.sleep(ROUND_S)

        assert [type(event) for event in processes[1].told.heard] == [BreakerOpened, BreakerHalfOpened, BreakerClosed]
