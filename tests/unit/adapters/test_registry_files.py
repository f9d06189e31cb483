"""A folder as a registry: what else may be in it, clocks that are set, and disks that refuse."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdfast.adapters.files import registry as module
from holdfast.adapters.files.registry import FileRegistry
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.registry import ServiceInstance
from holdfast.testing import ManualClock
from tests.fakes.registry import instance

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

NOW_S = 1_700_000_000.0
ONE = instance(1)


class Place:
    """A folder with a clock that counts on and a wall clock, both moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.wall_s = NOW_S
        self.registry = self.another()

    def another(self) -> FileRegistry:
        """Return the folder as another process sees it."""
        return FileRegistry(self.folder, clock=self.clock, unix_s=lambda: self.wall_s)

    def written(self, *, below: Path) -> list[Path]:
        return [path.relative_to(below) for path in below.rglob("*.json")]

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall_s += seconds

    @property
    def file(self) -> Path:
        return self.folder / "asks" / "asks-1.json"

    async def register(self, found: ServiceInstance = ONE) -> None:
        await self.registry.register(found, ttl_s=10.0, forget_after_s=60.0)
        self._touch(self.folder / found.service / f"{found.instance_id}.json")

    async def heartbeat(self) -> bool:
        known = await self.registry.heartbeat(ONE)
        if known:
            self._touch(self.file)
        return known

    async def listed(self, registry: FileRegistry | None = None) -> list[str]:
        _, found = await (registry or self.registry).instances("asks", index=0, wait_s=0.0)
        return [one.instance_id for one in found]

    def _touch(self, file: Path) -> None:
        os.utime(file, (self.wall_s, self.wall_s))  # as a file system does whose clock is the wall clock


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "registry")


async def test_register_leaves_one_file_and_deregister_none(place: Place) -> None:
    await place.register()
    during = sorted(path for path in place.folder.rglob("*") if path.is_file())
    await place.registry.deregister(ONE)

    assert during == [place.file]
    assert not any(path.is_file() for path in place.folder.rglob("*"))


async def test_names_that_mean_something_in_a_path_stay_in_the_folder(place: Place, tmp_path: Path) -> None:
    odd = ServiceInstance(service="../up", instance_id="../../etc/.hidden é", host="h", port=1)
    await place.registry.register(odd, ttl_s=10.0, forget_after_s=60.0)

    assert (await place.registry.instances("../up", index=0, wait_s=0.0))[1] == (odd,)
    assert [path.parts[0] for path in place.written(below=tmp_path)] == ["registry"]


DOCUMENT = {
    "service": "asks",
    "instance_id": "asks-1",
    "host": "10.0.0.1",
    "port": 8001,
    "tags": [],
    "metadata": {},
    "ttl_s": 10.0,
    "forget_after_s": 60.0,
}

NONE_OF_OURS: dict[str, bytes] = {
    "empty": b"",
    "cut short": json.dumps(DOCUMENT).encode()[:-9],
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "deep": b"[" * 50_000,
    "too long": json.dumps(DOCUMENT | {"tags": ["x" * 70_000]}).encode(),
    "no port": json.dumps({name: value for name, value in DOCUMENT.items() if name != "port"}).encode(),
    "port of text": json.dumps(DOCUMENT | {"port": "80"}).encode(),
    "port 0": json.dumps(DOCUMENT | {"port": 0}).encode(),
    "port beyond": json.dumps(DOCUMENT | {"port": 65536}).encode(),
    "no host": json.dumps(DOCUMENT | {"host": ""}).encode(),
    "tags of numbers": json.dumps(DOCUMENT | {"tags": [1]}).encode(),
    "metadata of lists": json.dumps(DOCUMENT | {"metadata": {"a": []}}).encode(),
    "no time to live": json.dumps(DOCUMENT | {"ttl_s": None}).encode(),
    "of another service": json.dumps(DOCUMENT | {"service": "other"}).encode(),
    "of another id": json.dumps(DOCUMENT | {"instance_id": "asks-2"}).encode(),
}


