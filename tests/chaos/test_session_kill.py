from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.session import SessionConfig
from holdfast.ports.session import Session

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

# Says of each turn that it is saved once it is, and goes on until it is killed.
WRITER = """
import itertools, sys, anyio
from pathlib import Path
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain import SessionConfig, SessionKeeper
from holdfast.ports.errors import SessionNotFoundError
from holdfast.ports.inference import Message, Role

async def main() -> None:
    async with SqliteSessions(Path(sys.argv[1]), clock=SystemClock()) as store:
        keeper = SessionKeeper(store, SessionConfig(max_bytes=20_000), make_token=lambda: "token")
        try:
            await keeper.open("s", tenant="t")
        except SessionNotFoundError:
            await keeper.create(tenant="t", session_id="s", system="stays")
        head = (await keeper.open("s", tenant="t")).head
        for number in itertools.count():
            name = f"{sys.argv[2]}-{number}"
            head = await keeper.append_turn(head, [Message(role=Role.USER, content=name)], "x" * 300)
            print(name, flush=True)

anyio.run(main, backend=sys.argv[3])
"""


async def _read(path: Path) -> Session:
    async with SqliteSessions(path, clock=SystemClock()) as store:
        session = (await store.load("t", "s", bounds=SessionConfig())).session
        totals = store.totals()
        assert totals.sessions == totals.created == 1
        assert totals.size_bytes == session.size_bytes
        return session


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_process_killed_at_random_moments_loses_no_turn_that_it_said_was_saved(tmp_path: Path, backend: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    path = tmp_path / "sessions.sqlite"
    told: list[str] = []
    for life in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(life), backend], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told += [writer.stdout.readline().strip() for _ in range(chance.randrange(1, 12))]
        writer.kill()
        told += writer.stdout.read().splitlines()  # and not `communicate`, which would miss what is buffered here
        writer.stdout.close()
        writer.wait(timeout=60)

        session = anyio.run(_read, path)
        kept = [message.content for message in session.messages]
        assert kept[0] == "stays"
        assert kept[2::2] == ["x" * 300] * len(session.turns)
        said = kept[1::2]
        # A turn may have been saved in the very moment of the kill, before it could be told.
        unsaid = f"{life}-{sum(name.startswith(f'{life}-') for name in told)}"
        if said[-1] == unsaid:
            told.append(unsaid)
        assert said == told[-len(said) :]
        assert session.size_bytes <= 20_000
        assert session.head.version == 1 + len(told)
