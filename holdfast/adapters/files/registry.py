"""A registry in a folder, for the processes of one machine.

Responsibility: `ServiceRegistry` over files, one for each instance, such as ``FOLDER/asks/asks-1.json``::

    {"service": "asks", "instance_id": "asks-1", "host": "127.0.0.1", "port": 8080, "tags": [], "metadata": {},
     "ttl_s": 15.0, "forget_after_s": 60.0}

Guarantees: an instance is read whole or not at all: its file is replaced as a whole; a heartbeat is the time at which
    the file was changed last; a file that is none of ours, broken or too long lists nobody and harms nobody; once the
    folder is followed, a step of the wall clock kills nobody and keeps nobody alive for longer than its time to live.
Not responsible for: folders on other machines, whose clocks and caches are their own.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.ports.clock import Clock
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.registry import ServiceInstance, ServiceRegistry

__all__ = ["FileRegistry"]

_NAME: Final = "file registry"
_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_FILES: Final = 1000
"""Of one service; what is beyond, in order of the names, is not read. Unmeasured, as the size."""
_NEEDS_MENDING: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,  # a file in the place of a folder
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What one file says."""

    instance: ServiceInstance
    ttl_s: float
    forget_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    path: Path
    changed_ns: int
    entry: _Entry


class FileRegistry:
    """Keeps instances in a folder, and looks into it again and again. For one event loop; any number of processes.

    Args:
        folder: made when the first instance registers.
        clock: monotonic time.
        unix_s: the wall clock, as the file system has it.
        poll_s: seconds from one look to the next; default 0.5, unmeasured.
    """

    def __init__(
        self, folder: Path, *, clock: Clock, unix_s: Callable[[], float] = time.time, poll_s: float = 0.5
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._unix_s = unix_s
        self._poll_s = poll_s
        self._writer = AtomicFileWriter(clock=clock, notify=_ignore, max_attempts=1)
        self._looked_at_s: dict[str, float] = {}
        self._seen: dict[Path, tuple[int, float]] = {}
        self._lists: dict[str, tuple[int, tuple[ServiceInstance, ...]]] = {}
        self._looking = anyio.Lock()  # or a look that began earlier and ended later would tell what was before as new

    async def register(self, instance: ServiceInstance, *, ttl_s: float, forget_after_s: float) -> None:
        """List `instance`, in the place of the one of the same service and id.

        Raises:
            StoreRefusedError: if the folder cannot be written to, or the id is too long for a file's name.
            StoreUnavailableError: if the disk fails otherwise.
        """
        document = {
            "service": instance.service,
            "instance_id": instance.instance_id,
            "host": instance.host,
            "port": instance.port,
            "tags": instance.tags,
            "metadata": dict(instance.metadata),
            "ttl_s": float(ttl_s),
            "forget_after_s": float(forget_after_s),
        }
        try:
            await self._writer.replace(_path_in(self._folder, instance), _OnePiece(json.dumps(document).encode()))
        except OSError as error:
            raise self._translated(error) from error

    async def heartbeat(self, instance: ServiceInstance) -> bool:
        """Say that `instance` lives; return False if its file is gone.

        Raises:
            StoreError: as `register`.
        """
        try:
            await run_sync(os.utime, _path_in(self._folder, instance))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._translated(error) from error
        return True

    async def deregister(self, instance: ServiceInstance) -> None:
        """Forget `instance`, known or not.

        Raises:
            StoreError: as `register`.
        """
        try:
            await run_sync(_remove, _path_in(self._folder, instance))
        except OSError as error:
            raise self._translated(error) from error

    async def instances(
        self, service: str, *, index: int, wait_s: float
    ) -> tuple[int | None, tuple[ServiceInstance, ...]]:
        """Return the living instances of `service`, once there is something new.

        Raises:
            StoreError: if the folder cannot be read.
        """
        ends_at_s = self._clock.monotonic_s() + wait_s
        while True:
            async with self._looking:
                found, listed = await self._look(service)
            left_s = ends_at_s - self._clock.monotonic_s()
            if found != index or left_s <= 0:
                return found, listed
            await self._clock.sleep(min(self._poll_s, left_s))

    async def _look(self, service: str) -> tuple[int, tuple[ServiceInstance, ...]]:
        try:
            every = await run_sync(_read_folder, self._folder / _quoted(service))
        except OSError as error:
            raise self._translated(error) from error
        now_s = self._clock.monotonic_s()
        silent_s = {found.path: self._silent_s(found, service, now_s) for found in every}
        self._looked_at_s[service] = now_s
        for found in every:
            if silent_s[found.path] >= found.entry.ttl_s + found.entry.forget_after_s:
                with suppress(OSError):  # not ours to remove, perhaps; it is not listed all the same
                    await run_sync(_remove, found.path)
        listed = tuple(found.entry.instance for found in every if silent_s[found.path] < found.entry.ttl_s)
        folder = self._folder / _quoted(service)
        for path in [path for path in self._seen if path.parent == folder and path not in silent_s]:
            del self._seen[path]
        before = self._lists.get(service, (0, ()))
        if before[0] == 0 or before[1] != listed:
            self._lists[service] = before = before[0] + 1, listed
        return before

    def _silent_s(self, found: _Found, service: str, now_s: float) -> float:
        """Return for how many seconds this instance has said nothing."""
        seen = self._seen.get(found.path)
        if seen is None or seen[0] != found.changed_ns:
            # The wall clock may have been set since; but if it said something only now, that was after our last look.
            age_s = max(0.0, self._unix_s() - found.changed_ns / 1e9)
            since_look_s = now_s - self._looked_at_s.get(service, -math.inf)
            self._seen[found.path] = seen = found.changed_ns, now_s - min(age_s, since_look_s)
        return now_s - seen[1]

    def _translated(self, error: OSError) -> StoreRefusedError | StoreUnavailableError:
        kind = StoreRefusedError if error.errno in _NEEDS_MENDING else StoreUnavailableError
        return kind(f"{self._folder}: cannot be used: {error.strerror}", store=_NAME)


def _read_folder(folder: Path) -> list[_Found]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json") and _is_file(entry))
    except FileNotFoundError:
        return []
    every = (_read(folder / name) for name in names[:_MAX_FILES])
    return sorted((found for found in every if found is not None), key=lambda found: found.entry.instance.instance_id)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether it can be read at once; a pipe would be waited for, and a link may lead in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _read(path: Path) -> _Found | None:
    """Return what is in a file; None if that is no instance, or the file is gone by now."""
    try:
        with path.open("rb") as file:
            changed_ns = os.fstat(file.fileno()).st_mtime_ns
            content = file.read(_MAX_FILE_BYTES + 1)
        entry = _entry(json.loads(content)) if len(content) <= _MAX_FILE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    if entry is None or path != _path_in(path.parents[1], entry.instance):
        return None
    return _Found(path=path, changed_ns=changed_ns, entry=entry)


def _entry(document: Any) -> _Entry | None:  # noqa: ANN401 - whatever JSON there is
    match document:
        case {
            "service": str(service),
            "instance_id": str(instance_id),
            "host": str(host),
            "port": int(port),
            "tags": [*tags],
            "metadata": {**metadata},
            "ttl_s": float(ttl_s),
            "forget_after_s": float(forget_after_s),
        } if host and 0 < port < 65536 and all(isinstance(text, str) for text in (*tags, *metadata.values())):
            instance = ServiceInstance(
                service=service,
                instance_id=instance_id,
                host=host,
                port=port,
                tags=tuple(map(str, tags)),
                metadata={str(name): str(value) for name, value in metadata.items()},
            )
            return _Entry(instance=instance, ttl_s=ttl_s, forget_after_s=forget_after_s)
        case _:
            return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _path_in(folder: Path, instance: ServiceInstance) -> Path:
    return folder / _quoted(instance.service) / f"{_quoted(instance.instance_id)}.json"


def _quoted(name: str) -> str:
    # Nothing that means anything in a path, and no dot at the beginning, which hides files.
    return quote(name, safe="").replace(".", "%2E")


class _OnePiece:
    """A content to be written once; a generator would have to be closed by whoever is cancelled while writing."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _ignore(_: str) -> None:
    """Tell nobody: whoever registers is told by the error."""


_: type[ServiceRegistry] = FileRegistry
