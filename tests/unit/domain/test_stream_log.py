from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from holdfast.domain.stream_log import StreamLog

pytestmark = pytest.mark.anyio


def log_of(*pieces: str, max_ahead_bytes: int = 100) -> StreamLog:
    log = StreamLog(max_ahead_bytes=max_ahead_bytes)
    for piece in pieces:
        assert log.try_append(piece)
    return log


def test_read_from_the_beginning_gives_everything_as_one_piece() -> None:
    assert log_of("a", "", "bc").read(0) == ("abc", 3)


def test_read_from_where_the_last_one_ended_gives_what_came_since() -> None:
    log = log_of("ab")
    _, position = log.read(0)
    log.try_append("c")

    assert log.read(position) == ("c", 3)


def test_read_with_nothing_new_gives_nothing() -> None:
    assert log_of("ab").read(2) == ("", 2)


@pytest.mark.parametrize("pieces", [("ä", "€", "😀"), ("\ud83d", "\ude00"), ("\x00", "\n")])
def test_read_text_of_any_width_comes_back_as_it_was(pieces: tuple[str, ...]) -> None:
    log = log_of(*pieces)

    assert log.read(0)[0] == log.text() == "".join(pieces)


def test_size_is_that_of_utf_8() -> None:
    assert log_of("ä", "€", "😀").size_bytes == 2 + 3 + 4


def test_read_of_a_long_text_gives_as_much_at_once_as_may_be_ahead() -> None:
    log = log_of("abcdefgh", max_ahead_bytes=3)

    assert [log.read(position) for position in (0, 3, 6, 8)] == [("abc", 3), ("def", 6), ("gh", 8), ("", 8)]


def test_read_gives_no_more_than_1_kib_at_once_however_far_ahead_the_text_may_be() -> None:
    log = StreamLog(max_ahead_bytes=24 * 1024)
    log.try_append("x" * 20_000)

    piece, position = log.read(0)

    assert (len(piece), position) == (1024, 1024)


@pytest.mark.parametrize("piece_chars", [1, 300, 341, 1024, 5000])
@pytest.mark.parametrize("letter", ["x", "ä", "€", "😀", "\ud83d"])
def test_read_of_many_blocks_gives_the_text_whole_from_wherever_it_begins(letter: str, piece_chars: int) -> None:
    piece = letter * piece_chars
    text = piece * (5000 // piece_chars)
    log = log_of(*[piece] * (5000 // piece_chars), max_ahead_bytes=100_000)
    positions, heard = [0], ""

    while (read := log.read(positions[-1]))[0]:
        heard += read[0]
        positions.append(read[1])
    again = log.read(positions[1])[0]

    assert heard == log.text() == text
    assert positions[-1] == log.size_bytes
    assert text[len(log.read(0)[0]) :].startswith(again)


def test_read_never_ends_in_the_middle_of_a_letter() -> None:
    log = log_of("a😀b", max_ahead_bytes=2)

    assert [log.read(position) for position in (0, 5)] == [("a😀", 5), ("b", 6)]


def test_append_up_to_the_bound_beyond_what_was_read() -> None:
    log = log_of("abcd", max_ahead_bytes=10)

    assert not log.try_append("efghijk")
    assert log.try_append("efghij")


def test_append_counts_in_utf_8() -> None:
    log = log_of("abcd", max_ahead_bytes=6)

    assert not log.try_append("€")
    assert log.try_append("ä")


def test_append_counts_from_what_the_foremost_reader_has_read() -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    log.read(0)
    log.try_append("efgh")
    log.read(4)

    log.read(0)

    assert log.try_append("ijkl")


def test_append_of_a_piece_larger_than_the_bound_waits_until_all_has_been_read() -> None:
    log = log_of("a", max_ahead_bytes=4)
    early = log.try_append("x" * 1000)
    log.read(0)

    assert not early
    assert log.try_append("x" * 1000)


def test_append_has_room_while_somebody_waits_for_the_end() -> None:
    log = log_of("abcd", max_ahead_bytes=4)

    log.hurry()
    hurried = log.try_append("efgh")
    log.unhurry()

    assert hurried
    assert not log.try_append("i")


def test_text_is_delivered_once_its_reader_has_asked_for_what_follows_the_last_of_it() -> None:
    log = log_of("abc")
    _, position = log.read(0)
    read = log.is_delivered

    log.read(position)
    asked_for_more = log.is_delivered
    log.try_append("d")

    assert (read, asked_for_more, log.is_delivered) == (False, True, False)


def test_text_is_delivered_to_whoever_waits_for_the_end_alone() -> None:
    log = log_of("abc")

    log.hurry()
    hurried = log.is_delivered
    log.unhurry()

    assert (hurried, log.is_delivered) == (True, False)


def test_text_of_nothing_is_delivered() -> None:
    assert log_of().is_delivered


def test_append_after_the_end_changes_nothing() -> None:
    log = log_of("a")
    log.end()

    assert not log.try_append("b")
    assert (log.text(), log.has_ended) == ("a", True)


def test_end_is_told_once() -> None:
    told: list[StreamLog] = []
    log = StreamLog(max_ahead_bytes=1, on_end=told.append)

    log.end()
    log.end()

    assert told == [log]


async def test_wait_grown_wakes_everyone_who_waits_at_every_piece_and_at_the_end() -> None:
    log = log_of()
    woken: list[str] = []

    async def follow() -> None:
        while not log.has_ended:
            await log.wait_grown()
            woken.append(log.text())

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        log.try_append("a")
        await anyio.wait_all_tasks_blocked()
        log.try_append("")
        await anyio.wait_all_tasks_blocked()
        log.end()

    assert woken == ["a", "a", "a", "a"]


@pytest.mark.parametrize(
    "wake", [lambda log: log.read(0), StreamLog.hurry, StreamLog.end], ids=["read", "hurry", "end"]
)
async def test_wait_roomier_wakes_when_there_may_be_room(wake: Callable[[StreamLog], object]) -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    woken: list[bool] = []

    async def write() -> None:
        await log.wait_roomier()
        woken.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        wake(log)

    assert woken == [True]


async def test_wait_roomier_is_not_woken_by_a_reader_who_is_behind_the_foremost() -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    log.read(0)

    with anyio.move_on_after(10.0) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.wait_roomier)
            await anyio.wait_all_tasks_blocked()
            log.read(2)

    assert scope.cancelled_caught


async def test_wait_roomier_that_was_cut_short_can_be_made_again() -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    with anyio.move_on_after(1.0):
        await log.wait_roomier()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.wait_roomier)
        await anyio.wait_all_tasks_blocked()
        log.read(0)

    assert log.try_append("e")
