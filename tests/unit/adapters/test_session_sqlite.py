from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.domain.session import SessionConfig, new_session, new_turn
from holdfast.ports.errors import SessionNotFoundError, SessionStoreError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import SessionHead
from holdfast.testing import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

HOUR_S = 3600.0
BOUNDS = SessionConfig(idle_s=1800.0)


class Machine:
    """Whose clocks a test sets."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.wall_s = 1_700_000_000.0

    def pass_s(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall_s += seconds

    def open(self, path: Path) -> SqliteSessions:
        return SqliteSessions(path, clock=self.clock, wall_s=lambda: self.wall_s)

    def restart(self) -> None:
        self.clock = ManualClock(now_s=0.25)


def head_of(session_id: str = "s") -> SessionHead:
    return new_session(tenant="t", session_id=session_id, incarnation="i", system=None, max_bytes=BOUNDS.max_bytes).head


async def create(store: SqliteSessions, session_id: str = "s", *, system: str | None = None) -> SessionHead:
    session = new_session(tenant="t", session_id=session_id, incarnation="i", system=system, max_bytes=BOUNDS.max_bytes)
    await store.create(session, bounds=BOUNDS)
    return session.head


async def append(store: SqliteSessions, head: SessionHead, text: str) -> SessionHead:
    turn = new_turn([Message(role=Role.USER, content=text)], "ok", head=head, max_bytes=BOUNDS.max_bytes)
    return (await store.save(head, persona=head.persona, turn=turn, bounds=BOUNDS)).head


async def is_alive(store: SqliteSessions) -> bool:
    try:
        await store.load("t", "s", bounds=BOUNDS)
    except SessionNotFoundError:
        return False
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "sessions.sqlite"


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def test_session_outlives_its_process_with_all_that_was_said(path: Path, machine: Machine) -> None:
    async with machine.open(path) as store:
        await append(store, await create(store, system="Be brief."), "Why?")
        before = store.totals()
    machine.restart()

    async with machine.open(path) as store:
        assert store.totals() == before
        session = (await store.load("t", "s", bounds=BOUNDS)).session

    assert [message.content for message in session.messages] == ["Be brief.", "Why?", "ok"]


async def test_time_between_two_processes_counts_as_idle(path: Path, machine: Machine) -> None:
    async with machine.open(path) as store:
        await create(store)
    machine.restart()
    machine.wall_s += 1700.0
    async with machine.open(path) as store:
        assert await is_alive(store)
    machine.restart()
    machine.wall_s += 1801.0

    async with machine.open(path) as store:
        assert not await is_alive(store)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S, -1e9, 1e9])
async def test_wall_clock_that_is_set_while_the_store_is_open_ends_no_life_and_makes_none_endless(
    path: Path, machine: Machine, step_s: float
) -> None:
    async with machine.open(path) as store:
        await create(store)
        machine.wall_s += step_s
        machine.pass_s(1799.0)
        assert await is_alive(store)
        machine.wall_s -= step_s
        machine.pass_s(1799.0)
        assert await is_alive(store)
        machine.pass_s(1801.0)

        assert not await is_alive(store)


async def test_wall_clock_set_back_before_a_restart_still_lets_sessions_expire_in_time(
    path: Path, machine: Machine
) -> None:
    async with machine.open(path) as store:
        await create(store)
        machine.wall_s -= HOUR_S
        machine.pass_s(1000.0)
        await create(store, "other")
    machine.restart()
    machine.wall_s += 700.0
    async with machine.open(path) as store:
        machine.pass_s(99.0)
        assert await is_alive(store)
    machine.restart()
    machine.wall_s += 1000.0
    async with machine.open(path) as store:
        machine.pass_s(801.0)

        assert not await is_alive(store)


async def test_wall_clock_set_back_between_two_processes_ends_no_life_and_makes_none_endless(
    path: Path, machine: Machine
) -> None:
    async with machine.open(path) as store:
        await create(store)
    machine.restart()
    machine.wall_s -= HOUR_S
    async with machine.open(path) as store:
        machine.pass_s(1799.0)
        assert await is_alive(store)
        machine.pass_s(1801.0)
        assert not await is_alive(store)


async def test_process_that_measured_less_catches_up_with_the_one_that_measured_more(
    path: Path, machine: Machine
) -> None:
    async with machine.open(path) as first:
        await create(first)
        machine.pass_s(100.0)
        machine.wall_s -= HOUR_S
        async with machine.open(path) as second:  # which takes those 100 s for none
            await create(first, "other")
            await create(second, "third")
            machine.pass_s(1701.0)

            assert not await is_alive(second)


async def test_two_stores_on_one_file_see_each_others_changes(path: Path, machine: Machine) -> None:
    async with machine.open(path) as first, machine.open(path) as second:
        head = await create(first)
        head = await append(second, head, "a")
        await append(first, head, "b")

        session = (await second.load("t", "s", bounds=BOUNDS)).session
        assert [message.content for message in session.messages] == ["a", "ok", "b", "ok"]
        await first.load("t", "s", bounds=BOUNDS)
        assert first.totals() == second.totals()


WRITER = """
import sys, secrets, anyio
from pathlib import Path
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain import SessionKeeper
from holdfast.ports.errors import SessionConflictError
from holdfast.ports.inference import Message, Role