@pytest.mark.parametrize("content", NONE_OF_OURS)
async def test_file_that_is_none_of_ours_lists_nobody_and_harms_nobody(content: str, place: Place) -> None:
    good = instance(7)
    await place.register(good)
    place.file.write_bytes(NONE_OF_OURS[content])
    os.utime(place.file, (NOW_S, NOW_S))

    assert await place.listed() == ["asks-7"]
    assert place.file.exists()


async def test_file_as_it_is_documented_is_an_instance(place: Place) -> None:
    place.file.parent.mkdir(parents=True)
    place.file.write_text(json.dumps(DOCUMENT))
    os.utime(place.file, (NOW_S, NOW_S))

    assert (await place.registry.instances("asks", index=0, wait_s=0.0))[1] == (ONE,)


async def test_other_files_and_folders_are_left_alone(place: Place) -> None:
    await place.register()
    (place.file.parent / "notes.txt").write_text("mine")
    (place.file.parent / "folder.json").mkdir()

    assert await place.listed() == ["asks-1"]


async def test_no_more_files_are_read_than_the_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FILES", 3)
    for number in range(1, 6):
        await place.register(instance(number))

    assert await place.listed() == ["asks-1", "asks-2", "asks-3"]


async def test_instance_is_dead_after_its_time_to_live_and_forgotten_after_some_more(place: Place) -> None:
    await place.register()
    place.pass_time(9.9)
    alive = await place.listed()
    place.pass_time(0.2)
    dead = await place.listed()
    kept = place.file.exists()
    place.pass_time(60.0)
    await place.listed()

    assert (alive, dead, kept) == (["asks-1"], [], True)
    assert not place.file.exists()


async def test_first_look_at_a_file_of_long_ago_finds_nobody(place: Place) -> None:
    await place.register()
    place.pass_time(30.0)

    assert await place.listed(place.another()) == []


async def test_heartbeat_that_was_long_ago_is_not_taken_for_one_of_now(place: Place) -> None:
    await place.register()
    await place.listed()
    place.pass_time(5.0)
    assert await place.heartbeat()
    place.pass_time(600.0)

    assert await place.listed() == []


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
async def test_wall_clock_that_is_set_kills_nobody_who_is_followed(step_s: float, place: Place) -> None:
    await place.register()
    listed = [await place.listed()]
    place.wall_s += step_s
    for _ in range(8):
        listed.append(await place.listed())
        place.pass_time(3.0)
        assert await place.heartbeat()

    assert listed == [["asks-1"]] * 9


async def test_wall_clock_that_is_set_between_a_heartbeat_and_the_look_at_it_kills_nobody(place: Place) -> None:
    await place.register()
    await place.listed()
    place.pass_time(3.0)
    assert await place.heartbeat()
    place.wall_s += 3600.0

    assert await place.listed() == ["asks-1"]


async def test_wall_clock_that_is_set_back_keeps_nobody_alive_for_longer_than_the_time_to_live(place: Place) -> None:
    await place.register()
    place.wall_s -= 3600.0
    first = await place.listed()
    place.pass_time(10.1)

    assert (first, await place.listed()) == (["asks-1"], [])


async def test_index_grows_with_each_change_and_with_nothing_else(place: Place) -> None:
    indexes: list[int | None] = []

    async def look() -> None:
        indexes.append((await place.registry.instances("asks", index=0, wait_s=0.0))[0])

    await look()
    await look()
    await place.register()
    await look()
    await place.heartbeat()
    await look()
    await place.registry.deregister(ONE)
    await look()

    assert indexes == [1, 1, 2, 2, 3]


async def test_what_is_gone_is_not_remembered(place: Place) -> None:
    for _ in range(50):
        await place.register()
        await place.listed()
        await place.registry.deregister(ONE)
        await place.listed()

    assert len(place.registry._seen) == 0  # nothing outside tells how much is kept


