"""One call for all processes that are asked the same, in virtual time over a store in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.domain.answer_codec import write_answer, write_unshared
from holdfast.domain.shared_answers import SharedAnswersConfig
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won
from holdfast.ports.errors import BackendUnavailableError, BackpressureError, ClosedError, ConfigurationError
from holdfast.ports.events import ClaimFenced, ClaimTakenOver, SharedAnswerTaken, SharedAnswerUnreadable
from holdfast.ports.service import Disposition, Reply
from holdfast.testing import VirtualClock
from tests.fakes.answers import CONFIG, KEY, OTHER, Calls, Process, assert_adds_up, open_process, reply

pytestmark = pytest.mark.anyio

DIGEST = KEY.digest.hex()


def meeting() -> MemoryAnswers:
    return MemoryAnswers(clock=VirtualClock())


@asynccontextmanager
async def processes(count: int, *, window_s: float = 300.0) -> AsyncGenerator[list[Process]]:
    store = meeting()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_process(store, window_s=window_s)) for _ in range(count)]


class Ended:
    """Runs a call in each process, and keeps how each ended, and when."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.errors: list[Exception] = []
        self.at_s: list[float] = []
        self.began_s = anyio.current_time()

    async def run(self, process: Process, calls: Calls, after_s: float = 0.0) -> None:
        await anyio.sleep(after_s)
        try:
            self.replies.append(await process.run(calls))
        except Exception as error:  # noqa: BLE001 - what a test looks at
            self.errors.append(error)
        self.at_s.append(anyio.current_time() - self.began_s)

    async def run_all(self, them: list[Process], calls: Calls) -> None:
        async with anyio.create_task_group() as tasks:
            for process in them:
                tasks.start_soon(self.run, process, calls)

    @property
    def dispositions(self) -> list[Disposition]:
        return sorted(ended.disposition for ended in self.replies)


async def test_run_alone_calls_and_tells_the_store() -> None:
    calls, store = Calls(), meeting()
    async with open_process(store) as process:
        answer = await process.run(calls)

    assert (answer, calls.begun) == (reply(attempts=1), 1)
    assert (process.counted.asked, process.counted.led, process.counted.told) == (1, 1, 1)
    found = await store.claim(AnswerClaim(key=KEY.digest, claimant="x", lease_s=1.0))
    assert isinstance(found, Told)
    assert found.outcome == write_answer(KEY, answer)
    assert process.told.heard == []


async def test_run_in_eight_processes_at_once_calls_once_and_all_get_the_answer() -> None:
    calls, ended = Calls(seconds=3.0), Ended()
    async with processes(8) as them:
        await ended.run_all(them, calls)

        assert calls.begun == 1
        assert ended.replies == [replace(reply(), disposition=each.disposition) for each in ended.replies]
        assert ended.dispositions == [Disposition.CALLED] + [Disposition.JOINED] * 7
        assert [process.counted.led for process in them].count(1) == 1
        assert sum(process.counted.joined for process in them) == 7
        assert (
            sum(
                process.told.heard == [SharedAnswerTaken(key=DIGEST, disposition=Disposition.JOINED)]
                for process in them
            )
            == 7
        )


async def test_run_that_waits_hears_of_the_answer_within_the_longest_pause() -> None:
    ended = Ended()
    async with processes(2) as them:
        await ended.run_all(them, Calls(seconds=3.0))

    assert min(ended.at_s) == pytest.approx(3.0)
    assert max(ended.at_s) <= 3.0 + CONFIG.max_poll_s


async def test_run_that_waits_asks_at_growing_pauses() -> None:
    async with processes(2) as (leader, other):
        await Ended().run_all([leader, other], Calls(seconds=10.0))

        asked = max(process.place.asked.count("claim") for process in (leader, other))
        assert 10.0 / CONFIG.max_poll_s <= asked <= 10.0 / CONFIG.max_poll_s + 5


