"""Keys of servers.

Responsibility: take a key as it is given or as it stands in a file, so that it can be sent in a header.
Guarantees: no error repeats a key; a file that others may read or write is refused, as is one that is no regular file.
Not responsible for: keeping it secret afterwards: whoever holds it never prints it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from holdfast.ports.errors import ConfigurationError

__all__ = ["checked_key", "read_key"]

_MAX_BYTES: Final = 4096
_OTHERS: Final = 0o077
_KEY: Final = re.compile(r"[!-~]+")


def read_key(file: Path, *, path: str) -> str:
    """Return the key in a file, without the white space around it.

    Args:
        file: where it stands.
        path: of the setting; errors carry it.

    Raises:
        ConfigurationError: it cannot be read, is no regular file, is not its owner's alone, or holds no key.
    """
    try:
        # Not blocking: opening a FIFO would wait for somebody to write to it.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - it is a descriptor
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigurationError(f"{str(file)!r} is no regular file", path=path)
            if stat.S_IMODE(mode) & _OTHERS:
                raise ConfigurationError(
                    f"{str(file)!r} can be read or written by others; chmod 600 it, and change the key if anybody has",
                    path=path,
                )
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{str(file)!r} cannot be read: {error.strerror}", path=path) from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{str(file)!r} holds more than {_MAX_BYTES} bytes, which is no key", path=path)
    return checked_key(content.decode("utf-8", "replace").strip(), path=path)


def checked_key(key: str, *, path: str) -> str:
    """Return `key`, if it can be sent.

    Raises:
        ConfigurationError: it is empty, or holds anything but visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise ConfigurationError("is no key: it needs visible ASCII characters, and nothing else", path=path)
    return key
