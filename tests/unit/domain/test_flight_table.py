from __future__ import annotations

import pytest

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.flight import Flight, InProgress, New
from holdfast.domain.flight_table import FlightTable
from holdfast.domain.result_window import Cached, ResultWindow

KEY = DeduplicationKey(digest=b"k" * 32)


def make_table(*, max_bytes: int = 1000) -> FlightTable[str]:
    return FlightTable(ResultWindow(window_s=300.0, max_entries=10, max_bytes=max_bytes, size_of=len))


def register(table: FlightTable[str], *, now_s: float = 0.0) -> Flight[str]:
    found = table.check_and_register(KEY, now_s=now_s)
    assert isinstance(found, New)
    return found.token


def test_check_of_an_unknown_key_begins_a_flight() -> None:
    table = make_table()

    register(table)

    assert (table.statistics().called, table.statistics().in_flight) == (1, 1)


def test_check_of_a_key_in_flight_joins_it() -> None:
    table = make_table()
    register(table)

    found = table.check_and_register(KEY, now_s=0.0)

    assert isinstance(found, InProgress)
    assert (table.statistics().called, table.statistics().joined, table.statistics().in_flight) == (1, 1, 1)


def test_check_of_an_answered_key_finds_the_answer() -> None:
    table = make_table()
    table.complete(register(table), "answer", now_s=0.0)

    found = table.check_and_register(KEY, now_s=1.0)

    assert found == Cached(value="answer")
    assert table.statistics().cached == 1


def test_check_after_the_window_begins_a_flight_again() -> None:
    table = make_table()
    table.complete(register(table), "answer", now_s=0.0)

    register(table, now_s=300.0)

    assert table.statistics().called == 2


def test_check_after_a_failure_begins_a_flight_again() -> None:
    table = make_table()
    table.fail(register(table), ValueError())

    register(table)

    assert (table.statistics().failed, table.statistics().entries) == (1, 0)


def test_token_settled_once_changes_nothing_when_settled_again() -> None:
    table = make_table()
    token = register(table)
    assert table.complete(token, "first", now_s=0.0)

    assert not table.complete(token, "second", now_s=0.0)
    assert not table.fail(token, ValueError())
    assert table.check_and_register(KEY, now_s=0.0) == Cached(value="first")
    assert (table.statistics().completed, table.statistics().failed) == (1, 0)


def test_token_of_an_abandoned_flight_leaves_the_next_one_alone() -> None:
    table = make_table()
    old = register(table)
    table.leave(old)
    register(table)

    assert not table.complete(old, "late", now_s=0.0)
    assert not table.fail(old, ValueError())
    table.leave(old)
    assert (table.statistics().in_flight, table.statistics().abandoned, table.statistics().entries) == (1, 1, 0)


def test_token_of_another_table_changes_nothing() -> None:
    table = make_table()
    register(table)
    foreign = register(make_table())

    assert not table.complete(foreign, "answer", now_s=0.0)
    assert table.statistics().in_flight == 1


def test_leave_of_all_but_one_waiter_keeps_the_flight() -> None:
    table = make_table()
    token = register(table)
    for _ in range(3):
        table.check_and_register(KEY, now_s=0.0)

    for _ in range(3):
        table.leave(token)

    assert (table.statistics().in_flight, table.statistics().abandoned) == (1, 0)


def test_fail_all_ends_every_flight_as_failed() -> None:
    table = make_table()
    for number in range(3):
        table.check_and_register(DeduplicationKey(digest=bytes([number])), now_s=0.0)

    table.fail_all(ValueError())

    assert (table.statistics().in_flight, table.statistics().failed) == (0, 3)


def test_complete_when_the_size_cannot_be_told_keeps_the_flight() -> None:
    def size_of(value: str) -> int:
        raise ValueError(value)

    table = FlightTable(ResultWindow[str](window_s=300.0, max_entries=10, max_bytes=10, size_of=size_of))
    token = register(table)

    with pytest.raises(ValueError, match="answer"):
        table.complete(token, "answer", now_s=0.0)
    assert table.fail(token, ValueError())


def test_statistics_of_an_oversized_answer_count_it_as_completed_and_not_kept() -> None:
    table = make_table(max_bytes=3)
    table.complete(register(table), "answer", now_s=0.0)

    statistics = table.statistics()

    assert (statistics.completed, statistics.entries, statistics.oversized) == (1, 0, 1)


def test_statistics_of_shared_requests_give_the_ratio_saved() -> None:
    table = make_table()
    token = register(table)
    table.check_and_register(KEY, now_s=0.0)
    table.complete(token, "answer", now_s=0.0)
    table.check_and_register(KEY, now_s=0.0)
    table.check_and_register(KEY, now_s=0.0)

    assert table.statistics().saved_ratio == pytest.approx(0.75)


def test_complete_with_an_answer_that_is_not_to_be_kept_ends_the_flight_and_keeps_nothing() -> None:
    table = FlightTable(
        ResultWindow[str](window_s=10.0, max_entries=9, max_bytes=99, size_of=len), keeps=lambda value: value != "b"
    )
    for answer in ("a", "b"):
        found = table.check_and_register(DeduplicationKey(digest=answer.encode()), now_s=0.0)
        assert isinstance(found, New)
        assert table.complete(found.token, answer, now_s=0.0)
        assert found.token.result() == answer

    statistics = table.statistics()
    assert (statistics.completed, statistics.entries, statistics.unkept) == (2, 1, 1)
    assert isinstance(table.check_and_register(DeduplicationKey(digest=b"b"), now_s=0.0), New)
