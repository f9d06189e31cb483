"""What became of the messages that came to be authenticated.

Responsibility: count them, and tell of those that were refused.
Guarantees: the counts add up as `AuthenticationStatistics` says, however a message ends.
Not responsible for: deciding: see `holdfast.domain.handshake` and `holdfast.domain.envelope_gate`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from holdfast.ports.events import EnvelopeRefused, EventSink, HandshakeRefused
from holdfast.ports.statistics import AuthenticationStatistics

__all__ = ["AuthenticationTally", "Step"]


class Step(enum.Enum):
    """What a message was for."""

    HELLO = enum.auto()
    PROOF = enum.auto()
    ENVELOPE = enum.auto()


class AuthenticationTally:
    """Counts messages.

    Args:
        events: told of each refusal.
    """

    def __init__(self, *, events: EventSink | None = None) -> None:
        self._events = events
        self._received = 0
        self._failed = 0
        self._believed: Counter[Step] = Counter()
        self._refused: Counter[Disbelief] = Counter()

    @contextmanager
    def check(self, step: Step) -> Generator[None]:
        """Count one message, which the ``with`` block decides on."""
        self._received += 1
        try:
            yield
        except AuthenticationError as error:
            self._refused[error.reason] += 1
            if self._events is not None:
                refusal = EnvelopeRefused if step is Step.ENVELOPE else HandshakeRefused
                self._events.emit(refusal(reason=error.reason))
            raise
        except BaseException:
            self._failed += 1
            raise
        self._believed[step] += 1

    def statistics(self, *, sessions: int, remembered: int) -> AuthenticationStatistics:
        """Return the counts, with what is kept."""
        ended = self._failed + self._believed.total() + self._refused.total()
        return AuthenticationStatistics(
            received=self._received,
            in_check=self._received - ended,
            challenged=self._believed[Step.HELLO],
            begun=self._believed[Step.PROOF],
            taken=self._believed[Step.ENVELOPE],
            failed=self._failed,
            refused={reason: self._refused[reason] for reason in Disbelief},
            sessions=sessions,
            remembered=remembered,
        )