def _failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, StoreRefusedError), (errno.ENOTDIR, StoreRefusedError), (errno.EIO, StoreUnavailableError)],
)
@pytest.mark.parametrize(
    ("function", "call"), [("utime", "heartbeat"), ("scandir", "instances"), ("replace", "register")]
)
async def test_disk_that_refuses_is_an_error_of_its_kind_that_names_the_folder(
    number: int, kind: type[Exception], function: str, call: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.register()
    if function == "replace":
        monkeypatch.setattr(Path, "replace", _failing(number))
    else:
        monkeypatch.setattr(os, function, _failing(number))
    calls: dict[str, Callable[[], Any]] = {
        "heartbeat": lambda: place.registry.heartbeat(ONE),
        "instances": lambda: place.registry.instances("asks", index=0, wait_s=0.0),
        "register": lambda: place.registry.register(ONE, ttl_s=1.0, forget_after_s=1.0),
    }

    with pytest.raises(kind, match=str(place.folder)) as caught:
        await calls[call]()

    assert os.strerror(number) in str(caught.value)


async def test_deregister_that_the_disk_refuses_is_an_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.register()
    monkeypatch.setattr(Path, "unlink", _failing(errno.EROFS))

    with pytest.raises(StoreRefusedError, match="Read-only file system"):
        await place.registry.deregister(ONE)


async def test_folder_that_is_a_file_is_refused_by_every_call(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a folder")
    registry = FileRegistry(path, clock=ManualClock())

    with pytest.raises(StoreRefusedError, match="cannot be used"):
        await registry.register(ONE, ttl_s=1.0, forget_after_s=1.0)
    with pytest.raises(StoreRefusedError, match="cannot be used"):
        await registry.instances("asks", index=0, wait_s=0.0)


async def test_id_that_no_file_can_be_named_after_is_refused(place: Place) -> None:
    with pytest.raises(StoreRefusedError, match="File name too long"):
        await place.registry.register(replace(ONE, instance_id="x" * 300), ttl_s=1.0, forget_after_s=1.0)


async def test_dead_instance_that_may_not_be_removed_is_not_listed_and_harms_nobody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.register()
    place.pass_time(1000.0)
    await place.register(instance(2))
    monkeypatch.setattr(Path, "unlink", _failing(errno.EACCES))

    assert await place.listed() == ["asks-2"]


async def test_pipe_in_place_of_a_file_is_not_waited_for(place: Place) -> None:
    await place.register()
    os.mkfifo(place.file.parent / "asks-2.json")

    with anyio.fail_after(10):
        assert await place.listed() == ["asks-1"]


async def test_link_that_leads_in_a_circle_harms_nobody(place: Place) -> None:
    await place.register()
    (place.file.parent / "circle.json").symlink_to("circle.json")

    assert await place.listed() == ["asks-1"]


async def test_look_that_began_before_another_does_not_undo_what_that_one_saw(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.register()
    began, goes_on = threading.Event(), threading.Event()
    read_folder = module._read_folder
    reads = iter([True, False, False])

    def read(folder: Path) -> object:
        found = read_folder(folder)
        if next(reads):
            began.set()
            goes_on.wait(10)
        return found

    monkeypatch.setattr(module, "_read_folder", read)
    seen: list[tuple[int | None, tuple[ServiceInstance, ...]]] = []

    async def look() -> None:
        seen.append(await place.registry.instances("asks", index=0, wait_s=0.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await anyio.to_thread.run_sync(began.wait, 10)
        await place.register(instance(2))
        tasks.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        goes_on.set()

    assert [len(instances) for _, instances in seen] == [1, 2]
    assert (await place.registry.instances("asks", index=0, wait_s=0.0))[0] == 2


async def test_two_who_look_at_once_see_the_same(place: Place) -> None:
    await place.register()
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append(await place.listed())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(look)

    assert seen == [["asks-1"]] * 10
