"""Keys and trust, over files.

Responsibility: implement the driving ports in `holdfast.ports.identity_desk` with the adapters for files.
Guarantees: a file of any length is signed in constant memory; nothing is kept between calls.
Not responsible for: arguments and exit codes: a driving adapter does those.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from holdfast.adapters.identity import Ed25519Verifier, FileTrustList, create_key_file, read_key_file
from holdfast.adapters.identity.regular_file import open_regular_file, read_small_file
from holdfast.domain.rotation import Rotation, apply_rotation, rotate
from holdfast.domain.signature_text import read_signature, write_signature
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.domain.trust import revoke_trust, trust_as
from holdfast.ports.did import Did
from holdfast.ports.errors import RequestError
from holdfast.ports.identity import TrustChange, TrustRecord
from holdfast.ports.identity_desk import KeyDesk, Standing, TrustDesk

__all__ = ["FileKeyDesk", "FileTrustDesk"]

_MAX_TEXT_BYTES: Final = 1024
"""A statement takes 294, and a signature 87."""


class FileKeyDesk:
    """Makes key files and uses them."""

    async def create(self, key: Path) -> Did:
        """Make a new identity in a new file."""
        return (await run_sync(create_key_file, key)).did

    async def show(self, key: Path) -> Did:
        """Return the DID of the identity in a key file."""
        return (await run_sync(read_key_file, key)).did

    async def sign(self, key: Path, file: Path) -> str:
        """Return the signature of a file, as text."""
        signer = await run_sync(read_key_file, key)
        return write_signature(signer.sign(await run_sync(_signed_file, file)))

    async def verify(self, did: Did, file: Path, signature: Path) -> bool:
        """Return whether the file with the signature holds that of `file` by `did`."""
        text = await run_sync(_read_line, signature)
        try:
            found = read_signature(text)
        except ValueError as error:
            raise RequestError(f"{signature}: {error}") from None
        return Ed25519Verifier().verify(did, await run_sync(_signed_file, file), found)

    async def rotate(self, old: Path, new: Path) -> str:
        """Return the statement by which the identity in `old` gives its place to the one in `new`."""
        return rotate(await run_sync(read_key_file, old), await run_sync(read_key_file, new)).text


class FileTrustDesk:
    """Looks at lists of who is trusted, and changes them.

    Args:
        unix_s: the wall clock, in Unix seconds.
    """

    def __init__(self, *, unix_s: Callable[[], float] = time.time) -> None:
        self._unix_s = unix_s

    async def standings(self, trust: Path) -> tuple[Standing, ...]:
        """Return all that is known."""
        return self._standings((await FileTrustList(trust).records()).values())

    async def trust(self, trust: Path, record: TrustRecord) -> tuple[Standing, ...]:
        """Let `record` be all that is known about its identity."""
        return await self._change(trust, trust_as(record))

    async def revoke(self, trust: Path, did: Did) -> tuple[Standing, ...]:
        """Trust `did` no more."""
        return await self._change(trust, revoke_trust(did))

    async def rotate(self, trust: Path, statement: Path) -> tuple[Standing, ...]:
        """Apply a statement."""
        rotation = Rotation.read(await run_sync(_read_line, statement))
        return await self._change(trust, apply_rotation(rotation, verifier=Ed25519Verifier(), unix_s=self._unix_s()))

    async def _change(self, trust: Path, change: TrustChange) -> tuple[Standing, ...]:
        return self._standings(await FileTrustList(trust).change(change))

    def _standings(self, records: Iterable[TrustRecord]) -> tuple[Standing, ...]:
        now_s = self._unix_s()
        return tuple(Standing(record=record, is_trusted=record.is_trusted_at(now_s)) for record in records)


def _signed_file(path: Path) -> bytes:
    """Return what is signed to stand for the file."""
    try:
        with open_regular_file(path) as file:
            digest = hashlib.file_digest(file, "sha512").digest()
    except OSError as error:
        raise _unreadable(path, error) from error
    return signed_fields(Purpose.FILE, digest)


def _read_line(path: Path) -> str:
    """Return what the file holds, without the line end; what is no ASCII becomes what cannot be read either."""
    try:
        with open_regular_file(path) as file:
            return read_small_file(file, max_bytes=_MAX_TEXT_BYTES).decode("ascii", "replace").rstrip("\r\n")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RequestError:
    return RequestError(f"{path}: {error.strerror or type(error).__name__}")


_: tuple[type[KeyDesk], type[TrustDesk]] = (FileKeyDesk, FileTrustDesk)
