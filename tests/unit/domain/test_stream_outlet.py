from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.ports.errors import ConfigurationError, SlowReaderError
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

CONFIG = StreamingConfig(max_ahead_bytes=4, stall_timeout_s=10.0, max_answer_bytes=100)


def outlet(log: StreamLog, deadline: Deadline | None = None) -> Outlet:
    return Outlet(log, deadline=deadline or Deadline.after(60.0, VirtualClock()), config=CONFIG)


def log() -> StreamLog:
    return StreamLog(max_ahead_bytes=CONFIG.max_ahead_bytes)


async def test_deliver_with_room_takes_the_piece_at_once_and_leaves_the_deadline() -> None:
    text, deadline = log(), Deadline.after(60.0, VirtualClock())
    out = outlet(text, deadline)

    await out.deliver("äb")

    assert (out.sent_text(), out.sent_bytes, out.max_bytes) == ("äb", 3, 100)
    assert not deadline.is_lifted


async def test_deliver_without_room_waits_for_a_reader_and_lifts_the_deadline() -> None:
    text, deadline = log(), Deadline.after(60.0, VirtualClock())
    out = outlet(text, deadline)

    async def read_late() -> None:
        await anyio.sleep(9.0)
        text.read(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_late)
        await out.deliver("abcd")
        began_s = anyio.current_time()
        await out.deliver("efg")

    assert anyio.current_time() - began_s == pytest.approx(9.0)
    assert out.sent_text() == "abcdefg"
    assert deadline.is_lifted


def _read_on(text: StreamLog, position: int) -> None:
    text.read(position)


def _wait_for_the_end(text: StreamLog, _: int) -> None:
    text.hurry()


@pytest.mark.parametrize("then", [_read_on, _wait_for_the_end])
async def test_wait_delivered_returns_when_all_was_read_and_more_is_asked_for_or_the_end_alone(
    then: Callable[[StreamLog, int], None],
) -> None:
    text = log()
    out = outlet(text)
    await out.deliver("abcd")

    async def read_slowly() -> None:
        _, position = text.read(0)
        await anyio.sleep(20.0)
        then(text, position)

    began_s = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_slowly)
        await out.wait_delivered()
        waited_s = anyio.current_time() - began_s

    assert waited_s == pytest.approx(20.0)


async def test_deliver_while_nobody_reads_ends_after_the_stall_timeout_with_its_seconds() -> None:
    out = outlet(log())
    await out.deliver("abcd")
    began_s = anyio.current_time()

    with pytest.raises(SlowReaderError) as caught:
        await out.deliver("e")

    assert caught.value.stalled_s == 10.0
    assert anyio.current_time() - began_s == pytest.approx(10.0)
    assert out.sent_text() == "abcd"


async def test_deliver_to_a_reader_who_reads_too_little_gives_it_the_stall_timeout_again() -> None:
    text = log()
    out = outlet(text)

    async def read_a_little() -> None:
        await anyio.sleep(9.0)
        text.read(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_a_little)
        await out.deliver("abcdefghij")
        began_s = anyio.current_time()
        with pytest.raises(SlowReaderError):
            await out.deliver("k")

    assert anyio.current_time() - began_s == pytest.approx(19.0)


async def test_deliver_to_a_text_that_has_ended_keeps_nothing_and_does_not_wait() -> None:
    text = log()
    out = outlet(text)
    await out.deliver("abcd")
    text.end()

    await out.deliver("e")

    assert out.sent_text() == "abcd"


async def test_deliver_cancelled_anywhere_has_not_sent_the_piece() -> None:
    texts: list[StreamLog] = []

    async def scenario() -> None:
        texts.append(log())
        out = outlet(texts[-1])
        await out.deliver("abcd")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(out.deliver, "ef")
            await anyio.wait_all_tasks_blocked()
            texts[-1].read(0)

    async def check() -> None:
        assert texts[-1].text() in {"abcd", "abcdef"}

    assert await sweep_cancellation(scenario, check) >= 2
    assert texts[-1].text() == "abcdef"


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"max_ahead_bytes": 0}, "streaming.max_ahead_bytes"),
        ({"stall_timeout_s": 0.0}, "streaming.stall_timeout_s"),
        ({"stall_timeout_s": float("inf")}, "streaming.stall_timeout_s"),
    ],
)
def test_config_out_of_range_is_refused(wrong: dict[str, float], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StreamingConfig(**wrong)  # type: ignore[arg-type] # numbers of both kinds

    assert caught.value.path == path


def test_config_that_contradicts_itself_is_refused_with_both_paths() -> None:
    with pytest.raises(ConfigurationError, match=r"streaming\.max_answer_bytes.*streaming\.max_ahead_bytes"):
        StreamingConfig(max_ahead_bytes=101, max_answer_bytes=100)