async def test_run_within_the_window_finds_the_answer_and_calls_nothing() -> None:
    calls = Calls()
    async with processes(2, window_s=10.0) as (first, second):
        await first.run(calls)
        await anyio.sleep(9.9)
        found = await second.run(calls)

    assert (found, calls.begun) == (reply(disposition=Disposition.CACHED), 1)
    assert (second.counted.found, second.counted.led) == (1, 0)
    assert second.told.heard == [SharedAnswerTaken(key=DIGEST, disposition=Disposition.CACHED)]


async def test_run_after_the_window_calls_again() -> None:
    calls = Calls()
    async with processes(2, window_s=10.0) as (first, second):
        await first.run(calls)
        await anyio.sleep(10.1)
        await second.run(calls)

    assert calls.begun == 2


async def test_run_without_a_window_shares_with_those_who_wait_only() -> None:
    calls, ended = Calls(), Ended()
    async with processes(3, window_s=0.0) as them:
        await ended.run_all(them[:2], calls)
        assert (calls.begun, len(ended.replies)) == (1, 2)

        assert (await them[2].run(calls)).disposition is Disposition.CALLED
    assert calls.begun == 2


async def test_run_of_another_key_has_nothing_to_do_with_it() -> None:
    calls = Calls()
    async with processes(2) as (first, second):
        await first.run(calls)
        await second.run(calls, OTHER)

    assert calls.begun == 2


async def test_failure_of_the_backend_is_told_to_those_who_wait_and_starts_no_herd() -> None:
    calls, ended = Calls(error=BackendUnavailableError("is down", backend="a")), Ended()
    async with processes(8) as them:
        await ended.run_all(them, calls)

        assert calls.begun == 1
        assert {(type(error), str(error)) for error in ended.errors} == {
            (BackendUnavailableError, "backend 'a': is down")
        }
        assert len(set(map(id, ended.errors))) == 8
        assert sum(process.counted.failed for process in them) == 7


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_failure_that_was_told_leaves_no_cycle_behind() -> None:
    calls, refs = Calls(error=BackendUnavailableError("is down", backend="a")), list[weakref.ref[Exception]]()
    async with processes(2) as (leader, other), anyio.create_task_group() as tasks:
        tasks.start_soon(Ended().run, leader, calls)
        await anyio.wait_all_tasks_blocked()
        try:
            await other.run(calls)
        except BackendUnavailableError as error:
            refs.append(weakref.ref(error))
        await anyio.wait_all_tasks_blocked()

        assert [ref() for ref in refs] == [None]


async def test_failure_is_not_kept_for_those_who_ask_later() -> None:
    calls = Calls(error=BackendUnavailableError("is down", backend="a"))
    async with processes(2) as (first, second):
        with pytest.raises(BackendUnavailableError):
            await first.run(calls)
        calls.error = None
        await anyio.wait_all_tasks_blocked()

        assert (await second.run(calls)).disposition is Disposition.CALLED


async def test_failure_is_not_told_again_to_the_process_that_it_happened_in() -> None:
    calls = Calls(error=BackendUnavailableError("is down", backend="a"))
    async with open_process() as process:
        for _ in range(3):  # at once, while the store is still being told
            with pytest.raises(BackendUnavailableError):
                await process.run(calls)

    assert (calls.begun, process.counted.failed) == (3, 0)


async def test_second_call_of_a_process_that_wins_before_the_first_has_heard_is_waited_for_by_a_third() -> None:
    class Late(MemoryAnswers):
        async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
            heard = await super().claim(claim)
            await anyio.sleep(0.02)
            return heard

        async def release(self, key: bytes, *, claimant: str) -> None:
            await super().release(key, claimant=claimant)
            await anyio.sleep(0.2)  # the answer is on its way, and the key is free

    failing, calls, ended = Calls(seconds=0.5, error=ClosedError("the process")), Calls(seconds=2.0), Ended()
    config = replace(CONFIG, max_poll_s=CONFIG.poll_s)
    async with open_process(Late(clock=VirtualClock()), config) as process, anyio.create_task_group() as tasks:
        tasks.start_soon(ended.run, process, failing)
        tasks.start_soon(ended.run, process, calls, 0.01)
        await anyio.sleep(1.5)
        asked = process.place.asked.count("claim")
        tasks.start_soon(ended.run, process, calls)
        await anyio.sleep(0.5)

        assert (failing.begun, calls.running, process.counted.holding) == (1, 1, 1)
        assert process.place.asked.count("claim") == asked
        await anyio.sleep(2.0)
        assert ended.dispositions == [Disposition.CACHED, Disposition.CALLED]


