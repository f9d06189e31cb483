"""What a stream costs on its way through the wired path: the whole of it, each piece, and a reader who has stopped."""

from __future__ import annotations

import gc
import itertools
import math
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
from harness import Row, measure, measure_async, report

from holdfast import Completion, Message, PoolConfig, Prompt, Request, Role, Settings, open_orchestrator
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings
from holdfast.domain import StreamingConfig
from holdfast.domain.stream_log import StreamLog
from holdfast.ports.inference import Deliver

_PIECES = 100
_TOKEN = "word "  # noqa: S105 - a piece of a text
_FOLLOWERS = 20
_STOPPED = 100
_HELD_BUDGET_BYTES = 64 * 1024


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
            _timer_row(loop),
            await row(f"floor: {_PIECES} pieces of a generator", _floor, 200),
            await row(f"floor: {_PIECES} pieces from task to task", _memory_stream, 100),
            await row("stream, 1 piece", lambda: _read(service, one()), 200),
            await row(f"stream, {_PIECES} pieces", lambda: _read(service, many()), 100),
            await row(f"{_FOLLOWERS} identical streams, {_PIECES} pieces", share, 20),
        ]


def _timer_row(loop: str) -> Row:
    """Set a timer off and on again, as an exact bound on the pause after each piece would have to."""
    scope = anyio.CancelScope()

    def set_anew() -> None:
        scope.deadline = math.inf
        scope.deadline = anyio.current_time() + 1000.0

    rows: list[Row] = []
    with scope:
        rows.append(measure(f"a timer set anew, {loop}", set_anew, calls=1000))
    return rows[0]


def _log_row() -> Row:
    log, position = StreamLog(max_ahead_bytes=StreamingConfig().max_ahead_bytes), 0

    def pass_on() -> None:
        nonlocal position
        log.try_append(_TOKEN)
        _, position = log.read(position)

    return measure("log: one piece in and out", pass_on)


async def _held_bytes() -> int:
    """Return what each of many readers holds who read one piece of an endless answer of its own, and then no more."""
    endless = _asker(1_000_000)
    guard = GuardSettings(pool=PoolConfig(max_size=_STOPPED))
    settings = Settings(max_in_flight=_STOPPED, guard=guard)
    async with open_orchestrator(settings, backends={"speaker": _Speaker()}) as service:

        async def stop() -> None:
            async with service.stream(endless()) as stream:
                await anext(aiter(stream))
                await anyio.sleep_forever()

        async def held() -> int:
            await anyio.wait_all_tasks_blocked()  # those of the last time, which are cancelled
            gc.collect()
            before_bytes = tracemalloc.get_traced_memory()[0]
            async with anyio.create_task_group() as tasks:
                for _ in range(_STOPPED):
                    tasks.start_soon(stop)
                await anyio.wait_all_tasks_blocked()
                gc.collect()
                held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
                tasks.cancel_scope.cancel()
            return held_bytes // _STOPPED

        tracemalloc.start()
        await held()  # whatever is made once
        return await held()


def _report_memory() -> bool:
    for loop in ("asyncio", "trio"):
        held_bytes = anyio.run(_held_bytes, backend=loop)
        tracemalloc.stop()
        kept = held_bytes <= _HELD_BUDGET_BYTES
        print(f"a reader who has stopped holds {held_bytes / 1024:.1f} KiB, of {_STOPPED}, {loop}: ", end="")
        print(f"at most {_HELD_BUDGET_BYTES // 1024} KiB {'kept' if kept else 'MISSED'}")
        if not kept:
            return False
    tracemalloc.start()
    tokens = [f"{number:04} " for number in range(StreamingConfig().max_ahead_bytes // len(_TOKEN))]
    listed_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"the same text as a list of {len(tokens)} tokens would take {listed_bytes / 1024:.1f} KiB")
    return True


def main() -> bool:
    """Print the tables; return whether a reader who has stopped keeps to its budget, the only one there is."""
    rows = [row for loop in ("asyncio", "trio") for row in anyio.run(_rows, loop, backend=loop)]
    kept = report("Streams through the wired path", [_log_row(), *rows], packages=("anyio", "trio"))
    return _report_memory() and kept


if __name__ == "__main__":
    sys.exit(not main())
