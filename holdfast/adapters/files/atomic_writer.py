"""Files replaced as a whole, on disks that may fail for a while.

Responsibility: `FileWriter` over the local file system.
Guarantees: the content is written to a temporary file in the same folder, synced, renamed over the old one, and the
    folder synced; the temporary file is gone after a failure or a cancellation. The permissions of a replaced file are
    kept, and hold for the temporary file, too. A folder kept in step with a cloud may answer with EIO for a while: the
    whole write is then repeated, and the user told once.
Not responsible for: ownership and extended attributes.
Source: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import stat
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from holdfast.ports.clock import Clock
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.files import FileWriter

__all__ = ["AtomicFileWriter"]


class AtomicFileWriter:
    """Replaces files on disk.

    Args:
        clock: waits between attempts.
        notify: told once for each file that has to be written again, in a sentence for the user.
        max_attempts: writes before an EIO surfaces; default 6, unmeasured.
        first_delay_s: seconds before the second write, doubled for each further one; default 0.5 (15.5 s in all),
            unmeasured.

    Raises:
        ConfigurationError: if `max_attempts` or `first_delay_s` cannot work.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        notify: Callable[[str], None],
        max_attempts: int = 6,
        first_delay_s: float = 0.5,
    ) -> None:
        if max_attempts < 1:
            raise ConfigurationError(f"must be at least 1, not {max_attempts!r}", path="writer.max_attempts")
        if not 0.0 <= first_delay_s < math.inf:
            raise ConfigurationError(
                f"must be a finite number from 0, not {first_delay_s!r}", path="writer.first_delay_s"
            )
        self._clock = clock
        self._notify = notify
        self._max_attempts = max_attempts
        self._first_delay_s = first_delay_s

    async def replace(self, path: Path, content: AsyncIterable[bytes]) -> None:
        """Give `path` this content, durably.

        Raises:
            OSError: EIO after the last attempt, and any other error at once.
        """
        for attempt in range(1, self._max_attempts):
            try:
                await _write(path, content)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            else:
                return
            if attempt == 1:
                self._notify(f"{path}: the disk answers with an I/O error; writing it again until it takes it")
            await self._clock.sleep(self._first_delay_s * 2 ** (attempt - 1))
        await _write(path, content)


async def _write(path: Path, content: AsyncIterable[bytes]) -> None:
    unfinished = await run_sync(_Unfinished, path)
    try:
        async for chunk in content:
            await run_sync(unfinished.write, chunk)
        await run_sync(unfinished.finish)
    except BaseException:
        # A few calls to the disk: bounded, and the only way to leave nothing behind.
        with anyio.CancelScope(shield=True):
            await run_sync(unfinished.discard)
        raise


class _Unfinished:
    """A temporary file beside its target."""

    def __init__(self, path: Path) -> None:
        self._target = Path(os.path.realpath(path))
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._path = self._target.with_name(f".{self._target.name}.{secrets.token_hex(8)}.tmp")
        self._file = open(self._path, "xb", opener=self._create)  # noqa: SIM115 - closed by `finish` or `discard`

    def _create(self, path: str, flags: int) -> int:
        try:
            # Nobody may read what comes who could not read what was there.
            mode = stat.S_IMODE(self._target.stat().st_mode)
        except FileNotFoundError:
            mode = 0o666
        return os.open(path, flags, mode)

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def finish(self) -> None:
        with suppress(FileNotFoundError):
            self._path.chmod(stat.S_IMODE(self._target.stat().st_mode))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._target)
        _sync_folder(self._target.parent)

    def discard(self) -> None:
        # The error that led here says more than one of these could.
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder, and syncs it by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_: type[FileWriter] = AtomicFileWriter