async def test_failure_of_the_process_itself_is_not_told_and_the_others_try_one_at_a_time() -> None:
    full = BackpressureError(depth=1, capacity=1, retry_after_s=None, reason="full")
    calls, ended = Calls(error=full), Ended()
    async with processes(4) as them:
        await ended.run_all(them, calls)
        await anyio.wait_all_tasks_blocked()

        assert [type(error) for error in ended.errors] == [BackpressureError] * 4
        assert (calls.begun, calls.most_running) == (4, 1)
        assert [process.counted.released for process in them] == [1] * 4


async def test_leader_cancelled_gives_up_at_once_and_one_other_takes_over() -> None:
    calls, ended = Calls(seconds=3.0), Ended()
    async with processes(4) as them, anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def lead() -> None:
            with scope:
                await them[0].run(calls)

        tasks.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        for process in them[1:]:
            tasks.start_soon(ended.run, process, calls)
        await anyio.sleep(1.0)
        scope.cancel()
        await anyio.sleep(10.0)

        assert (calls.begun, calls.cancelled, calls.most_running) == (2, 1, 1)
        assert len(ended.replies) == 3
        assert max(ended.at_s) <= 1.0 + 3.0 + 2 * CONFIG.max_poll_s + 0.01
        assert (them[0].counted.released, sum(process.counted.taken_over for process in them)) == (1, 1)
        (taken,) = (event for process in them for event in process.told.heard if isinstance(event, ClaimTakenOver))
        assert taken.key == DIGEST
        assert 1.0 <= taken.waited_s <= 1.0 + CONFIG.max_poll_s


async def test_leader_that_died_is_taken_over_from_by_one_when_its_lease_is_over() -> None:
    calls, ended, store = Calls(), Ended(), meeting()
    dead = await store.claim(AnswerClaim(key=KEY.digest, claimant="dead", lease_s=CONFIG.lease_s))
    assert isinstance(dead, Won)
    async with AsyncExitStack() as stack:
        them = [await stack.enter_async_context(open_process(store)) for _ in range(4)]
        await ended.run_all(them, calls)

        assert (calls.begun, len(ended.replies)) == (1, 4)
        assert ended.at_s == [pytest.approx(CONFIG.lease_s + 1.0, abs=2 * CONFIG.max_poll_s)] * 4


async def test_lease_that_is_over_between_two_questions_is_taken_over_at_its_end() -> None:
    store, ended = meeting(), Ended()
    await store.claim(AnswerClaim(key=KEY.digest, claimant="dead", lease_s=1.0))
    async with open_process(store) as process:
        await ended.run(process, Calls(seconds=0.5))

    assert ended.at_s == [pytest.approx(1.5, abs=0.01)]


async def test_leader_extends_its_lease_for_as_long_as_it_calls() -> None:
    calls, ended = Calls(seconds=20 * CONFIG.lease_s), Ended()
    async with processes(3) as them:
        await ended.run_all(them, calls)

        assert (calls.begun, len(ended.replies)) == (1, 3)
        extended = sum(process.place.asked.count("extend") for process in them)
        assert extended == pytest.approx(60, abs=1)


