# ruff: noqa: ASYNC240 - the files are small, and nothing else runs meanwhile
from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from holdfast.adapters.identity import FileTrustList
from holdfast.ports.did import Did
from holdfast.ports.errors import TrustChangeError, TrustStoreError
from holdfast.ports.identity import TrustChange, TrustRecord
from holdfast.testing import ForgeableSigner, sweep_cancellation

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

ALICE = TrustRecord(did=ForgeableSigner("alice").did, roles=frozenset({"asks"}), not_after_s=20)
BOB = TrustRecord(did=ForgeableSigner("bob").did, roles=frozenset({"answers"}))


def _put(*records: TrustRecord) -> TrustChange:
    return lambda _known: records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trust.json"


@pytest.fixture
async def trust(path: Path) -> FileTrustList:
    trust = FileTrustList(path)
    await trust.change(_put(ALICE))
    return trust


async def test_find_in_a_missing_file_is_an_error(path: Path) -> None:
    with pytest.raises(TrustStoreError, match=r"trust\.json: No such file or directory"):
        await FileTrustList(path).find(ALICE.did)


async def test_change_of_a_missing_file_creates_it_and_leaves_nothing_beside(path: Path) -> None:
    await FileTrustList(path).change(_put(ALICE))

    assert await FileTrustList(path).find(ALICE.did) == ALICE
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
async def test_change_creates_a_file_that_only_its_owner_can_write(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        await FileTrustList(path).change(_put(ALICE))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_change_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrustStoreError, match="No such file or directory"):
        await FileTrustList(tmp_path / "missing" / "trust.json").change(_put(ALICE))


async def test_change_keeps_the_permissions_of_the_file(path: Path, trust: FileTrustList) -> None:
    path.chmod(0o600)

    await trust.change(_put(BOB))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_change_of_a_link_changes_the_file_that_it_leads_to(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "list.json")

    await FileTrustList(path).change(_put(ALICE))

    assert path.is_symlink()
    assert await FileTrustList(tmp_path / "real" / "list.json").find(ALICE.did) == ALICE


async def test_change_of_nothing_leaves_the_very_file(path: Path, trust: FileTrustList) -> None:
    before = path.stat().st_ino, path.stat().st_mtime_ns

    assert await trust.change(_put()) == ()

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


async def test_change_by_somebody_else_counts_at_once(path: Path, trust: FileTrustList) -> None:
    assert await trust.find(ALICE.did) == ALICE

    await FileTrustList(path).change(_put(replace(ALICE, revoked=True)))

    assert await trust.find(ALICE.did) == replace(ALICE, revoked=True)


async def test_change_within_one_tick_of_the_clock_and_of_the_same_length_counts_too(
    path: Path, trust: FileTrustList
) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    assert await trust.find(ALICE.did) == ALICE

    path.write_text(path.read_text().replace('"asks"', '"asky"'))
    os.utime(path, ns=times)

    assert await trust.find(ALICE.did) == replace(ALICE, roles=frozenset({"asky"}))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no JSON from line 1, column 1 on"),
        (b"{}", "must be an object with the keys version and trusted"),
        (b"\xff\xfe", "is no UTF-8 from byte 0 on"),
        (b" " * 1_048_577, "is longer than 1048576 bytes"),
    ],
)
async def test_broken_file_is_an_error_and_the_last_good_list_is_not_used(
    path: Path, trust: FileTrustList, content: bytes, problem: str
) -> None:
    assert await trust.find(ALICE.did) == ALICE
    path.write_bytes(content)

    for _ in range(2):
        with pytest.raises(TrustStoreError, match=rf"trust\.json: {problem}"):
            await trust.find(ALICE.did)


async def test_broken_file_that_is_mended_is_read_again(path: Path, trust: FileTrustList) -> None:
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    with pytest.raises(TrustStoreError):
        await trust.find(ALICE.did)
    path.write_bytes(good)

    assert await trust.find(ALICE.did) == ALICE


async def test_broken_file_is_not_written_over(path: Path, trust: FileTrustList) -> None:
    path.write_bytes(b"{")

    with pytest.raises(TrustStoreError, match="is no JSON"):
        await trust.change(_put(BOB))

    assert path.read_bytes() == b"{"


async def test_file_that_vanished_is_an_error(path: Path, trust: FileTrustList) -> None:
    assert await trust.find(ALICE.did) == ALICE
    path.unlink()

    with pytest.raises(TrustStoreError, match="No such file"):
        await trust.find(ALICE.did)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622, 0o777])
