"""What streams count.

Responsibility: how many streams there were, how each ended, and what their texts take now.
Guarantees: `opened = called + joined + cached = reading + completed + failed + left` at every moment; a text counts as
    long as it is written or read.
Not responsible for: the streams themselves: see `holdfast.domain.stream_sharing`.
"""

from __future__ import annotations

import enum
from collections import Counter

from holdfast.domain.stream_log import StreamLog
from holdfast.ports.service import Disposition
from holdfast.ports.statistics import StreamStatistics

__all__ = ["ReadingEnd", "StreamMeter"]


class ReadingEnd(enum.Enum):
    """How the reading of a stream ended."""

    COMPLETED = enum.auto()
    FAILED = enum.auto()
    LEFT = enum.auto()


class StreamMeter:
    """The counts of all streams of one engine.

    Attributes:
        log_bytes: what the texts take that are written or read now.
        interrupted: calls that were cut after their first piece had gone out.
        stalled: calls that were ended because nobody read on.
    """

    __slots__ = ("_ends", "_opened", "_readers", "interrupted", "log_bytes", "stalled")

    def __init__(self) -> None:
        self._opened: Counter[Disposition] = Counter()
        self._ends: Counter[ReadingEnd] = Counter()
        self._readers: dict[StreamLog, int] = {}
        self.log_bytes = 0
        self.interrupted = 0
        self.stalled = 0

    def opened(self, disposition: Disposition, log: StreamLog | None) -> None:
        """Count one stream more, and one more reader of `log` if it has one."""
        self._opened[disposition] += 1
        if log is not None:
            self._readers[log] = self._readers.get(log, 0) + 1

    def ended(self, end: ReadingEnd, log: StreamLog | None) -> None:
        """Count one stream as ended."""
        self._ends[end] += 1
        if log is not None:
            self._readers[log] -= 1
            self.settle(log)

    def grew(self, size_bytes: int) -> None:
        """Count what was added to a text."""
        self.log_bytes += size_bytes

    def settle(self, log: StreamLog) -> None:
        """Forget `log` if it is neither written nor read any more."""
        if log.has_ended and not self._readers.get(log):
            self._readers.pop(log, None)
            self.log_bytes -= log.size_bytes

    def statistics(self) -> StreamStatistics:
        """Return the counts so far."""
        opened = self._opened.total()
        return StreamStatistics(
            opened=opened,
            called=self._opened[Disposition.CALLED],
            joined=self._opened[Disposition.JOINED],
            cached=self._opened[Disposition.CACHED],
            reading=opened - self._ends.total(),
            completed=self._ends[ReadingEnd.COMPLETED],
            failed=self._ends[ReadingEnd.FAILED],
            left=self._ends[ReadingEnd.LEFT],
            logs=len(self._readers),
            log_bytes=self.log_bytes,
            interrupted=self.interrupted,
            stalled=self.stalled,
        )