async def test_leader_that_was_stopped_is_fenced_off_and_its_own_caller_has_the_answer() -> None:
    slow, quick, ended = Calls(seconds=10.0, text="late"), Calls(seconds=2.0, text="in time"), Ended()
    async with processes(3) as (leader, other, third), anyio.create_task_group() as tasks:
        tasks.start_soon(ended.run, leader, slow)
        await anyio.wait_all_tasks_blocked()
        leader.place.deaf = True  # as if its process had been stopped
        tasks.start_soon(ended.run, other, quick)
        await anyio.sleep(9.0)
        leader.place.deaf = False
        await anyio.sleep(5.0)

        assert [each.text for each in ended.replies] == ["in time", "late"]
        assert (await third.run(quick)).text == "in time"
        assert (slow.begun, quick.begun) == (1, 1)


async def test_leader_that_finds_its_claim_lost_while_it_calls_lets_go_and_says_so() -> None:
    calls = Calls(seconds=10.0)
    async with open_process() as process, anyio.create_task_group() as tasks:
        ended = Ended()
        tasks.start_soon(ended.run, process, calls)
        await anyio.wait_all_tasks_blocked()
        process.place.answers = meeting()  # the store was emptied
        await anyio.sleep(11.0)

        assert (ended.replies, process.counted.fenced, process.counted.told) == ([reply()], 1, 0)
        assert process.told.heard == [ClaimFenced(key=DIGEST)]
        assert process.place.asked.count("extend") == 1
        assert "settle" not in process.place.asked


async def test_leader_that_finds_its_claim_lost_when_it_is_done_says_so() -> None:
    async with open_process() as process, anyio.create_task_group() as tasks:
        tasks.start_soon(process.run, Calls(seconds=1.0))  # before the lease has to be extended
        await anyio.wait_all_tasks_blocked()
        process.place.answers = meeting()
        await anyio.sleep(1.1)

        assert (process.counted.fenced, process.place.asked.count("settle")) == (1, 1)
        assert process.told.heard == [ClaimFenced(key=DIGEST)]


async def test_process_whose_events_nobody_hears_does_the_same() -> None:
    store, calls, ended = meeting(), Calls(seconds=1.0), Ended()
    won = await store.claim(AnswerClaim(key=KEY.digest, claimant="odd", lease_s=1.0))
    assert isinstance(won, Won)
    await store.settle(KEY.digest, token=won.token, outcome=b"?", keep_s=300.0, tell_s=300.0)
    async with AsyncExitStack() as stack:
        them = [await stack.enter_async_context(open_process(store, heard=False)) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for process in them:
                tasks.start_soon(ended.run, process, calls)
            await anyio.sleep(0.5)
            emptied = meeting()
            for process in them:
                process.place.answers = emptied
            await anyio.sleep(3.0)

        assert len(ended.replies) == 2
        assert sum(process.counted.fenced + process.counted.taken_over for process in them) == 2
        assert [process.counted.unreadable for process in them] == [1, 1]
        assert (await them[0].run(calls)).disposition is Disposition.CACHED
        assert [process.told.heard for process in them] == [[], []]


async def test_caller_of_the_leader_does_not_wait_until_the_store_was_told() -> None:
    async with open_process() as process:
        began_s = anyio.current_time()

        async def call() -> Reply:
            await anyio.sleep(1.0)
            process.place.deaf = True
            return reply()

        await process.run(call)

        assert anyio.current_time() - began_s == pytest.approx(1.0)
        assert process.counted.holding == 1
        await anyio.sleep(1.0)
        assert process.counted.unsaid == 1


async def test_store_away_from_the_start_is_not_asked_and_everyone_calls_for_himself() -> None:
    calls, ended = Calls(), Ended()
    async with AsyncExitStack() as stack:
        them = [await stack.enter_async_context(open_process(joined=False)) for _ in range(3)]
        await ended.run_all(them, calls)

        assert (calls.begun, ended.dispositions) == (3, [Disposition.CALLED] * 3)
        assert ["claim" in process.place.asked for process in them] == [False] * 3
        assert [process.counted.alone for process in them] == [1] * 3


async def test_store_lost_while_some_wait_lets_each_go_on_alone_without_an_error() -> None:
    calls, ended = Calls(seconds=4.0), Ended()
    async with processes(3) as them, anyio.create_task_group() as tasks:
        for process in them:
            tasks.start_soon(ended.run, process, calls)
        await anyio.sleep(2.0)
        for process in them:
            process.place.failing = True
        await anyio.sleep(8.0)

        assert (calls.begun, ended.errors, ended.dispositions) == (3, [], [Disposition.CALLED] * 3)
        assert max(ended.at_s) <= 2.0 + CONFIG.max_poll_s + 4.0
        assert sum(process.counted.unsaid for process in them) == 1


async def test_store_that_does_not_answer_a_claim_is_waited_for_no_longer_than_the_timeout() -> None:
    ended = Ended()
    async with open_process() as process:
        process.place.deaf = True
        await ended.run(process, Calls(seconds=1.0))

        assert ended.at_s == [pytest.approx(CONFIG.claim_timeout_s + 1.0)]
        assert not process.link.is_joined


async def test_claim_whose_answer_was_lost_holds_the_others_up_for_no_longer_than_a_lease() -> None:
    calls, ended = Calls(seconds=1.0), Ended()
    async with processes(2) as (first, second), anyio.create_task_group() as tasks:
        first.place.mute = True
        tasks.start_soon(ended.run, first, calls)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ended.run, second, calls)
        await anyio.sleep(20.0)

        assert (calls.begun, len(ended.replies)) == (2, 2)
        assert max(ended.at_s) <= CONFIG.lease_s + 1.0 + 2 * CONFIG.max_poll_s


