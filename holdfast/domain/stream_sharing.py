"""Sharing one streamed answer among everyone who asks the same.

Responsibility: one call for any number of identical streams, each of which gets the whole text from its beginning on.
Guarantees: those of `holdfast.domain.deduplicator`, which makes the calls and keeps the answers, for callers who read
    while the answer comes as for those who wait for it: 20 identical streams make one call; it goes on as long as one
    of them is left; a failure is told to each and kept for nobody. A slow reader never holds up another one.
Not responsible for: what may pile up: see `holdfast.domain.stream_log`; cutting off who reads too slowly: see
    `holdfast.domain.stream_outlet`.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.stream_log import StreamLog
from holdfast.domain.stream_meter import StreamMeter
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_reader import StreamReader
from holdfast.domain.urgency import Urgency
from holdfast.ports.clock import Clock
from holdfast.ports.errors import SlowReaderError, StreamInterruptedError
from holdfast.ports.events import EventSink, StreamCut, StreamReaderDropped
from holdfast.ports.statistics import StreamStatistics

__all__ = ["SharedStreams", "StreamingConfig"]

T = TypeVar("T")

_DEFAULTS: Final = StreamingConfig()
_KEEPS_NOTHING: Final = DeduplicationConfig(window_s=0.0, max_entries=1, max_bytes=1)


class SharedStreams(Generic[T]):
    """Streams answers, and shares them. Open it with ``async with``, inside of that of its deduplicator.

    Args:
        config: what may pile up.
        shared: makes the calls that are shared, with those who do not stream as well, and keeps their answers.
        text_of: the text of an answer.
        clock: monotonic time.
        events: told of each stream that is cut or ended because of its readers.

    Example:
        >>> import anyio
        >>> from holdfast.domain.deadline import Deadline
        >>> from holdfast.ports.service import Priority
        >>> from holdfast.testing import VirtualClock
        >>> async def call(urgency: Urgency, outlet: Outlet) -> str:
        ...     for piece in ("Rayleigh ", "scattering"):
        ...         await outlet.deliver(piece)
        ...         await anyio.sleep(0.1)
        ...     return "Rayleigh scattering"
        >>> async def main() -> None:
        ...     clock = VirtualClock()
        ...     urgency = Urgency(Priority.NORMAL, Deadline.after(30.0, clock))
        ...     async with (
        ...         Deduplicator[str](clock=clock, size_of=len) as shared,
        ...         SharedStreams(shared=shared, text_of=str, clock=clock) as streams,
        ...     ):
        ...         reader = streams.open(DeduplicationKey(digest=bytes(32)), call, urgency=urgency)
        ...         while piece := await reader.next_piece():
        ...             print(repr(piece))
        ...         reader.close()
        >>> anyio.run(main)
        'Rayleigh '
        'scattering'
    """

    def __init__(
        self,
        config: StreamingConfig = _DEFAULTS,
        *,
        shared: Deduplicator[T],
        text_of: Callable[[T], str],
        clock: Clock,
        events: EventSink | None = None,
    ) -> None:
        self._config = config
        self._shared = shared
        # A stream that is to be shared with nobody is a call with a key of its own.
        self._unshared = Deduplicator[T](_KEEPS_NOTHING, clock=clock, size_of=_larger_than_is_kept)
        self._numbers = itertools.count()
        self._text_of = text_of
        self._events = events
        self._meter = StreamMeter()

    async def __aenter__(self) -> Self:
        await self._unshared.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._unshared.__aexit__(exc_type, exc, traceback)

    def open(
        self, key: DeduplicationKey | None, work: Callable[[Urgency, Outlet], Awaitable[T]], *, urgency: Urgency
    ) -> StreamReader[T]:
        """Return a reader of the answer for `key`: a kept one, that of a call under way, or that of `work`, begun now.

        `work` runs in a task of the engine, as `Deduplicator.run` says. It hands its pieces to the outlet, or none:
        then its answer is read as one piece, as is one that was kept, and that of a call that does not stream.

        Args:
            key: what the answer answers; None shares it with nobody.
            work: makes the call, if nobody else has.
            urgency: how urgent this caller is; not changed.

        Raises:
            ClosedError: the engine is closed.

        Complexity: O(1), amortised.
        """
        meter = self._meter
        log = StreamLog(max_ahead_bytes=self._config.max_ahead_bytes, on_grow=meter.grew, on_end=meter.settle)
        if key is None:
            engine, key = self._unshared, DeduplicationKey(digest=next(self._numbers).to_bytes(32))
        else:
            engine = self._shared
        source = engine.begin_or_join(key, lambda flight: self._write(log, work, flight), urgency=urgency, log=log)
        return StreamReader(source, text_of=self._text_of, meter=meter)

    @property
    def size_bytes(self) -> int:
        """What the texts take that are written or read now."""
        return self._meter.log_bytes

    async def wait_landed(self) -> None:
        """Wait until no call of a stream that shares with nobody runs any more; the deduplicator has the others.

        Cancellation: stops waiting, and changes nothing.
        """
        await self._unshared.wait_landed()

    def statistics(self) -> StreamStatistics:
        """Return how many streams there were, how each ended, and what their texts take now."""
        return self._meter.statistics()

    async def _write(self, log: StreamLog, work: Callable[[Urgency, Outlet], Awaitable[T]], urgency: Urgency) -> T:
        try:
            return await work(urgency, Outlet(log, deadline=urgency.deadline, config=self._config))
        except StreamInterruptedError as error:
            self._meter.interrupted += 1
            if self._events is not None:
                cause = type(error.__cause__ or error).__name__
                self._events.emit(StreamCut(backend=error.backend, sent_bytes=log.size_bytes, error=cause))
            raise
        except SlowReaderError as error:
            self._meter.stalled += 1
            if self._events is not None:
                self._events.emit(StreamReaderDropped(stalled_s=error.stalled_s))
            raise


def _larger_than_is_kept(_: object) -> int:
    return _KEEPS_NOTHING.max_bytes + 1
