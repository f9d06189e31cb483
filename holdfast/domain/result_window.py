"""Answers that are kept for a while.

Responsibility: the answers of the last seconds, found by key.
Guarantees: never more than `max_entries` answers or `max_bytes` bytes; no answer is given out once it is `window_s`
    old; every answer offered is an entry, or `expired`, `evicted` or `oversized`.
Not responsible for: time, which its caller passes in and which never goes back; who may see an answer: the key decides.

Every answer is kept for equally long, so the oldest is always the next to expire. That is why the oldest, and not the
least recently used, makes room: one order serves both, and nothing is ever searched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from holdfast.domain.deduplication_key import DeduplicationKey

__all__ = ["Cached", "ResultWindow"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached(Generic[T]):
    """The same request was answered within the window.

    Args:
        value: that answer, the same object for everybody.
    """

    value: T


class _Entry(NamedTuple, Generic[T]):
    cached: Cached[T]
    size_bytes: int
    expires_at_s: float


class ResultWindow(Generic[T]):
    """The answers of the last `window_s` seconds.

    Args:
        window_s: seconds for which an answer is kept.
        max_entries: how many answers are kept at most.
        max_bytes: how many bytes they take at most, as `size_of` counts them.
        size_of: bytes that one answer takes; asked once for each.

    Attributes:
        size_bytes: what the kept answers take.
        expired: answers dropped because of their age.
        evicted: answers dropped, before their time, to make room for others or for something else.
        oversized: answers larger than the whole window, which were never kept.
    """

    __slots__ = (
        "_entries",
        "_max_bytes",
        "_max_entries",
        "_size_of",
        "_window_s",
        "evicted",
        "expired",
        "oversized",
        "size_bytes",
    )

    def __init__(self, *, window_s: float, max_entries: int, max_bytes: int, size_of: Callable[[T], int]) -> None:
        self._window_s = window_s
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size_of = size_of
        # By digest: bytes keep their hash, a dataclass computes it anew at every look-up.
        self._entries: OrderedDict[bytes, _Entry[T]] = OrderedDict()
        self.size_bytes = 0
        self.expired = 0
        self.evicted = 0
        self.oversized = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: DeduplicationKey, *, now_s: float) -> Cached[T] | None:
        """Return the answer kept for `key`, or None.

        Complexity: O(1), amortised: what has expired is dropped once, here or in `store`.
        """
        entry = self._entries.get(key.digest)
        if entry is None:
            return None
        if entry.expires_at_s > now_s:
            return entry.cached
        self._drop_expired(now_s)
        return None

    def store(self, key: DeduplicationKey, value: T, *, now_s: float) -> None:
        """Keep `value` for `key`, for which nothing is kept; the oldest answers make room.

        An answer larger than the whole window is not kept, and drops no other.

        Raises:
            Exception: whatever `size_of` raises; nothing has changed then.

        Complexity: O(1), amortised.
        """
        size_bytes = self._size_of(value)
        self._drop_expired(now_s)
        if size_bytes > self._max_bytes:
            self.oversized += 1
            return
        while len(self._entries) >= self._max_entries or self.size_bytes + size_bytes > self._max_bytes:
            self._drop_oldest()
            self.evicted += 1
        self._entries[key.digest] = _Entry(Cached(value=value), size_bytes, now_s + self._window_s)
        self.size_bytes += size_bytes

    def free(self, size_bytes: int, *, now_s: float) -> int:
        """Drop what has expired, and then the oldest answers until so many bytes are free; return how many are.

        Complexity: O(answers dropped).
        """
        before_bytes = self.size_bytes
        self._drop_expired(now_s)
        while self._entries and before_bytes - self.size_bytes < size_bytes:
            self._drop_oldest()
            self.evicted += 1
        return before_bytes - self.size_bytes

    def _drop_expired(self, now_s: float) -> None:
        while self._entries and next(iter(self._entries.values())).expires_at_s <= now_s:
            self._drop_oldest()
            self.expired += 1

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self.size_bytes -= entry.size_bytes
