"""Messages that were taken already.

Responsibility: take each message once, in bounded memory.
Guarantees: no message is taken twice, also after a restart, and also after the wall clock was set back while this ran.
    What it can remember is bounded; when it is full the next message is refused, and none is forgotten before its time.
Not responsible for: whose a message is: ask only once its signature was believed, or a stranger fills it; another
    process with the same identity, which remembers other messages; a clock that was set back while the process was not
    running. Use sessions where these matter: they need no such memory.

A message is forgotten when every clock must take it for expired. Whatever is as old as something that was forgotten is
refused from then on, because it could be that. So a clock that is set back finds nothing that could be taken again, and
a message that was issued after all of those is taken at once. A restart forgets everything: for all that is known,
somebody whose clock is fast has sent messages that are issued up to a skew after the start.
"""

from __future__ import annotations

import heapq

__all__ = ["ReplayCache"]


class ReplayCache:
    """Remembers messages until they have expired.

    Args:
        max_entries: how many are remembered at most.
        lifetime_ms: how long after it was issued a message can still be taken, by any clock.
        skew_ms: how far a clock may be ahead of this one.
        opened_ms: Unix time at the start.

    Example:
        >>> cache = ReplayCache(max_entries=10, lifetime_ms=30_000, skew_ms=5_000, opened_ms=0)
        >>> cache.is_new(b"id", issued_ms=5_001, now_ms=6_000)
        True
        >>> cache.remember(b"id", issued_ms=5_001)
        >>> cache.is_new(b"id", issued_ms=5_001, now_ms=6_000)
        False
    """

    __slots__ = ("_by_age", "_forgotten_ms", "_known", "_lifetime_ms", "_max_entries")

    def __init__(self, *, max_entries: int, lifetime_ms: int, skew_ms: int, opened_ms: int) -> None:
        self._max_entries = max_entries
        self._lifetime_ms = lifetime_ms
        self._forgotten_ms = opened_ms + skew_ms
        self._known: set[bytes] = set()
        self._by_age: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._known)

    def is_new(self, key: bytes, *, issued_ms: int, now_ms: int) -> bool:
        """Return whether the message has certainly not been taken before.

        Complexity: O(log n), amortised.
        """
        while self._by_age and self._by_age[0][0] + self._lifetime_ms <= now_ms:
            issued, forgotten = heapq.heappop(self._by_age)
            self._known.remove(forgotten)
            self._forgotten_ms = max(self._forgotten_ms, issued)
        return issued_ms > self._forgotten_ms and key not in self._known

    @property
    def is_full(self) -> bool:
        """Whether no more can be remembered now; `is_new` makes room first."""
        return len(self._known) >= self._max_entries

    def remember(self, key: bytes, *, issued_ms: int) -> None:
        """Note that a message was taken; it must have been new, and there must be room."""
        self._known.add(key)
        heapq.heappush(self._by_age, (issued_ms, key))
