"""Keys and trust, for those who administer them.

Responsibility: what a command line, or another host, can have done with key files and lists of who is trusted.
Guarantees: every value is frozen; nothing that crosses this port holds a private key.
Not responsible for: authenticating messages while a service runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.ports.did import Did
from holdfast.ports.identity import TrustRecord

__all__ = ["KeyDesk", "Standing", "TrustDesk"]


class KeyDesk(Protocol):
    """Makes key files and uses them.

    Idempotency: all but `create` change nothing. Cancellation: a key file is there as a whole or not at all. Errors:
    `KeyFileError`, and `RequestError` for any other file that cannot be used.
    """

    async def create(self, key: Path) -> Did:
        """Make a new identity with its private key in a new file, and return its DID."""
        ...

    async def show(self, key: Path) -> Did:
        """Return the DID of the identity in a key file."""
        ...

    async def sign(self, key: Path, file: Path) -> str:
        """Return the signature of a file of any length, as text."""
        ...

    async def verify(self, did: Did, file: Path, signature: Path) -> bool:
        """Return whether the file with the signature holds that of `file` by `did`, trusted or not."""
        ...

    async def rotate(self, old: Path, new: Path) -> str:
        """Return the statement by which the identity in `old` gives its place to the one in `new`, as one line.

        Raises:
            TrustChangeError: if they are the same identity.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known about an identity, and whether it is trusted now."""

    record: TrustRecord
    is_trusted: bool


class TrustDesk(Protocol):
    """Looks at lists of who is trusted, and changes them.

    Atomicity, cancellation: as `TrustList`. Errors: `TrustStoreError`, and `TrustChangeError` for a change that may not
    be.
    """

    async def standings(self, trust: Path) -> tuple[Standing, ...]:
        """Return all that is known, in order of the DIDs."""
        ...

    async def trust(self, trust: Path, record: TrustRecord) -> tuple[Standing, ...]:
        """Let `record` be all that is known about its identity, and return what changed; a new file is made."""
        ...

    async def revoke(self, trust: Path, did: Did) -> tuple[Standing, ...]:
        """Trust `did` no more, for good, and return what changed."""
        ...

    async def rotate(self, trust: Path, statement: Path) -> tuple[Standing, ...]:
        """Apply a statement of `KeyDesk.rotate`, and return what changed: the old identity, then the new one.

        Raises:
            RequestError: if the file with the statement cannot be read.
            DidError: if it names an identity that is none.
        """
        ...
