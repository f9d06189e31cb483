from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.inference.http.server_sent_events import EventReader, OversizedEventError

STREAM = (
    b"\xef\xbb\xbfevent: greeting\r\ndata: na\xc3\xafve \xf0\x9f\x99\x82\r\n\r\n"
    b": a comment\n"
    b"data: first line\rdata:second line\r\r"
    b"id: 7\nretry: 10\ndata\n\n"
    b"event: nothing\n\n"
    b"data: last\n\n"
    b"data: never ended\n"
)
EVENTS = ["naïve 🙂", "first line\nsecond line", "", "last"]


def read(*parts: bytes, max_bytes: int = 1000) -> list[str]:
    reader = EventReader(max_bytes=max_bytes)
    return [event for part in parts for event in reader.feed(part)]


def test_feed_a_whole_stream_gives_its_events_and_not_the_one_that_has_not_ended() -> None:
    assert read(STREAM) == EVENTS


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_feed_a_stream_cut_at_any_byte_gives_the_same_events(at: int) -> None:
    assert read(STREAM[:at], STREAM[at:]) == EVENTS


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7])
def test_feed_a_stream_in_small_steps_gives_the_same_events(step: int) -> None:
    assert read(*(STREAM[at : at + step] for at in range(0, len(STREAM), step))) == EVENTS


@given(
    lines=st.lists(
        st.sampled_from([b"data: a", b"data:", b"", b"event: e", b": c", b"data: \xff\xc3", b"nonsense", b"data: : b"]),
        max_size=12,
    ),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=12, max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_feed_any_stream_cut_anywhere_gives_the_same_events(
    lines: list[bytes], ends: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    places = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})

    parts = [stream[begin:end] for begin, end in itertools.pairwise(places)]

    assert read(*parts) == read(stream)


def test_feed_an_empty_part_between_carriage_return_and_newline_changes_nothing() -> None:
    assert read(b"data: a\r", b"", b"\n\r\n") == ["a"]


def test_feed_bytes_that_are_no_utf8_are_replaced() -> None:
    assert read(b"data: \xff\n\n") == ["\N{REPLACEMENT CHARACTER}"]


def test_feed_a_line_as_long_as_it_may_be_passes_and_one_byte_more_is_refused() -> None:
    assert len(read(b"data:" + b"x" * 15 + b"\n\n", max_bytes=20)) == 1
    with pytest.raises(OversizedEventError, match="more than 20 bytes"):
        read(b"data:" + b"x" * 16 + b"\n\n", max_bytes=20)


def test_feed_a_line_without_an_end_is_refused_before_it_is_held() -> None:
    reader = EventReader(max_bytes=20)
    reader.feed(b"x" * 20)

    with pytest.raises(OversizedEventError):
        reader.feed(b"x")


@pytest.mark.parametrize("parts", [(b"\xef\xbb\xbfdata: a\n\n",), (b"\xef\xbb", b"\xbfdata", b": a\n\n")])
def test_feed_a_byte_order_mark_is_left_out_at_the_beginning_and_nowhere_else(parts: tuple[bytes, ...]) -> None:
    assert read(*parts, b"\xef\xbb\xbfdata: b\n\ndata: c\n\n") == ["a", "c"]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_feed_nothing_but_newlines_and_carriage_returns_ends_a_line(separator: str) -> None:
    assert read(f"data: a{separator}b\n\n".encode()) == [f"a{separator}b"]


def test_feed_an_event_of_too_many_short_lines_is_refused() -> None:
    with pytest.raises(OversizedEventError):
        read(b"data: 12345\n" * 4, max_bytes=20)


def test_feed_events_that_fit_one_by_one_are_not_added_up() -> None:
    assert len(read(b"data: 12345\n\n" * 100, max_bytes=20)) == 100
