from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from holdfast.domain.stream_log import StreamLog

pytestmark = pytest.mark.anyio


def log_of(*pieces: str, max_ahead_bytes: int = 100) -> StreamLog:
    log = StreamLog(max_ahead_bytes=max_ahead_bytes)
    for piece in pieces:
        log.append(piece)
    return log


def test_read_from_the_beginning_gives_everything_as_one_piece() -> None:
    assert log_of("a", "", "bc").read(0) == ("abc", 3)


def test_read_from_where_the_last_one_ended_gives_what_came_since() -> None:
    log = log_of("ab")
    _, position = log.read(0)
    log.append("c")

    assert log.read(position) == ("c", 3)


def test_read_with_nothing_new_gives_nothing() -> None:
    assert log_of("ab").read(2) == ("", 2)


@pytest.mark.parametrize("pieces", [("ä", "€", "😀"), ("\ud83d", "\ude00"), ("\x00", "\n")])
def test_read_text_of_any_width_comes_back_as_it_was(pieces: tuple[str, ...]) -> None:
    log = log_of(*pieces)

    assert log.read(0)[0] == log.text() == "".join(pieces)


def test_size_is_that_of_utf_8() -> None:
    assert log_of("ä", "€", "😀").size_bytes == 2 + 3 + 4


def test_has_room_up_to_the_bound_beyond_what_was_read() -> None:
    log = log_of("abcd", max_ahead_bytes=10)

    assert log.has_room(6)
    assert not log.has_room(7)


def test_has_room_counts_from_what_the_foremost_reader_has_read() -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    log.read(0)
    log.append("ef")
    log.read(4)
    log.append("gh")

    log.read(8)

    assert log.has_room(4)


def test_has_room_for_a_piece_larger_than_the_bound_once_all_has_been_read() -> None:
    log = log_of("a", max_ahead_bytes=4)
    assert not log.has_room(1000)

    log.read(0)

    assert log.has_room(1000)


def test_has_room_always_while_somebody_waits_for_the_end() -> None:
    log = log_of("abcd", max_ahead_bytes=4)

    log.hurry()
    hurried = log.has_room(1000)
    log.unhurry()

    assert hurried
    assert not log.has_room(1)


def test_append_after_the_end_changes_nothing() -> None:
    log = log_of("a")
    log.end()
    log.append("b")

    assert (log.text(), log.has_ended) == ("a", True)


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
        log.append("a")
        await anyio.wait_all_tasks_blocked()
        log.append("")
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
        woken.append(log.has_room(1))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        wake(log)

    assert len(woken) == 1


async def test_wait_roomier_is_not_woken_by_a_reader_who_is_behind_the_foremost() -> None:
    log = log_of("abcd", max_ahead_bytes=4)
    log.read(0)

    with anyio.move_on_after(10.0) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.wait_roomier)
            await anyio.wait_all_tasks_blocked()
            log.read(2)

    assert scope.cancelled_caught
