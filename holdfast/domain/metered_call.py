"""A call under a rate limit, from its reservation to its settlement.

Responsibility: reserve when a call is begun, and settle by how it ended.
Guarantees: refused before anything was taken; the reservation ends when the block does, however it ends.
Not responsible for: how much gets through: see `holdfast.domain.rate_limit`.

How it ended decides what counts:

- it was answered: what its usage says, or the estimate where the peer reports no usage;
- it was not made, because something of ours refused it or failed before: nothing;
- it was made and failed, or was cut off at its deadline (adr/0011): the request, the tokens that it had sent, and those
  of what had gone out of an answer that streams;
- it was cancelled: nothing, unless something of its answer had gone out; then as if it had failed. What the peer did
  for a cancelled call without telling is counted against nobody (adr/0019).
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.deadline import Deadline
from holdfast.domain.rate_limit import RateLimit
from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.token_estimate import TokenEstimate, estimate_text_tokens
from holdfast.ports.errors import RefusedError
from holdfast.ports.inference import Usage

__all__ = ["MeteredCall"]

_NOT_REPORTED: Final = Usage()


class MeteredCall:
    """One call under `limit`: a context manager around everything that the call takes.

    Args:
        limit: reserved from on entry.
        estimate: what the call will probably take.
        deadline: of the whole request; whoever set it cancels the call then.
        outlet: where the answer goes while it comes; None where it does not stream.

    Example:
        >>> from holdfast.domain.rate_limit import RateLimitConfig
        >>> from holdfast.testing import ManualClock
        >>> clock = ManualClock()
        >>> limit = RateLimit("backend 'a'", RateLimitConfig(tokens_per_minute=1000), clock=clock)
        >>> with MeteredCall(limit, TokenEstimate(input_tokens=10, output_tokens=90), Deadline(2e3, clock)) as call:
        ...     call.begin()
        ...     call.answer(Usage(input_tokens=12, output_tokens=30))
        >>> limit.statistics().tokens_left
        958.0
    """

    __slots__ = ("_begun", "_deadline", "_estimate", "_limit", "_outlet", "_reservation", "_usage")

    def __init__(
        self,
        limit: RateLimit,
        estimate: TokenEstimate,
        deadline: Deadline,
        *,
        outlet: Outlet | None = None,
    ) -> None:
        self._limit = limit
        self._estimate = estimate
        self._deadline = deadline
        self._outlet = outlet
        self._begun = False
        self._usage: Usage | None = None

    def __enter__(self) -> Self:
        """Reserve.

        Raises:
            RateLimitedError: as `RateLimit.reserve` says; the block is not entered.
        """
        self._reservation = self._limit.reserve(self._estimate.total)
        return self

    def begin(self) -> None:
        """Say that the peer is asked from here on."""
        self._begun = True

    def answer(self, usage: Usage) -> None:
        """Say that the peer answered, and what it says that took; 0 tokens if it does not say.

        What is said last counts: an answer that takes a second call comes to the usage of both.
        """
        self._usage = usage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Settle."""
        usage = self._usage
        if usage is not None:
            used = self._estimate.total if usage == _NOT_REPORTED else usage.input_tokens + usage.output_tokens
            self._reservation.settle(used)
            return
        sent_bytes = 0 if self._outlet is None else self._outlet.sent_bytes
        if self._begun and self._counts(error, sent_bytes):
            self._reservation.settle(self._estimate.input_tokens + estimate_text_tokens(sent_bytes))
        else:
            self._reservation.cancel()

    def _counts(self, error: BaseException | None, sent_bytes: int) -> bool:
        if sent_bytes:
            return True
        if error is None or isinstance(error, Exception):
            return not isinstance(error, RefusedError)
        return is_cancellation(error) and self._deadline.has_passed()
