"""What is counted of answers that processes share.

Responsibility: how each call was answered, and how each claim ended.
Guarantees: the equations of `holdfast.ports.statistics.SharedAnswerStatistics` hold between any two steps.
Not responsible for: deciding any of it: see `holdfast.domain.shared_answers` and `holdfast.domain.held_claim`.
"""

from __future__ import annotations

import enum

from holdfast.ports.statistics import SharedAnswerStatistics

__all__ = ["ClaimEnd", "SharedAnswerTally", "Source"]


class Source(enum.Enum):
    """Who answered a call."""

    LED = enum.auto()
    """This process, for all."""
    ALONE = enum.auto()
    """This process, for itself."""
    FOUND = enum.auto()
    """Another one, before."""
    JOINED = enum.auto()
    """Another one, while this one waited."""
    FAILED = enum.auto()
    """Another one, which failed."""
    LEFT = enum.auto()
    """Nobody: the call was cancelled before that was known."""


class ClaimEnd(enum.Enum):
    """How a claim of this process ended."""

    TOLD = enum.auto()
    """What came of it is in the store."""
    RELEASED = enum.auto()
    """It was given up."""
    FENCED = enum.auto()
    """Its lease was over before it could be extended or settled."""
    UNSAID = enum.auto()
    """The store could not be told, and learns of it when the lease is over."""


class SharedAnswerTally:
    """Counts.

    Attributes:
        asked: calls that began.
        taken_over: claims that were won after another process had one.
        unreadable: outcomes in the store that this version has not written, or not for that key.
        unshared: answers that are too large, or cannot be written as UTF-8.
    """

    __slots__ = ("_ends", "_sources", "asked", "taken_over", "unreadable", "unshared")

    def __init__(self) -> None:
        self.asked = 0
        self.taken_over = 0
        self.unreadable = 0
        self.unshared = 0
        self._sources = dict.fromkeys(Source, 0)
        self._ends = dict.fromkeys(ClaimEnd, 0)

    def answer(self, source: Source) -> None:
        """Count a call whose answer comes from there."""
        self._sources[source] += 1

    def end(self, end: ClaimEnd) -> None:
        """Count a claim that ended so."""
        self._ends[end] += 1

    def statistics(self) -> SharedAnswerStatistics:
        """Return what was counted so far."""
        sources, ends = self._sources, self._ends
        return SharedAnswerStatistics(
            asked=self.asked,
            waiting=self.asked - sum(sources.values()),
            led=sources[Source.LED],
            alone=sources[Source.ALONE],
            found=sources[Source.FOUND],
            joined=sources[Source.JOINED],
            failed=sources[Source.FAILED],
            left=sources[Source.LEFT],
            holding=sources[Source.LED] - sum(ends.values()),
            told=ends[ClaimEnd.TOLD],
            released=ends[ClaimEnd.RELEASED],
            fenced=ends[ClaimEnd.FENCED],
            unsaid=ends[ClaimEnd.UNSAID],
            taken_over=self.taken_over,
            unreadable=self.unreadable,
            unshared=self.unshared,
        )
