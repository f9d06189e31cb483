"""A signature as text.

Responsibility: write the 64 bytes of a signature so that they go through a terminal, a mail or a file, and read them.
Guarantees: each signature has one text of 86 characters, and no other text is read.
Not responsible for: whether it is anybody's signature: see `holdfast.ports.identity.Verifier`.
Source: RFC 4648 section 5 (base64url), without padding; section 3.5 on bits that are left over.
"""

from __future__ import annotations

import base64
import re
from typing import Final

__all__ = ["SIGNATURE_CHARS", "read_signature", "write_signature"]

SIGNATURE_CHARS: Final = 86

# The last of the characters stands for two bits only.
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{85}[AQgw]", re.ASCII)


def write_signature(signature: bytes) -> str:
    """Return the text of a signature.

    Example:
        >>> write_signature(bytes(64)) == "A" * SIGNATURE_CHARS
        True
    """
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode("ascii")


def read_signature(text: str) -> bytes:
    """Return the signature with this text.

    Raises:
        ValueError: if it is not the text of a signature.
    """
    if not _TEXT.fullmatch(text):
        raise ValueError(f"is no signature, which is {SIGNATURE_CHARS} characters of base64url")
    return base64.urlsafe_b64decode(f"{text}==")
