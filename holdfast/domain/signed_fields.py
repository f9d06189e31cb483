"""The bytes that a signature is made of.

Responsibility: put what is signed together, so that a signature can be taken for no other.
Guarantees: two different purposes, or lists of fields, never give the same bytes; nothing is signed in any other form.
Not responsible for: which fields there are: that is each protocol's; the signature: see `holdfast.ports.identity`.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["Purpose", "signed_fields"]

_TAG: Final = b"holdfast/identity/1\0"
_LENGTH_BYTES: Final = 8


class Purpose(enum.Enum):
    """What a signature says; each key signs for all of these, so none may look like another."""

    INITIATOR = "initiator"
    """I begin this session."""
    RESPONDER = "responder"
    """I answer in this session."""
    ENVELOPE = "envelope"
    """I send this message."""
    LEAVE = "leave"
    """I give my place to this new identity."""
    SUCCEED = "succeed"
    """I take the place of this old identity."""
    FILE = "file"
    """I stand for the file with this digest."""


def signed_fields(purpose: Purpose, *fields: bytes) -> bytes:
    r"""Return what is signed to say `purpose` about `fields`.

    Example:
        >>> signed_fields(Purpose.FILE, b"ab") == signed_fields(Purpose.FILE, b"a", b"b")
        False

    Complexity: linear in the fields.
    """
    parts = [_TAG]
    for field in (purpose.value.encode("ascii"), *fields):
        parts += (len(field).to_bytes(_LENGTH_BYTES, "big"), field)
    return b"".join(parts)
