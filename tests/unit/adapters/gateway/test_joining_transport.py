"""What is written together is sent together, in order, and before anything ends."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.adapters.gateway.joining_transport import JoiningTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # it is a part of asyncio's streams


class Wire(asyncio.Transport):
    """Keeps what it was told, in order."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.told: list[object] = []
        self.limits: tuple[int | None, int | None] | None = None
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def write_eof(self) -> None:
        self.told.append("eof")

    def close(self) -> None:
        self.closing = True
        self.told.append("close")

    def abort(self) -> None:
        self.closing = True
        self.told.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)


def joining(wire: Wire, *, most_bytes: int = 100) -> JoiningTransport:
    return JoiningTransport(wire, asyncio.get_running_loop(), most_bytes=most_bytes)


async def test_transport_sends_at_once_what_is_written_in_one_step() -> None:
    wire = Wire()
    transport = joining(wire)
    transport.write(b"head ")
    transport.write(bytearray(b"body "))
    transport.write(memoryview(b"end"))
    at_first = list(wire.told)
    await asyncio.sleep(0)

    assert at_first == []
    assert wire.told == [b"head body end"]


async def test_transport_sends_what_is_written_later_by_itself() -> None:
    wire = Wire()
    transport = joining(wire)
    for piece in (b"one", b"two"):
        transport.write(piece)
        await asyncio.sleep(0)

    assert wire.told == [b"one", b"two"]


async def test_transport_holds_back_no_more_than_the_most() -> None:
    wire = Wire()
    transport = joining(wire, most_bytes=4)
    transport.write(b"123")
    transport.write(b"45")
    at_once = list(wire.told)
    transport.write(b"6")
    await asyncio.sleep(0)

    assert at_once == [b"12345"]
    assert wire.told == [b"12345", b"6"]


async def test_transport_nothing_written_is_nothing_sent() -> None:
    wire = Wire()
    joining(wire).write(b"")
    await asyncio.sleep(0)

    assert wire.told == []


@pytest.mark.parametrize("end", ["close", "eof"])
async def test_transport_sends_what_was_written_before_the_end(end: str) -> None:
    wire = Wire()
    transport = joining(wire)
    transport.write(b"the last word")
    (transport.close if end == "close" else transport.write_eof)()
    await asyncio.sleep(0)

    assert wire.told == [b"the last word", end]


async def test_transport_that_is_aborted_sends_nothing_more() -> None:
    wire = Wire()
    transport = joining(wire)
    transport.write(b"too late")
    transport.abort()
    await asyncio.sleep(0)

    assert wire.told == ["abort"]
    assert transport.is_closing()


async def test_transport_is_the_one_beneath_in_all_else() -> None:
    wire = Wire()
    transport = joining(wire)
    transport.pause_reading()
    transport.resume_reading()
    transport.set_write_buffer_limits(high=7, low=3)

    assert wire.told == ["pause", "resume"]
    assert wire.limits == (7, 3)
    assert transport.get_extra_info("peername") == ("127.0.0.1", 5)
    assert not transport.is_closing()
