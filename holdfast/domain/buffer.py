"""A buffer that cannot outgrow its memory.

Responsibility: keep the newest items within a bound on their number and a bound on their bytes.
Guarantees: neither bound is exceeded at any moment; each item is measured once; `statistics()` accounts for every item
    that ever entered; a call that raises has changed nothing but the count of refusals.
Not responsible for: waiting for room: it never blocks. Memory that a snapshot, or the caller, still holds on to.
Source: the two-fold bound follows librdkafka's `queue.buffering.max.messages` and `queue.buffering.max.kbytes`.
"""

from __future__ import annotations

import enum
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from holdfast.domain.validation import require, require_at_least
from holdfast.ports.errors import BufferFullError, ConfigurationError
from holdfast.ports.statistics import BufferStatistics

__all__ = ["BufferConfig", "BufferSnapshot", "MemorySafeBuffer", "OverflowPolicy", "text_size_bytes"]

T = TypeVar("T")


class OverflowPolicy(enum.StrEnum):
    """What happens when an item does not fit."""

    EVICT_OLDEST_HALF = "evict_oldest_half"
    """Drop the older half of the items, as often as it takes: rare, large cuts."""
    EVICT_OLDEST = "evict_oldest"
    """Drop the oldest items, no more than it takes: the newest items are always there."""
    REFUSE = "refuse"
    """Keep what is there and refuse the newcomer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferConfig:
    """How much a buffer holds.

    Args:
        max_items: items held at most; default 1000, unmeasured.
        max_bytes: bytes held at most, as `size_of` measures them; default 10 MiB, unmeasured.
        overflow: what happens when an item does not fit; default evict the oldest half.
        warn_undrained: emit a `ResourceWarning` when the buffer goes away with items in it; default no.

    Raises:
        ConfigurationError: if a bound is below 1.
    """

    max_items: int = 1000
    max_bytes: int = 10 * 1024 * 1024
    overflow: OverflowPolicy = OverflowPolicy.EVICT_OLDEST_HALF
    warn_undrained: bool = False

    def __post_init__(self) -> None:
        require_at_least("buffer.max_items", self.max_items, 1)
        require_at_least("buffer.max_bytes", self.max_bytes, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferSnapshot(Generic[T]):
    """What a buffer held at one moment, with the size of each item; keeps those items alive."""

    items: tuple[T, ...]
    sizes_bytes: tuple[int, ...]


def text_size_bytes(item: object) -> int:
    """Return the memory that a `str` or `bytes` takes, in bytes, its object header included.

    The default of `MemorySafeBuffer`. UTF-8 length would be the wrong measure: one emoji makes CPython store a whole
    string in four bytes per character.

    Raises:
        ConfigurationError: for any other type, whose parts `sys.getsizeof` would not count.

    Complexity: O(1).
    """
    if isinstance(item, (str, bytes)):
        return sys.getsizeof(item)
    raise ConfigurationError(f"no size is known for {type(item).__name__}; pass a size_of", path="buffer.size_of")


class MemorySafeBuffer(Generic[T]):
    """Holds the newest items within a bound on their number and on their bytes. For one event loop or thread.

    Args:
        config: its bounds, and what happens there.
        size_of: bytes that an item takes, 0 or more; asked once for each. The default measures `str` and `bytes`.

    Example:
        >>> buffer = MemorySafeBuffer[str](BufferConfig(max_items=2, overflow=OverflowPolicy.EVICT_OLDEST))
        >>> for word in ("one", "two", "three"):
        ...     buffer.append(word)
        >>> buffer.drain()
        ['two', 'three']
    """

    __slots__ = (
        "__weakref__",
        "_appended",
        "_cleared",
        "_evicted",
        "_items",
        "_max_bytes",
        "_max_items",
        "_overflow",
        "_refused",
        "_restored",
        "_rolled_back",
        "_size_bytes",
        "_size_of",
        "_sizes_bytes",
        "_taken",
    )

    def __init__(self, config: BufferConfig = BufferConfig(), *, size_of: Callable[[T], int] = text_size_bytes) -> None:
        self._max_items = config.max_items
        self._max_bytes = config.max_bytes
        self._overflow = config.overflow
        self._size_of = size_of
        self._items: deque[T] = deque()
        self._sizes_bytes: deque[int] = deque()
        self._size_bytes = 0
        self._appended = 0
        self._evicted = 0
        self._refused = 0
        self._taken = 0
        self._cleared = 0
        self._restored = 0
        self._rolled_back = 0
        if config.warn_undrained:
            weakref.finalize(self, _warn_if_undrained, self._items)

    def append(self, item: T) -> None:
        """Add `item` as the newest.

        Raises:
            BufferFullError: if it alone exceeds the bound on bytes, under every policy; or if it does not fit and the
                policy is to refuse.

        Complexity: O(1) amortised.
        """
        item_bytes = self._size_of(item)
        if len(self._items) >= self._max_items or self._size_bytes + item_bytes > self._max_bytes:
            self._make_room(item_bytes)
        self._items.append(item)
        self._sizes_bytes.append(item_bytes)
        self._size_bytes += item_bytes
        self._appended += 1

    def items(self, limit: int | None = None) -> list[T]:
        """Return the oldest items, at most `limit` of them or all, in the order they came; they stay.

        Complexity: O(items returned).
        """
        return list(islice(self._items, limit))

    def drain(self) -> list[T]:
        """Take out and return every item, oldest first."""
        taken = list(self._items)
        self._taken += len(taken)
        self._empty()
        return taken

    def clear(self) -> int:
        """Drop every item and return the bytes that this freed."""
        freed_bytes = self._size_bytes
        self._cleared += len(self._items)
        self._empty()
        return freed_bytes

    def snapshot(self) -> BufferSnapshot[T]:
        """Return what is here now, to be put back by `restore`.

        Complexity: O(items).
        """
        return BufferSnapshot(items=tuple(self._items), sizes_bytes=tuple(self._sizes_bytes))

    def restore(self, snapshot: BufferSnapshot[T]) -> None:
        """Roll contents and memory accounting back to `snapshot`, which may be restored any number of times.

        Raises:
            ConfigurationError: if the snapshot is another buffer's and does not fit into this one.

        Complexity: O(items).
        """
        size_bytes = sum(snapshot.sizes_bytes)
        require(
            len(snapshot.items) <= self._max_items and size_bytes <= self._max_bytes,
            f"{len(snapshot.items)} items of {size_bytes} bytes do not fit here; restore it where it was taken",
            path="buffer.snapshot",
        )
        self._rolled_back += len(self._items)
        self._empty()
        self._items.extend(snapshot.items)
        self._sizes_bytes.extend(snapshot.sizes_bytes)
        self._size_bytes = size_bytes
        self._restored += len(snapshot.items)

    def statistics(self) -> BufferStatistics:
        """Return what it holds and what became of everything that ever entered."""
        return BufferStatistics(
            items=len(self._items),
            size_bytes=self._size_bytes,
            appended=self._appended,
            evicted=self._evicted,
            refused=self._refused,
            taken=self._taken,
            cleared=self._cleared,
            restored=self._restored,
            rolled_back=self._rolled_back,
        )

    def _make_room(self, item_bytes: int) -> None:
        if item_bytes > self._max_bytes or self._overflow is OverflowPolicy.REFUSE:
            self._refused += 1
            raise BufferFullError(
                items=len(self._items),
                size_bytes=self._size_bytes,
                item_bytes=item_bytes,
                max_bytes=self._max_bytes,
            )
        halve = self._overflow is OverflowPolicy.EVICT_OLDEST_HALF
        while len(self._items) >= self._max_items or self._size_bytes + item_bytes > self._max_bytes:
            count = (len(self._items) + 1) // 2 if halve else 1
            for _ in range(count):
                self._items.popleft()
                self._size_bytes -= self._sizes_bytes.popleft()
            self._evicted += count

    def _empty(self) -> None:
        self._items.clear()
        self._sizes_bytes.clear()
        self._size_bytes = 0


def _warn_if_undrained(items: deque[T]) -> None:
    if items:
        # Past this function and the finalizer's own frame, to the line that dropped the buffer.
        warnings.warn(f"a buffer was dropped undrained, items lost: {len(items)}", ResourceWarning, stacklevel=3)
