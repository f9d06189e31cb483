from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.inference.http.retry_after import MAX_RETRY_AFTER_S, retry_after_s, retry_allowed

NOON = "Sat, 21 Nov 2026 12:00:00 GMT"
NOON_UNIX_S = 1795262400.0


def waited(text: str | None, *, now_unix_s: float = NOON_UNIX_S, **headers: str) -> float | None:
    given = headers | ({} if text is None else {"retry-after": text})
    return retry_after_s(given.get, now_unix_s=now_unix_s)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86_400.0),
        ("86401", MAX_RETRY_AFTER_S),
        ("999999999999999", MAX_RETRY_AFTER_S),
    ],
)
def test_retry_after_in_seconds_is_taken_up_to_a_day(text: str, seconds: float) -> None:
    assert waited(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 13:00:30 +0100", 30.0),
        ("Saturday, 21-Nov-26 12:00:30 GMT", 30.0),
        ("Sat Nov 21 12:00:30 2026", 30.0),
        (NOON, 0.0),
        ("Fri, 20 Nov 2026 12:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_S),
    ],
)
def test_retry_after_as_a_date_is_the_time_until_then_and_never_negative(text: str, seconds: float) -> None:
    assert waited(text) == seconds


@pytest.mark.parametrize("our_clock_is_ahead_by_s", [-3600.0, 0.0, 3600.0, 1e9])
def test_retry_after_as_a_date_is_compared_with_the_servers_own_clock(our_clock_is_ahead_by_s: float) -> None:
    ours_s = NOON_UNIX_S + our_clock_is_ahead_by_s

    assert waited("Sat, 21 Nov 2026 12:00:30 GMT", now_unix_s=ours_s, date=NOON) == 30.0


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "soon",
        "-1",
        "+1",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "١",
        "1,5",
        "9" * 16,
        "Sat, 99 Nov 2026 12:00:00 GMT",
        "Sat, 21 Nov 2026",
        "Sat, 21 Nov 99999999999999999999 12:00:00 GMT",
        "\x00",
        "x" * 10_000,
    ],
)
def test_retry_after_that_nobody_can_mean_is_none(text: str | None) -> None:
    assert waited(text) is None


def test_retry_after_in_milliseconds_goes_first() -> None:
    def waited_ms(text: str) -> float | None:
        return retry_after_s({"retry-after": "7", "retry-after-ms": text}.get, now_unix_s=0.0)

    assert waited_ms("250") == 0.25
    assert waited_ms("garbage") == 7.0


@given(text=st.text(max_size=200), date=st.text(max_size=60))
def test_retry_after_of_any_text_is_none_or_a_number_within_a_day(text: str, date: str) -> None:
    found = waited(text, date=date)

    assert found is None or (math.isfinite(found) and 0.0 <= found <= MAX_RETRY_AFTER_S)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [({}, True), ({"x-should-retry": "true"}, True), ({"x-should-retry": " False "}, False)],
)
def test_retry_is_allowed_unless_the_server_says_no(headers: dict[str, str], allowed: bool) -> None:
    assert retry_allowed(headers.get) is allowed