async def test_caller_cancelled_before_it_hears_that_it_has_won_gives_the_key_up() -> None:
    calls, ended = Calls(seconds=1.0), Ended()
    async with processes(2) as (first, second):
        first.place.mute = True
        with anyio.move_on_after(0.1):
            await first.run(calls)
        first.place.mute = False
        await ended.run(second, calls)

        assert (calls.begun, first.counted.left) == (1, 1)
        assert max(ended.at_s) <= 0.1 + 1.0 + CONFIG.max_poll_s


async def test_caller_cancelled_while_it_waits_leaves_the_leader_alone() -> None:
    calls, ended = Calls(seconds=3.0), Ended()
    async with processes(2) as (leader, other), anyio.create_task_group() as tasks:
        tasks.start_soon(ended.run, leader, calls)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(1.0):
            await other.run(calls)
        await anyio.sleep(3.0)

        assert (calls.begun, calls.cancelled, other.counted.left, leader.counted.told) == (1, 0, 1, 1)


async def test_answer_too_large_to_be_shared_lets_each_call_for_himself() -> None:
    calls, ended = Calls(text="x" * CONFIG.max_answer_bytes), Ended()
    async with processes(3) as them:
        await ended.run_all(them, calls)

        assert (calls.begun, ended.dispositions) == (3, [Disposition.CALLED] * 3)
        assert sum(process.counted.unshared for process in them) == 1
        assert sum(process.counted.alone for process in them) == 2
        assert max(ended.at_s) <= 2.0 + CONFIG.max_poll_s


async def test_answer_too_large_to_be_shared_keeps_nobody_from_sharing_the_next_one() -> None:
    calls = Calls(text="x" * CONFIG.max_answer_bytes)
    async with processes(2) as (first, second):
        await first.run(calls)
        await anyio.wait_all_tasks_blocked()
        calls.text = "short"

        assert (await second.run(calls)).disposition is Disposition.CALLED
        await anyio.wait_all_tasks_blocked()
        assert (await first.run(calls)).disposition is Disposition.CACHED


async def test_answer_with_half_of_a_surrogate_pair_reaches_its_caller_and_is_not_shared() -> None:
    calls = Calls(text="\ud83d")
    async with processes(2) as (first, second):
        assert (await first.run(calls)).text == "\ud83d"
        assert (await second.run(calls)).disposition is Disposition.CALLED

        assert (first.counted.unshared, first.counted.told) == (1, 1)


