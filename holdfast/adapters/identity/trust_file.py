"""Who is trusted, in a file.

Responsibility: `TrustList` over one JSON file, such as::

    {"version": 1, "trusted": [{"did": "did:key:z6Mk…", "roles": ["asks"], "not_after_s": 1924992000}]}

Guarantees: it is read anew for each question, so that a change by anybody counts at once; it is replaced as a whole,
    and synced; changes at once, by any process, are made one after the other. A file that is missing, broken, too long,
    or can be written by others is an error and trusts nobody: the last good list might trust who was revoked since.
Not responsible for: file systems without `flock`, and who may write to the folder.
Sources: RFC 8259; Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from holdfast.adapters.identity.regular_file import open_regular_file, read_small_file
from holdfast.adapters.identity.trust_document import MAX_DOCUMENT_BYTES, read_trust_document, write_trust_document
from holdfast.ports.did import Did
from holdfast.ports.errors import TrustStoreError
from holdfast.ports.identity import TrustChange, TrustList, TrustRecord

__all__ = ["FileTrustList"]

_NEW_MODE: Final = 0o644
_WRITABLE_BY_OTHERS: Final = 0o022
_LOCK_ATTEMPTS: Final = 500
_LOCK_PAUSE_S: Final = 0.01
"""Five seconds in all, for a lock that is held for milliseconds; unmeasured."""


class FileTrustList:
    """Keeps the list in a file; a link to one is followed.

    Args:
        path: the file; the first change creates it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest: tuple[bytes, Mapping[Did, TrustRecord]] | None = None

    async def find(self, did: Did) -> TrustRecord | None:
        """Return what is known about `did`.

        Raises:
            TrustStoreError: if the list cannot be read as a whole.
        """
        return (await self.records()).get(did)

    async def records(self) -> Mapping[Did, TrustRecord]:
        """Return all that is known, in order of the DIDs.

        Raises:
            TrustStoreError: if the list cannot be read as a whole.
        """
        return await run_sync(self._read)

    async def change(self, decide: TrustChange) -> tuple[TrustRecord, ...]:
        """Put the records that `decide` returns in the place of those of the same DIDs; it is called in a thread.

        Raises:
            TrustStoreError: if the list cannot be read or written, or others keep changing it for five seconds.
        """
        for _ in range(_LOCK_ATTEMPTS):
            changed = await run_sync(self._change, decide)
            if changed is not None:
                return changed
            await anyio.sleep(_LOCK_PAUSE_S)
        raise TrustStoreError("is being changed by another process; try again", path=str(self._path))

    def _read(self) -> Mapping[Did, TrustRecord]:
        with self._errors_translated():
            return self._known()

    def _change(self, decide: TrustChange) -> tuple[TrustRecord, ...] | None:
        """Return the records as changed, or None if somebody else is changing the list."""
        target = Path(os.path.realpath(self._path))
        with self._errors_translated():
            folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._errors_translated():
                if not _lock(folder):
                    return None
                known = self._known_or_new()
            changed = tuple(decide(known))
            if changed:
                with self._errors_translated():
                    _replace(target, write_trust_document({**known, **{record.did: record for record in changed}}))
                    os.fsync(folder)
            return changed
        finally:
            os.close(folder)

    def _known_or_new(self) -> Mapping[Did, TrustRecord]:
        try:
            return self._known()
        except FileNotFoundError:
            return {}

    def _known(self) -> Mapping[Did, TrustRecord]:
        with open_regular_file(self._path) as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _WRITABLE_BY_OTHERS:
                raise PermissionError(errno.EPERM, "can be written by others; look through it, then chmod go-w it")
            content = read_small_file(file, max_bytes=MAX_DOCUMENT_BYTES)
        # Reading is quick and understanding is not.
        latest = self._latest
        if latest is None or latest[0] != content:
            self._latest = latest = content, read_trust_document(content)
        return latest[1]

    @contextmanager
    def _errors_translated(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise TrustStoreError(error.strerror or type(error).__name__, path=str(self._path)) from error
        except ValueError as error:
            raise TrustStoreError(str(error), path=str(self._path)) from None


def _lock(folder: int) -> bool:
    """Lock the folder until it is closed; return False if somebody else has. Nothing is left behind by a crash."""
    import fcntl  # noqa: PLC0415 - Windows has none, and signs and verifies all the same

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(target: Path, content: bytes) -> None:
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _NEW_MODE)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException:
        # The error that led here says more than this one could.
        with suppress(OSError):
            unfinished.unlink()
        raise


_: type[TrustList] = FileTrustList
