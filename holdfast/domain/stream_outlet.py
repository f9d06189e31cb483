"""Where a call that streams puts its answer.

Responsibility: take the pieces of one answer, and hold its call back while nobody reads on.
Guarantees: a call that its readers have held back is not blamed for the time that it takes: its deadline is lifted, and
    whoever cancels it at that of a caller cancels it as at any other moment; it is ended when they have held it back
    for `stall_timeout_s`, so that a reader who has stopped does not hold its slot and its lease for ever.
Not responsible for: how much may pile up: see `holdfast.domain.stream_log`; how fast the backend is: see
    `holdfast.domain.stream_timeout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import anyio.lowlevel

from holdfast.domain.deadline import Deadline
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.validation import require_at_least, require_not_below, require_positive
from holdfast.ports.errors import SlowReaderError

__all__ = ["Outlet", "StreamingConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingConfig:
    """What may pile up between a backend and those who read its answer.

    Args:
        max_ahead_bytes: how far an answer may be ahead of whoever has read most of it, as UTF-8; a reader gets as much
            of that at once, but never more than 1 KiB. Default 4 KiB, some 1000 tokens, so that a reader who has
            stopped holds less than 64 KiB with the call and the connection that belong to it (adr/0028).
        stall_timeout_s: seconds for which it may be that far ahead without anybody reading on; then it is ended.
            Default 10.0; unmeasured.
        max_answer_bytes: the longest answer that is streamed, as UTF-8; default 10 MiB, unmeasured.

    Raises:
        ConfigurationError: if a value is out of its range, or an answer could never get as far ahead as it may.
    """

    max_ahead_bytes: int = 4 * 1024
    stall_timeout_s: float = 10.0
    max_answer_bytes: int = 10 * 1024 * 1024

    def __post_init__(self) -> None:
        require_at_least("streaming.max_ahead_bytes", self.max_ahead_bytes, 1)
        require_positive("streaming.stall_timeout_s", self.stall_timeout_s)
        require_not_below(
            "streaming.max_answer_bytes", self.max_answer_bytes, "streaming.max_ahead_bytes", self.max_ahead_bytes
        )


class Outlet:
    """Takes the answer of one call, piece by piece.

    Args:
        log: where it goes.
        deadline: of the call alone.
        config: see `StreamingConfig`.
    """

    __slots__ = ("_deadline", "_log", "_stall_timeout_s", "max_bytes")

    def __init__(self, log: StreamLog, *, deadline: Deadline, config: StreamingConfig) -> None:
        self._log = log
        self._deadline = deadline
        self._stall_timeout_s = config.stall_timeout_s
        self.max_bytes = config.max_answer_bytes

    @property
    def sent_bytes(self) -> int:
        """How much has gone out, as UTF-8."""
        return self._log.size_bytes

    def sent_text(self) -> str:
        """Return what has gone out."""
        return self._log.text()

    async def wait_delivered(self) -> None:
        """Wait until somebody has read all of it and asked for more, or waits for nothing but the end.

        Cancellation: as when nobody is left to read; nothing is changed.
        """
        while not self._log.is_delivered:
            await self._log.wait_roomier()

    def deliver_nowait(self, piece: str) -> bool:
        """Take `piece` and return True if there is room for it now and somebody is left to read it."""
        return self._log.try_append(piece)

    async def deliver(self, piece: str) -> None:
        """Take `piece` as soon as there is room for it; if there is, without yielding to other tasks.

        Raises:
            SlowReaderError: nobody read on for `stall_timeout_s`.

        Cancellation: the piece has not gone out. Once nobody is left to read, every call yields and takes nothing, so
            that a backend that waits for nothing else is cancelled, too.
        """
        while not self._log.try_append(piece):
            if self._log.has_ended:
                await anyio.lowlevel.checkpoint()
                return
            self._deadline.lift()
            with anyio.move_on_after(self._stall_timeout_s):
                await self._log.wait_roomier()
                continue
            raise SlowReaderError(stalled_s=self._stall_timeout_s)
