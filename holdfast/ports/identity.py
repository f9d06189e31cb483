"""Signing, verifying, and who is trusted.

Responsibility: who signs, who verifies, and what is known about whom.
Guarantees: every value is frozen; a name that reaches these ports is a `Did`, and so canonical and safe.
Not responsible for: what is signed: see `holdfast.domain.signed_fields`; confidentiality: run it inside TLS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from holdfast.ports.did import Did
from holdfast.ports.errors import ConfigurationError

__all__ = ["SIGNATURE_BYTES", "Signer", "TrustChange", "TrustList", "TrustRecord", "TrustStore", "Verifier"]

SIGNATURE_BYTES: Final = 64
"""Length of a signature, always."""

_ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)

_END_OF_9999_S: Final = 253_402_300_799
"""Unix time of the last second that can be written as a date."""


class Signer(Protocol):
    """Signs as one identity.

    Atomicity: synchronous, and quick enough for the event loop. Secrecy: the private key is in no text, no copy and no
    pickle of it. Errors: none.
    """

    @property
    def did(self) -> Did:
        """Whose signatures these are."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, `SIGNATURE_BYTES` long; the same message always has the same one.

        Sign only what `holdfast.domain.signed_fields` made: a signature of anything else may be one of something else.
        """
        ...


class Verifier(Protocol):
    """Tells whose a signature is. Atomicity: synchronous, and quick enough for the event loop. Errors: none."""

    def verify(self, did: Did, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` is that of `message` by `did`; False for one of any other length or content."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecord:
    """What is known about an identity.

    Args:
        did: whose.
        roles: what it may act as: up to 64 lower-case letters, digits, ``-`` and ``_``, a letter first.
        not_before_s: Unix time from which on it is trusted; None for always.
        not_after_s: Unix time from which on it is no longer; None for never.
        revoked: whether it is trusted no more, whatever the time is.

    Raises:
        ConfigurationError: if a role is spelled otherwise, a time is no date up to the year 9999, or there is none at
            which it would be trusted.
    """

    did: Did
    roles: frozenset[str]
    not_before_s: int | None = None
    not_after_s: int | None = None
    revoked: bool = False

    def __post_init__(self) -> None:
        for role in self.roles:
            if not _ROLE.fullmatch(role):
                raise ConfigurationError(
                    "must be up to 64 lower-case letters, digits, '-' or '_', a letter first", path="trust.roles"
                )
        for name, unix_s in (("not_before_s", self.not_before_s), ("not_after_s", self.not_after_s)):
            if unix_s is not None and not 0 <= unix_s <= _END_OF_9999_S:
                raise ConfigurationError(f"must be from 1970 to 9999, not {unix_s}", path=f"trust.{name}")
        if self.not_before_s is not None and self.not_after_s is not None and self.not_before_s >= self.not_after_s:
            raise ConfigurationError(
                f"must be later than trust.not_before_s ({self.not_before_s}), not {self.not_after_s}",
                path="trust.not_after_s",
            )

    def is_trusted_at(self, unix_s: float) -> bool:
        """Return whether it is trusted at that Unix time."""
        return (
            not self.revoked
            and (self.not_before_s is None or unix_s >= self.not_before_s)
            and (self.not_after_s is None or unix_s < self.not_after_s)
        )


TrustChange: TypeAlias = Callable[[Mapping[Did, TrustRecord]], Iterable[TrustRecord]]
"""Decides, from what is known, what shall be known instead; raises `TrustChangeError` if that cannot be."""


class TrustStore(Protocol):
    """Knows who is trusted, and as what; an empty one trusts nobody.

    Freshness: what was changed before a call is found by it. Failure: a list that cannot be read as a whole is an
    error, and an older one is never used in its place, for it may lack a revocation. Cancellation: nothing is left
    behind. Errors: `TrustStoreError`.
    """

    async def find(self, did: Did) -> TrustRecord | None:
        """Return what is known about `did`, trusted or not; None if nothing is."""
        ...


class TrustList(TrustStore, Protocol):
    """A trust store that can be changed.

    Atomicity: a change is made as a whole or not at all, also beside other processes, and is durable when the call
    returns, as far as the list outlives its process at all. Cancellation: it was made or it was not.
    """

    async def records(self) -> Mapping[Did, TrustRecord]:
        """Return all that is known, in order of the DIDs."""
        ...

    async def change(self, decide: TrustChange) -> tuple[TrustRecord, ...]:
        """Put the records that `decide` returns in the place of those of the same DIDs, and return them.

        Nothing is ever taken away: to forget a revocation would be to trust again.

        Args:
            decide: called once, with the list as it is while nobody else can change it; what it raises leaves the list
                as it was.
        """
        ...
