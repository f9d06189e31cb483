"""Files that hold secrets.

Responsibility: read a small text that only its owner, or a group that it was given to, may read.
Guarantees: a file that everybody may read, or that others may change, is refused, as is one that is none or too large;
    an error names the file and never what is in it.
Not responsible for: what the text means.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from holdfast.ports.errors import ConfigurationError

__all__ = ["read_secret_file"]

_FOR_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
_MAX_BYTES: Final = 1024 * 1024


def read_secret_file(path: Path, *, setting: str) -> str:
    """Return the text in the file at `path`.

    Args:
        path: the file.
        setting: which setting names it, for the error.

    Raises:
        ConfigurationError: it cannot be read, is no regular file, is open to others, or holds no UTF-8, or nothing.
    """
    try:
        problem, content = _read(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or type(error).__name__}", path=setting) from None
    if len(content) > _MAX_BYTES:
        problem = f"is longer than {_MAX_BYTES} bytes"
    if problem:
        raise ConfigurationError(f"{path}: {problem}", path=setting)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8", path=setting) from None
    if not text.strip():
        raise ConfigurationError(f"{path}: is empty", path=setting)
    return text


def _read(path: Path) -> tuple[str | None, bytes]:
    """Return what is wrong with the file, or else what is in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
    try:
        problem = _problem(os.fstat(descriptor))
        if problem:
            return problem, b""
        with open(descriptor, "rb", closefd=False) as file:
            return None, file.read(_MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _problem(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if stat.S_IMODE(found.st_mode) & _FOR_OTHERS:
        return "is open to others; chmod 600 it, and change what is in it if anybody has seen it"
    return None
