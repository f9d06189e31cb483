"""One file for several processes: its time, and all that can be wrong with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.adapters.sqlite.transaction import transaction
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.testing import ManualClock, sweep_cancellation

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

HOUR_US = 3600 * 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.sqlite3"


class Wall:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def opened(path: Path, clock: ManualClock | None = None, wall: Wall | None = None) -> SqliteStore:
    return SqliteStore(path, clock=clock or ManualClock(), wall_s=wall or Wall())


def content_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def remove_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


async def now_us(store: SqliteStore) -> int:
    """Return the time of the file, and leave a change behind, so that the file knows it too."""

    def work(connection: sqlite3.Connection, now_us: int) -> int:
        connection.execute("UPDATE shared SET only_row = 1")
        return now_us

    return await store.run(work)


async def test_store_made_in_a_folder_that_is_not_there_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "shared.sqlite3"
    async with opened(path) as store:
        assert await store.epoch()

    assert content_of(path)


async def test_store_opened_and_asked_nothing_touches_no_file(path: Path) -> None:
    async with opened(path):
        pass

    assert content_of(path) is None


async def test_time_follows_the_monotonic_clock_and_not_the_wall(path: Path) -> None:
    clock, wall = ManualClock(), Wall()
    async with opened(path, clock, wall) as store:
        began_us = await now_us(store)
        for step_s in (3600.0, -7200.0, 0.0):
            wall.now_s += step_s
            clock.advance(1.0)
            assert await now_us(store) == (began_us := began_us + 1_000_000)


async def test_time_goes_on_while_no_process_has_the_file_open(path: Path) -> None:
    wall = Wall()
    async with opened(path, wall=wall) as store:
        before_us = await now_us(store)
    wall.now_s += 60.0

    async with opened(path, ManualClock(5.0), wall) as store:
        assert await now_us(store) == before_us + 60_000_000


async def test_time_does_not_go_back_when_the_wall_was_set_back_meanwhile(path: Path) -> None:
    wall = Wall()
    async with opened(path, wall=wall) as store:
        before_us = await now_us(store)
    wall.now_s -= 3600.0

    clock = ManualClock(5.0)
    async with opened(path, clock, wall) as store:
        assert await now_us(store) == before_us
        clock.advance(1.0)
        assert await now_us(store) == before_us + 1_000_000


async def test_time_is_one_for_processes_whose_walls_differ_by_an_hour(path: Path) -> None:
    ahead, clock = Wall(), ManualClock()
    ahead.now_s += 3600.0
    async with opened(path, clock) as one, opened(path, clock, ahead) as other:
        seen = [await now_us(one), await now_us(other), await now_us(one), await now_us(other)]

    assert seen == sorted(seen)
    assert seen[1:] == [seen[0] + HOUR_US] * 3  # the hour cannot be told from one that has passed; it counts once


async def test_run_that_only_looks_changes_nothing(path: Path) -> None:
    clock = ManualClock()
    async with opened(path, clock) as store:
        await store.epoch()
        with sqlite3.connect(path) as beside:
            before = beside.execute("SELECT * FROM shared").fetchone()
            clock.advance(5.0)
            await store.epoch()

            assert beside.execute("SELECT * FROM shared").fetchone() == before
        beside.close()


async def test_run_that_raises_changes_nothing(path: Path) -> None:
    def work(connection: sqlite3.Connection, _: int) -> None:
        connection.execute("UPDATE shared SET epoch = 'x'")
        raise ValueError("no")

    async with opened(path) as store:
        epoch = await store.epoch()
        with pytest.raises(ValueError, match="no"):
            await store.run(work)

        assert await store.epoch() == epoch


async def test_schema_that_was_added_is_there_for_the_first_who_asks(path: Path) -> None:
    async with opened(path) as store:
        store.add_schema("CREATE TABLE IF NOT EXISTS things (name TEXT)")

        assert await store.run(lambda connection, _: connection.execute("SELECT * FROM things").fetchall()) == []


async def test_file_that_was_removed_is_made_anew_and_has_another_epoch(path: Path) -> None:
    async with opened(path) as store:
        before = await store.epoch()
        remove_all(path.parent)

        assert await store.epoch() != before


async def test_file_that_was_replaced_is_seen_by_all(path: Path) -> None:
    async with opened(path) as one, opened(path) as other:
        await one.epoch()
        await other.epoch()
        remove_all(path.parent)

        assert await one.epoch() == await other.epoch()


@pytest.fixture(params=[b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 2000], ids=["text", "damaged"])
def content(request: pytest.FixtureRequest, path: Path) -> bytes:
    found: bytes = request.param
    path.write_bytes(found)
    return found


async def test_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    async with opened(path) as store:
        with pytest.raises(StoreRefusedError, match="choose another file"):
            await store.epoch()

    assert content_of(path) == content


async def test_database_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE theirs (name TEXT)")
    theirs.close()
    before = content_of(path)
    async with opened(path) as store:
        with pytest.raises(StoreRefusedError, match="belongs to something else"):
            await store.epoch()

    assert content_of(path) == before


async def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(StoreRefusedError, match="choose a file"):
            await store.epoch()


async def test_file_in_place_of_the_folder_is_unavailable_and_found_again_when_that_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    async with opened(tmp_path / "a" / "shared.sqlite3") as store:
        with pytest.raises(StoreUnavailableError, match="cannot be used now"):
            await store.epoch()
        (tmp_path / "a").unlink()

        assert await store.epoch()


async def test_table_that_another_version_has_left_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.epoch()
        with pytest.raises(StoreRefusedError, match="is not as this version"):
            await store.run(lambda connection, _: connection.execute("SELECT price FROM shared"))


async def test_file_that_another_process_holds_is_unavailable_within_the_timeout(path: Path) -> None:
    async with opened(path) as store:
        epoch = await store.epoch()
        beside = sqlite3.connect(path, isolation_level=None)
        with transaction(beside), pytest.raises(StoreUnavailableError, match="locked"):
            await store.epoch()
        beside.close()

        assert await store.epoch() == epoch


async def test_run_cancelled_anywhere_happened_or_did_not_and_holds_nothing(path: Path) -> None:
    async with opened(path) as store:
        before = await store.epoch()

        def work(connection: sqlite3.Connection, _: int) -> None:
            connection.execute("UPDATE shared SET epoch = 'changed'")

        async def check() -> None:
            assert await store.epoch() in {before, "changed"}

        assert await sweep_cancellation(lambda: store.run(work), check) >= 1
        assert await store.epoch() == "changed"


async def test_many_at_once_take_turns(path: Path) -> None:
    async with opened(path) as store:
        store.add_schema("CREATE TABLE IF NOT EXISTS counts (number INTEGER)")

        def count(connection: sqlite3.Connection, _: int) -> None:
            (found,) = connection.execute("SELECT coalesce(max(number), 0) FROM counts").fetchone()
            connection.execute("INSERT INTO counts VALUES (?)", (found + 1,))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(store.run, count)

        assert await store.run(
            lambda connection, _: connection.execute("SELECT max(number) FROM counts").fetchone()
        ) == (20,)


async def test_name_holds_no_path(path: Path) -> None:
    assert opened(path).name == "sqlite"
