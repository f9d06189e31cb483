"""Private keys in files.

Responsibility: create a key file, and read one.
Guarantees: a key file is created for its owner only and never over another file; one that others may read or write, or
    that is a symbolic link, is refused. No error holds anything of a key, nor does any frame of its traceback.
Not responsible for: encryption at rest, and who may write to the folder. The key is as secret as the file; where files
    have no such permissions there are no key files: keep the key elsewhere, and give it to `Ed25519Signer`.
Sources: PKCS #8 (RFC 5958) as PEM, as OpenSSL writes it; RFC 8410 section 7.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from holdfast.adapters.identity.ed25519 import Ed25519Signer
from holdfast.adapters.identity.regular_file import open_regular_file, read_small_file
from holdfast.ports.errors import KeyFileError

__all__ = ["create_key_file", "read_key_file"]

_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077
_MAX_BYTES: Final = 4096
"""A key file of ours takes 119; the rest is for comments."""


def create_key_file(path: Path) -> Ed25519Signer:
    """Make a new identity, keep its private key in a new file, and return it.

    The file and its folder are synced before this returns; after an error there is no file.

    Raises:
        KeyFileError: if there is something of that name already, or it cannot be written.
    """
    # Errors are raised here, where no variable holds a key.
    made = _create(path)
    if isinstance(made, str):
        raise KeyFileError(made, path=str(path))
    return made


def read_key_file(path: Path) -> Ed25519Signer:
    """Return the identity whose private key is in the file.

    Raises:
        KeyFileError: if it cannot be read, others may read or write it, it is a symbolic link or no regular file, or it
            holds anything but one Ed25519 private key without a password.
    """
    found = _read(path)
    if isinstance(found, str):
        raise KeyFileError(found, path=str(path))
    return found


def _create(path: Path) -> Ed25519Signer | str:
    """Return the new identity, or what is wrong."""
    private_key = Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    except FileExistsError:
        return "exists already; a key is never written over, so choose another name"
    except OSError as error:
        return _in_words(error)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            os.fchmod(descriptor, _OWNER_ONLY)
            if _is_open_to_others(descriptor):
                raise PermissionError(
                    errno.EPERM, "is on a file system that keeps no permissions; choose another place"
                )
            file.write(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(descriptor)
        _sync_folder(path)
    except OSError as error:
        # The error that led here says more than this one could.
        with suppress(OSError):
            path.unlink()
        return _in_words(error)
    return Ed25519Signer(private_key)


def _read(path: Path) -> Ed25519Signer | str:
    """Return the identity, or what is wrong."""
    try:
        with open_regular_file(path, may_be_link=False) as file:
            if _is_open_to_others(file.fileno()):
                return "can be read or written by others; make a new key, or chmod 600 it if nobody has"
            content = read_small_file(file, max_bytes=_MAX_BYTES)
    except OSError as error:
        return _in_words(error)
    try:
        private_key = load_pem_private_key(content, password=None)
    except TypeError:
        return "is encrypted; keep it without a password, in a place that is safe by itself"
    except (ValueError, UnsupportedAlgorithm):
        return "is no private key in PEM"
    if not isinstance(private_key, Ed25519PrivateKey):
        return "is a private key, but none for Ed25519"
    return Ed25519Signer(private_key)


def _is_open_to_others(descriptor: int) -> bool:
    return bool(stat.S_IMODE(os.fstat(descriptor).st_mode) & _OTHERS)


def _in_words(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