@pytest.mark.parametrize(
    "outcome",
    [
        b"",
        b"\x80\x04\x95pickle",
        write_answer(OTHER, reply("of another key")),
        write_answer(KEY, reply()).replace(b"outcome.1", b"outcome.2"),
        write_answer(KEY, reply()).replace(b"42", b"43"),
        write_answer(KEY, reply())[:-1],
        write_answer(KEY, reply("x" * CONFIG.max_answer_bytes)),
    ],
    ids=["empty", "foreign", "other key", "newer", "changed", "cut", "too large"],
)
async def test_outcome_that_cannot_be_read_counts_as_not_there_and_is_replaced_by_one(outcome: bytes) -> None:
    store, calls, ended = meeting(), Calls(), Ended()
    won = await store.claim(AnswerClaim(key=KEY.digest, claimant="odd", lease_s=1.0))
    assert isinstance(won, Won)
    await store.settle(KEY.digest, token=won.token, outcome=outcome, keep_s=300.0, tell_s=300.0)
    async with AsyncExitStack() as stack:
        them = [await stack.enter_async_context(open_process(store)) for _ in range(3)]
        await ended.run_all(them, calls)

        assert (calls.begun, {each.text for each in ended.replies}) == (1, {"42"})
        assert [process.counted.unreadable for process in them] == [1] * 3
        assert all(SharedAnswerUnreadable(key=DIGEST) in process.told.heard for process in them)
        assert (await them[0].run(calls)).disposition is Disposition.CACHED


async def test_store_that_tells_nothing_readable_at_all_is_asked_twice_and_then_left() -> None:
    class Liar(MemoryAnswers):
        async def claim(self, claim: AnswerClaim) -> Told:
            return Told(token=1, outcome=b"?")

    calls = Calls()
    async with open_process(Liar(clock=VirtualClock())) as process:
        assert (await process.run(calls)).disposition is Disposition.CALLED

        assert (process.counted.alone, process.counted.unreadable) == (1, 2)


async def test_outcome_that_says_that_nothing_is_shared_lets_the_caller_call_for_himself() -> None:
    class Marked(MemoryAnswers):
        async def claim(self, claim: AnswerClaim) -> Told:
            return Told(token=1, outcome=write_unshared(KEY))

    async with open_process(Marked(clock=VirtualClock())) as process:
        await process.run(Calls())

        assert (process.counted.alone, process.counted.unreadable) == (1, 0)


async def test_close_while_a_call_is_held_gives_the_key_up_for_no_longer_than_the_timeout() -> None:
    store, calls, ended = meeting(), Calls(seconds=60.0), Ended()
    async with anyio.create_task_group() as tasks, open_process(store) as process:
        tasks.start_soon(process.run, calls)
        await anyio.sleep(1.0)
        tasks.cancel_scope.cancel()

    async with open_process(store) as other:
        await ended.run(other, Calls(seconds=0.5))

    assert process.counted.released == 1
    assert ended.at_s == [pytest.approx(1.5)]


async def test_close_while_the_store_hangs_takes_no_longer_than_the_timeout() -> None:
    began_s = anyio.current_time()
    async with open_process() as process:
        await process.run(Calls(seconds=1.0))
        process.place.deaf = True

    assert anyio.current_time() - began_s <= 1.0 + CONFIG.claim_timeout_s
    assert_adds_up(process.counted)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"claim_timeout_s": 0.0}, "shared.answers.claim_timeout_s"),
        ({"poll_s": 0.0}, "shared.answers.poll_s"),
        ({"max_poll_s": 0.01}, "shared.answers.max_poll_s"),
        ({"lease_s": 0.2, "claim_timeout_s": 0.01}, "shared.answers.lease_s"),
        ({"lease_s": 0.7}, "shared.answers.lease_s"),
        ({"max_answer_bytes": 16_383}, "shared.answers.max_answer_bytes"),
    ],
)
def test_config_out_of_range_or_contradictory_is_refused(fields: dict[str, float], path: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SharedAnswersConfig(**fields)  # type: ignore[arg-type] # a count among them

    assert refused.value.path == path