async def test_file_that_others_can_write_is_an_error(path: Path, trust: FileTrustList, mode: int) -> None:
    path.chmod(mode)

    with pytest.raises(TrustStoreError, match="can be written by others; look through it, then chmod go-w it"):
        await trust.find(ALICE.did)
    with pytest.raises(TrustStoreError, match="can be written by others"):
        await trust.change(_put(BOB))


async def test_pipe_is_an_error_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path, 0o600)

    with pytest.raises(TrustStoreError, match="is no regular file"):
        await FileTrustList(path).find(ALICE.did)
    with pytest.raises(TrustStoreError, match="is no regular file"):
        await FileTrustList(path).change(_put(ALICE))


async def test_list_that_would_be_too_long_is_an_error_and_not_written(path: Path, trust: FileTrustList) -> None:
    before = path.read_bytes()
    roles = frozenset(f"{'r' * 50}{number}" for number in range(20_000))

    with pytest.raises(TrustStoreError, match="keep more than one list"):
        await trust.change(_put(replace(BOB, roles=roles)))

    assert path.read_bytes() == before


async def test_change_that_is_refused_is_the_callers_error(path: Path, trust: FileTrustList) -> None:
    def refuse(known: Mapping[Did, TrustRecord]) -> Iterable[TrustRecord]:
        raise TrustChangeError(f"no: {len(known)}")

    with pytest.raises(TrustChangeError, match="no: 1"):
        await trust.change(refuse)

    assert await FileTrustList(path).records() == {ALICE.did: ALICE}


@pytest.mark.parametrize("call", ["os.fchmod", "os.fsync", "pathlib.Path.replace"])
async def test_change_that_fails_half_way_leaves_the_old_list_and_nothing_beside(
    path: Path, trust: FileTrustList, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(call, fail)

    with pytest.raises(TrustStoreError, match=r"trust\.json: No space left on device"):
        await trust.change(_put(BOB))

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_change_syncs_the_content_before_it_is_in_place_and_the_folder_after(
    path: Path, trust: FileTrustList, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    replaced = Path.replace

    def sync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")

    def put(source: Path, target: Path) -> Path:
        steps.append("replace")
        return replaced(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", put)

    await trust.change(_put(BOB))

    assert steps == ["sync file", "replace", "sync folder"]


async def test_reader_beside_many_changes_sees_each_list_whole(path: Path, trust: FileTrustList) -> None:
    others = [TrustRecord(did=ForgeableSigner(f"{number}").did, roles=frozenset()) for number in range(30)]
    sizes: list[int] = []

    async def read() -> None:
        reader = FileTrustList(path)
        while len(await reader.records()) <= len(others):
            sizes.append(len(await reader.records()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for other in others:
            await trust.change(_put(other))

    assert sizes == sorted(sizes)


async def test_change_while_another_process_changes_the_list_waits_for_it(path: Path, trust: FileTrustList) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trust.change, _put(BOB))
        await anyio.sleep(0.03)
        assert await trust.find(BOB.did) is None
        os.close(folder)

    assert await trust.find(BOB.did) == BOB


async def test_change_while_another_process_never_ends_its_own_is_an_error(
    path: Path, trust: FileTrustList, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_time(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(anyio, "sleep", no_time)
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    with pytest.raises(TrustStoreError, match="is being changed by another process; try again"):
        await trust.change(_put(BOB))

    os.close(folder)


async def test_change_that_is_cancelled_anywhere_is_made_or_not_made_and_leaves_nothing(path: Path) -> None:
    async def scenario() -> None:
        path.unlink(missing_ok=True)
        await FileTrustList(path).change(_put(ALICE))
        await FileTrustList(path).change(_put(BOB))
        await FileTrustList(path).find(BOB.did)

    async def check() -> None:
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name}
        await FileTrustList(path).change(_put(ALICE, BOB))
        assert set(await FileTrustList(path).records()) == {ALICE.did, BOB.did}

    assert await sweep_cancellation(scenario, check) >= 3


_CHANGE = """
import sys, anyio
from pathlib import Path
from holdfast.adapters.identity import FileTrustList
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner

def grow(known):
    return [TrustRecord(did=ForgeableSigner(str(len(known))).did, roles=frozenset())]

async def main():
    for _ in range(10):
        await FileTrustList(Path(sys.argv[1])).change(grow)

anyio.run(main)
"""


@pytest.mark.slow
async def test_changes_by_processes_at_once_are_all_made(path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(partial(anyio.run_process, [sys.executable, "-c", _CHANGE, str(path)]))

    assert set(await FileTrustList(path).records()) == {ForgeableSigner(f"{number}").did for number in range(20)}