async def main() -> None:
    async with SqliteSessions(Path(sys.argv[1]), clock=SystemClock()) as store:
        keeper = SessionKeeper(store, make_token=secrets.token_urlsafe)
        try:
            await keeper.create(tenant="t", session_id="s")
        except SessionConflictError:
            pass
        for number in range(int(sys.argv[3])):
            said = [Message(role=Role.USER, content=f"{sys.argv[2]}-{number}")]
            while True:
                try:
                    await keeper.append_turn((await keeper.open("s", tenant="t")).head, said, "ok")
                except SessionConflictError:
                    continue
                break

anyio.run(main, backend=sys.argv[4])
"""


@pytest.mark.slow
async def test_three_processes_on_one_new_file_lose_no_turn_and_double_none(
    path: Path, machine: Machine, anyio_backend: str
) -> None:
    writers = [
        subprocess.Popen(  # noqa: ASYNC220 - they run beside each other
            [sys.executable, "-c", WRITER, str(path), name, "15", anyio_backend], stderr=subprocess.PIPE, text=True
        )
        for name in "abc"
    ]
    errors = [writer.communicate(timeout=100)[1] for writer in writers]

    assert errors == [""] * 3
    async with machine.open(path) as store:
        session = (await store.load("t", "s", bounds=SessionConfig(idle_s=1e12))).session
    said = [message.content for message in session.messages][::2]
    assert sorted(said) == sorted(f"{name}-{number}" for name in "abc" for number in range(15))
    for name in "abc":
        assert [text for text in said if text.startswith(name)] == [f"{name}-{number}" for number in range(15)]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _text(path: Path) -> None:
    path.write_text("a text of more than a few bytes\n" * 1000)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE somebody_elses (x)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {0x486F6C73}")
        connection.execute("PRAGMA user_version = 2")


def _folder(path: Path) -> None:
    path.mkdir()


def _damage(path: Path) -> None:
    """Leave the first page only."""
    intact = path.read_bytes()
    path.write_bytes(intact[:4096] + b"\xff" * (len(intact) - 4096))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_text, "is not a database"),
        (_foreign, "not a database of sessions"),
        (_newer, "upgrade holdfast"),
        (_folder, "cannot be opened"),
    ],
)
async def test_file_that_is_no_database_of_sessions_is_refused_and_left_alone(
    path: Path, machine: Machine, spoil: Callable[[Path], None], words: str
) -> None:
    path.parent.mkdir()
    spoil(path)
    before = content(path)

    with pytest.raises(SessionStoreError, match=words) as refused:
        async with machine.open(path):
            pytest.fail("it was opened")

    assert refused.value.path == str(path)
    assert "\n" not in str(refused.value)
    assert content(path) == before


async def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SessionStoreError, match="cannot be used"):
        async with machine.open(tmp_path / "file" / "sessions.sqlite"):
            pytest.fail("it was opened")


async def test_damaged_database_is_told_in_one_line(path: Path, machine: Machine) -> None:
    async with machine.open(path) as store:
        head = await create(store)
        for _ in range(10):
            head = await append(store, head, "x" * 5000)
    _damage(path)

    with pytest.raises(SessionStoreError, match="is damaged") as refused:
        async with machine.open(path) as store:
            await store.load("t", "s", bounds=BOUNDS)
    assert "\n" not in str(refused.value)


async def test_full_disk_is_told_and_leaves_what_was_saved(path: Path, machine: Machine) -> None:
    async with SqliteSessions(path, clock=machine.clock, max_size_bytes=200_000) as store:
        head = await append(store, await create(store), "kept")
        before = store.totals()

        with pytest.raises(SessionStoreError, match="cannot grow"):
            await append(store, head, "x" * 300_000)

        assert store.totals() == before
        await append(store, head, "small")
        session = (await store.load("t", "s", bounds=BOUNDS)).session
        assert [message.content for message in session.messages][::2] == ["kept", "small"]


async def test_locked_database_is_told_after_a_while(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.adapters.sqlite.session_database._BUSY_TIMEOUT_S", 0.05)
    async with machine.open(path) as store:
        head = await create(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SessionStoreError, match="is locked by another process"):
                await append(store, head, "late")
            other.execute("ROLLBACK")

        await append(store, head, "in time")


async def test_new_database_that_is_locked_is_told_after_a_while(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.adapters.sqlite.session_database._BUSY_TIMEOUT_S", 0.05)
    async with machine.open(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN")
        other.execute("SELECT * FROM session").fetchall()

        with pytest.raises(SessionStoreError, match="is locked by another process"):
            async with machine.open(path):
                pytest.fail("it was opened")


class Raced(sqlite3.Connection):
    """Another process begins the write-ahead log at the same moment."""

    races = 0

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        if "journal_mode" in sql and Raced.races:
            Raced.races -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(sql, parameters)


async def test_new_database_that_another_process_is_just_making_is_opened(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Raced))
    monkeypatch.setattr(Raced, "races", 2)
    async with machine.open(path) as store:
        await create(store)

    assert Raced.races == 0


async def test_new_database_that_another_process_never_finishes_is_told_after_a_while(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.adapters.sqlite.session_database._BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Raced))
    monkeypatch.setattr(Raced, "races", 10**6)

    with pytest.raises(SessionStoreError, match="is locked by another process"):
        async with machine.open(path):
            pytest.fail("it was opened")


async def test_database_that_may_only_be_read_is_refused(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine.open(path) as store:
        await create(store)
    connect = sqlite3.connect

    def connect_read_only(
        database: Path, *, timeout: float, isolation_level: None, check_same_thread: bool
    ) -> sqlite3.Connection:
        # Whoever runs the tests may be root, whom permissions do not stop.
        return connect(
            f"{database.as_uri()}?mode=ro",
            uri=True,
            timeout=timeout,
            isolation_level=isolation_level,
            check_same_thread=check_same_thread,
        )

    monkeypatch.setattr(sqlite3, "connect", connect_read_only)
    with pytest.raises(SessionStoreError, match="cannot be written"):
        async with machine.open(path):
            pytest.fail("it was opened")


async def test_every_change_is_synced_and_mere_reading_is_not(
    path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    connect = sqlite3.connect

    def connect_traced(
        database: Path, *, timeout: float, isolation_level: None, check_same_thread: bool
    ) -> sqlite3.Connection:
        connection = connect(
            database, timeout=timeout, isolation_level=isolation_level, check_same_thread=check_same_thread
        )
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_traced)
    synced: list[list[str]] = []
    async with machine.open(path) as store:
        for call in (
            lambda: create(store),
            lambda: store.load("t", "s", bounds=BOUNDS),
            lambda: append(store, head_of(), "x"),
            lambda: store.delete("t", "s", bounds=BOUNDS),
        ):
            statements.clear()
            await call()
            synced.append([statement.split()[-1] for statement in statements if "synchronous" in statement])
            assert statements.count("COMMIT") == 1

    assert synced == [["FULL"], ["NORMAL"], ["FULL"], ["FULL"]]


async def test_opening_that_is_cancelled_leaves_nothing_open(path: Path, machine: Machine) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with machine.open(path):
            pytest.fail("it was opened")

    async with machine.open(path) as store:
        await create(store)

        assert (await store.load("t", "s", bounds=BOUNDS)).session.head == head_of()
