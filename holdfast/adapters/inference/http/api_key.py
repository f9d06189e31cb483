"""Keys of servers.

Responsibility: refuse a key that could not be sent in a header.
Guarantees: no error repeats a key.
Not responsible for: where it comes from, and keeping it secret afterwards: whoever holds it never prints it.
"""

from __future__ import annotations

import re
from typing import Final

from holdfast.ports.errors import ConfigurationError

__all__ = ["checked_key"]

_KEY: Final = re.compile(r"[!-~]{1,4096}")


def checked_key(key: str, *, path: str) -> str:
    """Return `key`, if it can be sent.

    Args:
        key: what is given.
        path: of the setting; errors carry it.

    Raises:
        ConfigurationError: it is empty, longer than 4096 characters, or holds anything but visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise ConfigurationError("is no key: it needs 1 to 4096 visible ASCII characters, and nothing else", path=path)
    return key
