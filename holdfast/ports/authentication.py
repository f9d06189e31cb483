"""Why somebody was not believed.

Responsibility: the reasons of an `AuthenticationError`, for counters and events on this side only.
Guarantees: a reason is never part of the error's message.
Not responsible for: what the other side is told: the same for all of them.
"""

from __future__ import annotations

import enum

__all__ = ["Disbelief"]


class Disbelief(enum.Enum):
    """Why a message was refused."""

    SIZE = "size"
    """It is longer than allowed, or shorter than possible."""
    SYNTAX = "syntax"
    """It cannot be read, has a field too many or too few, or is of a version that is not spoken here."""
    IDENTITY = "identity"
    """It names somebody by no DID, or by an unsafe one."""
    TRUST = "trust"
    """Its sender is unknown, revoked, out of its time, or lacks the role."""
    ADDRESS = "address"
    """It is meant for somebody else, for another session, or for the other direction."""
    FRESHNESS = "freshness"
    """It is too old, from the future, or has been used before."""
    CAPACITY = "capacity"
    """There is no room to remember it by, so that it could be used twice."""
    SIGNATURE = "signature"
    """Its signature is not its sender's."""
