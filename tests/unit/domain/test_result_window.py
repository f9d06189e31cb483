from __future__ import annotations

import pytest

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.result_window import Cached, ResultWindow


def key(number: int) -> DeduplicationKey:
    return DeduplicationKey(digest=number.to_bytes(32))


def window_of(*, window_s: float = 300.0, max_entries: int = 100, max_bytes: int = 100) -> ResultWindow[str]:
    return ResultWindow(window_s=window_s, max_entries=max_entries, max_bytes=max_bytes, size_of=len)


def kept(window: ResultWindow[str], *numbers: int, now_s: float) -> list[bool]:
    return [window.find(key(number), now_s=now_s) is not None for number in numbers]


def test_find_of_a_kept_answer_returns_it() -> None:
    window = window_of()
    window.store(key(1), "answer", now_s=0.0)

    assert window.find(key(1), now_s=1.0) == Cached(value="answer")


def test_find_of_another_key_returns_none() -> None:
    window = window_of()
    window.store(key(1), "answer", now_s=0.0)

    assert window.find(key(2), now_s=1.0) is None


@pytest.mark.parametrize(("age_s", "found"), [(299.9, True), (300.0, False), (301.0, False)])
def test_find_depends_on_the_age_of_the_answer(age_s: float, found: bool) -> None:
    window = window_of(window_s=300.0)
    window.store(key(1), "answer", now_s=7.0)

    assert kept(window, 1, now_s=7.0 + age_s) == [found]


def test_find_of_an_expired_answer_drops_all_that_expired_with_it() -> None:
    window = window_of(window_s=10.0)
    window.store(key(1), "a", now_s=0.0)
    window.store(key(2), "bb", now_s=1.0)
    window.store(key(3), "ccc", now_s=2.0)

    window.find(key(2), now_s=11.0)

    assert (len(window), window.size_bytes, window.expired) == (1, 3, 2)


def test_store_drops_what_has_expired() -> None:
    window = window_of(window_s=10.0)
    window.store(key(1), "a", now_s=0.0)

    window.store(key(2), "bb", now_s=10.0)

    assert (len(window), window.size_bytes, window.expired, window.evicted) == (1, 2, 1, 0)


def test_store_beyond_max_entries_evicts_the_oldest_even_if_just_used() -> None:
    window = window_of(max_entries=2)
    window.store(key(1), "a", now_s=0.0)
    window.store(key(2), "b", now_s=1.0)
    window.find(key(1), now_s=2.0)

    window.store(key(3), "c", now_s=3.0)

    assert kept(window, 1, 2, 3, now_s=4.0) == [False, True, True]
    assert window.evicted == 1


def test_store_beyond_max_bytes_evicts_as_many_of_the_oldest_as_it_takes() -> None:
    window = window_of(max_bytes=10)
    for number in range(5):
        window.store(key(number), "ab", now_s=0.0)

    window.store(key(5), "abc", now_s=1.0)

    assert kept(window, 0, 1, 2, 3, 4, 5, now_s=2.0) == [False, False, True, True, True, True]
    assert (window.size_bytes, window.evicted) == (9, 2)


def test_store_of_an_answer_as_large_as_the_window_keeps_it_alone() -> None:
    window = window_of(max_bytes=10)
    window.store(key(1), "a", now_s=0.0)

    window.store(key(2), "0123456789", now_s=0.0)

    assert kept(window, 1, 2, now_s=1.0) == [False, True]


def test_store_of_an_answer_larger_than_the_window_drops_no_other() -> None:
    window = window_of(max_bytes=10)
    window.store(key(1), "a", now_s=0.0)

    window.store(key(2), "0123456789x", now_s=0.0)

    assert kept(window, 1, 2, now_s=1.0) == [True, False]
    assert (window.oversized, window.evicted) == (1, 0)


def test_store_of_answers_without_size_is_bounded_by_their_count() -> None:
    window = window_of(max_entries=3)
    for number in range(10):
        window.store(key(number), "", now_s=0.0)

    assert (len(window), window.size_bytes) == (3, 0)


def test_window_of_no_seconds_finds_nothing() -> None:
    window = window_of(window_s=0.0)
    window.store(key(1), "a", now_s=0.0)

    assert kept(window, 1, now_s=0.0) == [False]


def test_store_whose_size_cannot_be_told_changes_nothing() -> None:
    def size_of(value: str) -> int:
        raise ValueError(value)

    window = ResultWindow[str](window_s=300.0, max_entries=10, max_bytes=10, size_of=size_of)

    with pytest.raises(ValueError, match="answer"):
        window.store(key(1), "answer", now_s=0.0)
    assert (len(window), window.size_bytes, window.oversized) == (0, 0, 0)


def test_free_drops_the_oldest_answers_until_so_much_is_free() -> None:
    window = window_of()
    for number, answer in enumerate(("aaa", "bbb", "ccc")):
        window.store(key(number), answer, now_s=float(number))

    assert window.free(4, now_s=3.0) == 6
    assert kept(window, 0, 1, 2, now_s=3.0) == [False, False, True]
    assert (window.size_bytes, window.evicted, window.expired) == (3, 2, 0)


def test_free_drops_first_what_has_expired_and_counts_it_as_that() -> None:
    window = window_of(window_s=10.0)
    window.store(key(1), "aaa", now_s=0.0)
    window.store(key(2), "bbb", now_s=5.0)

    assert window.free(2, now_s=10.0) == 3
    assert (len(window), window.expired, window.evicted) == (1, 1, 0)


def test_free_of_more_than_is_kept_drops_all_and_says_how_much_it_was() -> None:
    window = window_of()
    window.store(key(1), "aaa", now_s=0.0)

    assert window.free(100, now_s=1.0) == 3
    assert (len(window), window.size_bytes) == (0, 0)


def test_free_of_nothing_drops_nothing() -> None:
    window = window_of()
    window.store(key(1), "aaa", now_s=0.0)

    assert (window.free(0, now_s=1.0), len(window)) == (0, 1)
