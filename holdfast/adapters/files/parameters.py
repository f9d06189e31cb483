"""A TOML file as a store of parameters.

Responsibility: `ParameterStore` over one file, for machines without a server.
Guarantees: those of the port, where the file is replaced and not written into; a file that is too large, or is no TOML,
    is refused in one line.
Not responsible for: writing it. A file that is written into may be seen half-written: it is refused then, and taken
    once it is whole.
"""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.parameters import ParameterStore

__all__ = ["FileParameters"]

_NAME: Final = "parameter file"
_MAX_BYTES: Final = 1024 * 1024


class FileParameters:
    """Reads the file again and again while somebody waits for a change. For one event loop.

    Args:
        path: of the file, in the form of ``holdfast.toml``.
        poll_s: seconds between two looks at it; default 1, unmeasured.
    """

    def __init__(self, path: Path, *, poll_s: float = 1.0) -> None:
        self._path = path
        self._poll_s = poll_s
        self._content = b""
        self._values: Mapping[str, object] = {}
        self._index = 0

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return _NAME

    async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        """Return the parameters, once there is something new.

        Raises:
            StoreUnavailableError: there is no such file, for now.
            StoreRefusedError: it cannot be read, is larger than 1 MiB, or is no TOML.
        """
        await self._look()
        with anyio.move_on_after(wait_s):
            while self._index == index:
                await anyio.sleep(self._poll_s)
                await self._look()
        return self._index, self._values

    async def _look(self) -> None:
        content, values = await anyio.to_thread.run_sync(self._read, self._content, abandon_on_cancel=True)
        if values is not None:
            self._content, self._values = content, values
            self._index += 1

    def _read(self, known: bytes) -> tuple[bytes, Mapping[str, object] | None]:
        """Return the content, and its values unless it is known. In a worker thread."""
        try:
            with open(self._path, "rb", opener=_open_no_pipe) as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            raise StoreUnavailableError(f"there is no {str(self._path)!r}", store=_NAME) from None
        except OSError as error:
            raise StoreRefusedError(f"{str(self._path)!r} cannot be read: {error.strerror}", store=_NAME) from error
        if content == known and self._index:
            return content, None
        if len(content) > _MAX_BYTES:
            raise StoreRefusedError(f"{str(self._path)!r} is larger than {_MAX_BYTES} bytes", store=_NAME)
        try:
            return content, tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:  # also for what is TOML: a number of 5000 digits, deep nesting
            raise StoreRefusedError(f"{str(self._path)!r} is not valid TOML: {error}", store=_NAME) from error


def _open_no_pipe(path: str, flags: int) -> int:
    if stat.S_ISFIFO(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, which would be waited for")
    return os.open(path, flags)


_: type[ParameterStore] = FileParameters
