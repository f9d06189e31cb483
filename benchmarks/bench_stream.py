"""What a stream costs on its way through the wired path: for the whole of it, and for each piece."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
from harness import Row, measure, measure_async, report

from holdfast import Completion, Message, Prompt, Request, Role, Settings, open_orchestrator
from holdfast.application.orchestrator import Orchestrator
from holdfast.domain.stream_log import StreamLog
from holdfast.ports.inference import Deliver

_PIECES = 100
_TOKEN = "word "  # noqa: S105 - a piece of a text
_FOLLOWERS = 20


class _Speaker:
    """Says a token as often as the question asks, and waits before each as one that reads from a socket does."""

    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=_TOKEN * _pieces(prompt), model="speaker-1")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        for _ in range(_pieces(prompt)):
            await anyio.lowlevel.checkpoint()
            await deliver(_TOKEN)
        return Completion(text=_TOKEN * _pieces(prompt), model="speaker-1")


def _pieces(prompt: Prompt) -> int:
    return int(prompt.messages[-1].content.split()[0])


def _asker(pieces: int) -> Callable[[], Request]:
    numbers = itertools.count()
    return lambda: Request(messages=(Message(role=Role.USER, content=f"{pieces} words, {next(numbers)}"),))


async def _read(service: Orchestrator, request: Request) -> None:
    async with service.stream(request) as stream:
        async for _ in stream:
            pass


async def _generator() -> AsyncGenerator[str]:
    for _ in range(_PIECES):
        await anyio.lowlevel.checkpoint()
        yield _TOKEN


async def _floor() -> None:
    async for _ in _generator():
        pass


async def _memory_stream() -> None:
    """Hand the pieces from one task to another, as the path has to."""
    send, receive = anyio.create_memory_object_stream[str](_PIECES)

    async def write() -> None:
        async with send:
            for _ in range(_PIECES):
                await anyio.lowlevel.checkpoint()
                send.send_nowait(_TOKEN)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        async with receive:
            async for _ in receive:
                pass


async def _rows(loop: str) -> list[Row]:
    one, many, shared = _asker(1), _asker(_PIECES), _asker(_PIECES)
    async with open_orchestrator(Settings(), backends={"speaker": _Speaker()}) as service:

        async def share() -> None:
            request = shared()
            async with anyio.create_task_group() as tasks:
                for _ in range(_FOLLOWERS):
                    tasks.start_soon(_read, service, request)

        async def row(path: str, call: Callable[[], Awaitable[None]], calls: int) -> Row:
            return await measure_async(f"{path}, {loop}", call, calls=calls)

        return [
            await row(f"floor: {_PIECES} pieces of a generator", _floor, 200),
            await row(f"floor: {_PIECES} pieces from task to task", _memory_stream, 100),
            await row("stream, 1 piece", lambda: _read(service, one()), 200),
            await row(f"stream, {_PIECES} pieces", lambda: _read(service, many()), 100),
            await row(f"{_FOLLOWERS} identical streams, {_PIECES} pieces", share, 20),
        ]


def _log_row() -> Row:
    log, position = StreamLog(max_ahead_bytes=24 * 1024), 0

    def pass_on() -> None:
        nonlocal position
        log.try_append(_TOKEN)
        _, position = log.read(position)

    return measure("log: one piece in and out", pass_on)


def main() -> bool:
    """Print the table and return whether every budget is kept; the design gives none for streams within a process."""
    rows = [row for loop in ("asyncio", "trio") for row in anyio.run(_rows, loop, backend=loop)]
    return report("Streams through the wired path", [_log_row(), *rows], packages=("anyio", "trio"))


if __name__ == "__main__":
    sys.exit(not main())
