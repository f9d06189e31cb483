"""SIGINT and SIGTERM.

Responsibility: the first one asks for a graceful stop, the second one ends the process.
Guarantees: the second one ends it at once, whatever the process is doing, and loses nothing that was saved.
Not responsible for: stopping: whoever has the event does that.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import anyio

from holdfast.adapters.cli.exit_codes import ExitCode

__all__ = ["stop_signal"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h\n"


@asynccontextmanager
async def stop_signal(on_stop: Callable[[], None]) -> AsyncGenerator[anyio.Event]:
    """Give an event that the first signal sets, for the length of an ``async with`` block.

    Args:
        on_stop: called when it is set.
    """
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_listen, stop, on_stop)
        yield stop
        tasks.cancel_scope.cancel()


async def _listen(stop: anyio.Event, on_stop: Callable[[], None], *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(*_SIGNALS) as received:
        task_status.started()
        async for _ in received:
            if stop.is_set():
                _end_at_once()
            # The event loop may be too busy to hear of the second one, so that one does not go through it.
            for number in _SIGNALS:
                signal.signal(number, _end_at_once)
            stop.set()
            on_stop()


def _end_at_once(*_: object) -> NoReturn:
    # A progress bar hides the cursor. The terminal may be stopped (Ctrl-S): then writing would wait for ever.
    if sys.stderr is not None and sys.stderr.isatty() and select.select([], [sys.stderr], [], 0)[1]:
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(ExitCode.INTERRUPTED)
