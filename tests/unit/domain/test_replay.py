from __future__ import annotations

import sys

import pytest

from holdfast.domain.replay import ReplayCache

OPENED_MS = 1_000_000
SKEW_MS = 5_000
LIFETIME_MS = 30_000


def cache_of(max_entries: int = 100) -> ReplayCache:
    return ReplayCache(max_entries=max_entries, lifetime_ms=LIFETIME_MS, skew_ms=SKEW_MS, opened_ms=OPENED_MS)


def take(cache: ReplayCache, key: bytes, *, issued_ms: int, now_ms: int) -> bool:
    """Take a message if it is new, as its callers do."""
    is_new = cache.is_new(key, issued_ms=issued_ms, now_ms=now_ms)
    if is_new and not cache.is_full:
        cache.remember(key, issued_ms=issued_ms)
    return is_new


def test_is_new_the_same_message_again_is_not() -> None:
    cache = cache_of()
    now_ms = OPENED_MS + 60_000

    assert [take(cache, key, issued_ms=now_ms, now_ms=now_ms) for key in (b"a", b"a", b"b", b"a")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("issued_ms", "expected"),
    [(OPENED_MS - 1, False), (OPENED_MS, False), (OPENED_MS + SKEW_MS, False), (OPENED_MS + SKEW_MS + 1, True)],
)
def test_is_new_what_another_process_may_have_taken_before_the_start_is_not(issued_ms: int, expected: bool) -> None:
    assert cache_of().is_new(b"a", issued_ms=issued_ms, now_ms=OPENED_MS + 6_000) is expected


def test_is_new_after_it_has_expired_it_is_forgotten_and_still_not_new() -> None:
    cache = cache_of()
    issued_ms = OPENED_MS + 60_000
    take(cache, b"a", issued_ms=issued_ms, now_ms=issued_ms)

    for now_ms in (issued_ms + LIFETIME_MS - 1, issued_ms + LIFETIME_MS, issued_ms):
        assert not cache.is_new(b"a", issued_ms=issued_ms, now_ms=now_ms)
    assert len(cache) == 0


def test_is_new_clock_set_back_by_an_hour_finds_nothing_to_take_again_and_takes_what_is_newer() -> None:
    cache = cache_of()
    issued_ms = OPENED_MS + 7_200_000
    take(cache, b"a", issued_ms=issued_ms, now_ms=issued_ms)
    take(cache, b"b", issued_ms=issued_ms + 3_600_000, now_ms=issued_ms + 3_600_000)

    assert not cache.is_new(b"a", issued_ms=issued_ms, now_ms=issued_ms)
    assert not cache.is_new(b"b", issued_ms=issued_ms + 3_600_000, now_ms=issued_ms)
    assert cache.is_new(b"c", issued_ms=issued_ms + 1, now_ms=issued_ms + 1)


def test_is_new_clock_that_was_ahead_and_is_set_right_shuts_nobody_out() -> None:
    cache = cache_of()
    right_ms = OPENED_MS + 60_000
    take(cache, b"a", issued_ms=right_ms, now_ms=right_ms)
    cache.is_new(b"b", issued_ms=right_ms + 1, now_ms=right_ms + 3_600_000)

    assert cache.is_new(b"c", issued_ms=right_ms + 2, now_ms=right_ms + 2)


def test_is_full_refuses_rather_than_forgets_and_has_room_again_when_something_has_expired() -> None:
    cache = cache_of(max_entries=2)
    now_ms = OPENED_MS + 60_000
    for number in range(2):
        take(cache, bytes([number]), issued_ms=now_ms + number, now_ms=now_ms)

    assert cache.is_full
    assert not cache.is_new(b"\0", issued_ms=now_ms, now_ms=now_ms)
    assert cache.is_new(b"c", issued_ms=now_ms + LIFETIME_MS, now_ms=now_ms + LIFETIME_MS)
    assert not cache.is_full


def test_is_new_messages_that_come_out_of_order_are_all_taken() -> None:
    cache = cache_of()
    now_ms = OPENED_MS + 100_000
    issued = [now_ms - late for late in (0, 20_000, 5_000, 29_000)]

    assert all(take(cache, b"%d" % at, issued_ms=at, now_ms=now_ms) for at in issued)
    assert not any(take(cache, b"%d" % at, issued_ms=at, now_ms=now_ms) for at in issued)


def test_remember_a_hundred_thousand_messages_takes_bounded_memory() -> None:
    cache = cache_of(max_entries=1000)
    for number in range(100_000):
        now_ms = OPENED_MS + 60_000 + number
        take(cache, b"%032d" % number, issued_ms=now_ms, now_ms=now_ms)

    assert len(cache) == 1000
    assert sys.getsizeof(cache._by_age) < 20_000  # it is what grows, and no statistic tells its size
