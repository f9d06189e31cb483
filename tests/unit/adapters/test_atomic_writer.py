from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.ports.errors import ConfigurationError
from holdfast.testing import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


class Chunks:
    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.iterations = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.iterations += 1
        for chunk in self.chunks:
            yield chunk


def failing(code: int, times: int, real: Callable[[int], None] = os.fsync) -> Callable[[int], None]:
    """Stand in for `os.fsync` on a disk that fails: no file system here gives EIO when asked to."""
    left = [times]

    def fsync(descriptor: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        real(descriptor)

    return fsync


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"max_attempts": 0}, "writer.max_attempts"),
        ({"first_delay_s": -1.0}, "writer.first_delay_s"),
        ({"first_delay_s": math.nan}, "writer.first_delay_s"),
    ],
)
def test_writer_with_a_value_that_cannot_work_is_refused(told: list[str], wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AtomicFileWriter(clock=ManualClock(), notify=told.append, **wrong)

    assert caught.value.path == path


async def test_replace_when_the_disk_recovers_writes_everything_again_and_tells_once(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, 3))
    clock = ManualClock(0.0)
    content = Chunks(b"a", b"b")
    path = tmp_path / "out.txt"

    await AtomicFileWriter(clock=clock, notify=told.append).replace(path, content)

    assert path.read_bytes() == b"ab"
    assert content.iterations == 4
    assert clock.monotonic_s() == 0.5 + 1.0 + 2.0
    assert len(told) == 1
    assert str(path) in told[0]
    assert names(tmp_path) == ["out.txt"]


async def test_replace_when_the_disk_stays_broken_surfaces_the_error_and_keeps_the_old_file(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, 100))
    content = Chunks(b"new")
    writer = AtomicFileWriter(clock=ManualClock(), notify=told.append, max_attempts=3)

    with pytest.raises(OSError, match="Input/output") as caught:
        await writer.replace(path, content)

    assert caught.value.errno == errno.EIO
    assert content.iterations == 3
    assert len(told) == 1
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.txt"]


async def test_replace_on_a_full_disk_surfaces_at_once(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC, 1))
    content = Chunks(b"new")

    with pytest.raises(OSError, match="No space") as caught:
        await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(tmp_path / "out.txt", content)

    assert caught.value.errno == errno.ENOSPC
    assert content.iterations == 1
    assert told == []
    assert names(tmp_path) == []


async def test_replace_cancelled_between_two_attempts_leaves_the_old_file(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, 1))

    class Interrupted(ManualClock):
        async def sleep(self, delay_s: float) -> None:
            scope.cancel()
            await super().sleep(delay_s)

    with anyio.CancelScope() as scope:
        await AtomicFileWriter(clock=Interrupted(), notify=told.append).replace(path, Chunks(b"new"))

    assert scope.cancelled_caught
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.txt"]


async def test_replace_of_a_file_in_a_place_that_is_no_folder_surfaces(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(FileExistsError):
        await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(
            tmp_path / "file" / "out.txt", Chunks(b"new")
        )

    assert told == []


@pytest.mark.parametrize("mode", [0o600, 0o666])
async def test_replace_keeps_the_permissions_of_the_old_file_and_follows_its_link(
    tmp_path: Path, told: list[str], mode: int
) -> None:
    target = tmp_path / "private.txt"
    target.write_bytes(b"old")
    target.chmod(mode)
    link = tmp_path / "link.txt"
    link.symlink_to(target)

    await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(link, Chunks(b"new"))

    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == mode


async def test_replace_lets_nobody_read_the_new_content_who_could_not_read_the_old_one(
    tmp_path: Path, told: list[str]
) -> None:
    target = tmp_path / "private.txt"
    target.write_bytes(b"old")
    target.chmod(0o600)
    modes: list[int] = []

    class Watching(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"new"
            modes.extend(stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path))

    await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(target, Watching())

    assert modes == [0o600, 0o600]


async def test_replace_of_a_missing_file_leaves_the_permissions_to_the_umask(tmp_path: Path, told: list[str]) -> None:
    path, beside = tmp_path / "new.txt", tmp_path / "beside.txt"
    beside.write_bytes(b"")

    await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(path, Chunks(b"new"))

    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)


async def test_replace_syncs_the_file_before_it_is_renamed_and_the_folder_after(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    path = tmp_path / "out.txt"
    synced: list[tuple[int | None, bool]] = []
    descriptors: list[int] = []

    def fsync(descriptor: int) -> None:
        descriptors.append(descriptor)
        found = os.fstat(descriptor)
        synced.append((None if stat.S_ISDIR(found.st_mode) else found.st_size, path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    await AtomicFileWriter(clock=ManualClock(), notify=told.append).replace(path, Chunks(b"new"))

    assert synced == [(len(b"new"), False), (None, True)]
    for descriptor in descriptors:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)
