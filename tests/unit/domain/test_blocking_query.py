from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from holdfast.domain.blocking_query import BlockingQuery, QueryConfig
from holdfast.ports.errors import AttemptTimeoutError, ConfigurationError, StoreRefusedError, StoreUnavailableError
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

Answer = tuple[int | None, str] | Exception


class Oracle:
    """Answers what it is given, in turn, the last one again and again; a content that it has said is waited on."""

    def __init__(self, *answers: Answer, waits: bool = False) -> None:
        self._answers = answers
        self._waits = waits
        self.asked: list[tuple[float, int]] = []

    async def ask(self, index: int, wait_s: float) -> tuple[int | None, str]:
        self.asked.append((anyio.current_time(), index))
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        await anyio.sleep(wait_s if self._waits and index else 0.0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def indexes(self) -> list[int]:
        return [index for _, index in self.asked]

    def gaps_s(self) -> list[float]:
        times_s = [at_s for at_s, _ in self.asked]
        return [after - before for before, after in itertools.pairwise(times_s)]


class Notes:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def changed(self, content: str) -> None:
        self.heard.append(content)

    def lost(self, error: Exception) -> None:
        self.heard.append(type(error))

    def rejoined(self, away_s: float) -> None:
        self.heard.append(round(away_s, 6))


def unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("is away", store="test")


def query(
    oracle: Oracle,
    *,
    random: Callable[[], float] = lambda: 1.0,
    **config: Any,  # noqa: ANN401 - any field of the configuration
) -> BlockingQuery[str]:
    return BlockingQuery(oracle.ask, QueryConfig(**config), clock=VirtualClock(), random=random)


async def follow(follower: BlockingQuery[str], seconds: float) -> list[object]:
    notes = Notes()
    with anyio.move_on_after(seconds):
        await follower.follow(notes)
    return notes.heard


async def test_follow_each_content_is_told_once() -> None:
    oracle = Oracle((1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a"))

    assert await follow(query(oracle), 60) == ["a", "b", "a"]


async def test_follow_asks_with_the_index_of_the_last_answer() -> None:
    oracle = Oracle((7, "a"), (9, "b"), (9, "b"))

    await follow(query(oracle), 1.5)

    assert oracle.indexes == [0, 7, 9, 9]


async def test_follow_index_that_goes_back_is_followed_by_a_question_that_waits_for_nothing() -> None:
    oracle = Oracle((100, "a"), (5, "b"), (5, "b"), (6, "b"))
    follower = query(oracle)

    await follow(follower, 1.5)

    assert oracle.indexes == [0, 100, 0, 5]
    assert follower.statistics().reset == 1


@pytest.mark.parametrize("index", [None, 0, -5])
async def test_follow_index_that_makes_no_sense_counts_as_1_and_its_content_is_believed(index: int | None) -> None:
    oracle = Oracle((index, "a"))

    heard = await follow(query(oracle, burst=2), 0.5)

    assert heard == ["a"]
    assert oracle.indexes == [0, 1]


async def test_follow_absurd_index_that_is_refused_is_given_up() -> None:
    oracle = Oracle((10**30, "a"), StoreRefusedError("bad index", store="test"), (5, "a"))

    heard = await follow(query(oracle, max_backoff_s=2.0), 10)

    assert oracle.indexes[:3] == [0, 10**30, 0]
    assert heard == ["a", StoreRefusedError, 2.0]


@pytest.mark.parametrize(
    "answers",
    [
        [(1, "a")],
        [(index, str(index)) for index in range(1, 200)],
        [(200 - index, "a") for index in range(199)],
        [(0, "a")],
        [(None, "a")],
        [(1, "a"), unavailable()],
        [unavailable()],
        [StoreRefusedError("no", store="test")],
    ],
    ids=["at-once", "always-new", "backwards", "zero", "garbage", "lost", "never-there", "refused"],
)
async def test_follow_any_answers_ask_once_a_second_on_average(answers: list[Answer]) -> None:
    oracle = Oracle(*answers)

    await follow(query(oracle, random=lambda: 0.0, first_backoff_s=0.01, max_backoff_s=0.01), 100)

    assert 100 <= len(oracle.asked) <= 103
    assert min(oracle.gaps_s()[3:]) >= 0.99


async def test_follow_after_a_quiet_time_a_burst_is_asked_at_once() -> None:
    oracle = Oracle(*[(index, str(index)) for index in range(1, 10)])

    await follow(query(oracle, burst=3), 0.5)

    assert len(oracle.asked) == 3


async def test_follow_quiet_answers_are_waited_for() -> None:
    oracle = Oracle((1, "a"), waits=True)

    await follow(query(oracle, wait_s=60.0), 599)

    assert len(oracle.asked) == 11


async def test_follow_lost_is_told_once_and_what_was_believed_stays() -> None:
    oracle = Oracle((1, "a"), unavailable(), unavailable(), StoreRefusedError("no", store="test"), (2, "a"))

    heard = await follow(query(oracle, first_backoff_s=1.0, max_backoff_s=4.0), 60)

    assert heard == ["a", StoreUnavailableError, 1.0 + 2.0 + 4.0]


async def test_follow_change_during_the_absence_is_told_after_the_return() -> None:
    oracle = Oracle((1, "a"), unavailable(), (2, "b"))

    assert await follow(query(oracle), 60) == ["a", StoreUnavailableError, 1.0, "b"]


async def test_follow_nobody_there_from_the_start_is_told_and_so_is_the_first_answer() -> None:
    oracle = Oracle(unavailable(), (2, "a"))
    follower = query(oracle)

    with anyio.move_on_after(0.5):
        await follower.follow(Notes())

    assert not follower.statistics().joined
    assert await follow(follower, 60) == [pytest.approx(1.0, abs=0.6), "a"]
    assert follower.statistics().joined


async def test_follow_failures_back_off_to_the_longest_pause_with_jitter() -> None:
    oracle = Oracle(unavailable())
    draws: Iterator[float] = itertools.cycle([0.0, 1.0])

    await follow(query(oracle, random=lambda: next(draws), first_backoff_s=2.0, max_backoff_s=16.0), 60)

    assert oracle.gaps_s() == pytest.approx([1.0, 4.0, 4.0, 16.0, 8.0, 16.0, 8.0])


async def test_follow_success_ends_the_backing_off() -> None:
    oracle = Oracle(unavailable(), unavailable(), (1, "a"), unavailable(), (1, "a"))

    await follow(query(oracle, first_backoff_s=4.0, burst=1), 20)

    assert oracle.gaps_s()[:4] == pytest.approx([4.0, 8.0, 1.0, 4.0])


async def test_follow_refusal_is_asked_again_after_the_longest_pause_only() -> None:
    oracle = Oracle(StoreRefusedError("permission denied", store="test"))

    await follow(query(oracle, max_backoff_s=15.0), 40)

    assert oracle.gaps_s() == pytest.approx([15.0, 15.0])


async def test_follow_after_a_thousand_failures_still_waits_the_longest_pause() -> None:
    oracle = Oracle(unavailable())

    await follow(query(oracle, max_backoff_s=15.0), 20_000)

    assert oracle.gaps_s()[-1] == pytest.approx(15.0)
    assert len(oracle.asked) > 1100


async def test_follow_answer_that_does_not_come_is_given_up_after_the_wait_and_its_sixteenth() -> None:
    class Silent(Oracle):
        async def ask(self, index: int, wait_s: float) -> tuple[int | None, str]:
            self.asked.append((anyio.current_time(), index))
            await anyio.sleep_forever()
            raise AssertionError

    oracle = Silent()

    heard = await follow(query(oracle, wait_s=16.0, slack_s=2.0, first_backoff_s=1.0), 25)

    assert heard == [AttemptTimeoutError]
    assert oracle.gaps_s() == pytest.approx([16.0 * 17 / 16 + 2.0 + 1.0])


async def test_follow_bug_in_whatever_is_asked_counts_as_a_failure() -> None:
    oracle = Oracle(ZeroDivisionError(), (1, "a"))

    assert await follow(query(oracle), 60) == [ZeroDivisionError, 1.0, "a"]


async def test_follow_clock_that_is_set_back_by_an_hour_delays_nothing() -> None:
    class Shifted(VirtualClock):
        shift_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.shift_s

    clock, oracle, notes = Shifted(), Oracle((1, "a"), unavailable(), (2, "b"), (3, "c")), Notes()
    follower = BlockingQuery(oracle.ask, QueryConfig(burst=1), clock=clock, random=lambda: 1.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.follow, notes)
        await anyio.sleep(1.5)
        clock.shift_s = -3600.0
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()

    assert notes.heard == ["a", StoreUnavailableError, 0.0, "b", "c"]
    assert max(oracle.gaps_s()) < 2.5


async def test_follow_again_goes_on_from_what_was_known() -> None:
    oracle = Oracle((1, "a"))
    follower = query(oracle)
    await follow(follower, 0.5)

    assert await follow(follower, 10) == []


async def test_statistics_every_question_is_counted_once() -> None:
    oracle = Oracle((1, "a"), (1, "a"), unavailable(), (2, "b"), waits=True)
    follower = query(oracle, wait_s=10.0)

    await follow(follower, 25)
    counts = follower.statistics()

    assert (counts.changed, counts.unchanged, counts.failed) == (2, 1, 1)
    assert counts.asked == counts.changed + counts.unchanged + counts.failed + counts.cancelled
    assert counts.asking == 0


async def test_statistics_during_a_question_count_it_as_being_asked() -> None:
    follower = query(Oracle((1, "a"), waits=True), wait_s=10.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.follow, Notes())
        await anyio.sleep(5.0)
        counts = follower.statistics()
        tasks.cancel_scope.cancel()

    assert (counts.asked, counts.asking, counts.changed, counts.cancelled) == (2, 1, 1, 0)


async def test_follow_cancelled_at_every_checkpoint_counts_the_question_as_cancelled() -> None:
    followers: list[BlockingQuery[str]] = []

    async def scenario() -> None:
        followers.append(query(Oracle((1, "a"), (2, "b"), unavailable())))
        with anyio.move_on_after(5):
            await followers[-1].follow(Notes())

    async def check() -> None:
        counts = followers[-1].statistics()
        assert counts.asking == 0
        assert counts.asked == counts.changed + counts.unchanged + counts.failed + counts.cancelled
        assert counts.cancelled <= 1

    assert await sweep_cancellation(scenario, check) > 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wait_s", 0.0),
        ("slack_s", 0.0),
        ("max_per_s", 0.0),
        ("burst", 0),
        ("first_backoff_s", 0.0),
        ("max_backoff_s", float("inf")),
    ],
)
def test_config_value_out_of_its_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"query.{field}"):
        QueryConfig(**{field: value})  # type: ignore[arg-type] # one of its fields


def test_config_longest_pause_below_the_first_is_refused_with_both_named() -> None:
    with pytest.raises(ConfigurationError, match=r"query\.max_backoff_s: .* query\.first_backoff_s"):
        QueryConfig(first_backoff_s=2.0, max_backoff_s=1.0)
