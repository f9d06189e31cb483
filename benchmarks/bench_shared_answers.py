"""What an answer costs that processes share: its bytes, the questions to each store, and how late those hear who wait.

The table of delays is in virtual time, so that every run counts the same. The rows of Redis need a `redis-server`.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import redis.asyncio as driver
from harness import Row, measure, measure_async, report

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.adapters.redis import RedisAnswers, RedisConfig, RedisServer, RedisStore
from holdfast.adapters.sqlite.answers import SqliteAnswers
from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.answer_codec import read_outcome, write_answer
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.shared_answers import SharedAnswers, SharedAnswersConfig
from holdfast.domain.store_link import StoreLink, StoreLinkConfig
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.ports.clock import Clock
from holdfast.ports.inference import Usage
from holdfast.ports.service import Disposition, Reply
from holdfast.ports.shared_store import SharedStore
from holdfast.testing import VirtualClock, virtual_backend

_KEY: Final = DeduplicationKey(digest=b"k" * 32)
_SENTENCES: Final = "Holdfast keeps a service standing while it calls things that fail. " * 40
_REPLY: Final = Reply(
    text=_SENTENCES[:2000],
    backend="a",
    model="m",
    disposition=Disposition.CALLED,
    attempts=1,
    queue_s=0.0,
    backend_s=1.0,
    usage=Usage(),
    citations=(),
    request_id=None,
)
_OUTCOME: Final = write_answer(_KEY, _REPLY)
_WAITING: Final = 100
_CALLS: Final = 40


def _codec_rows() -> list[Row]:
    return [
        measure("write an answer of 2 KB", lambda: write_answer(_KEY, _REPLY)),
        measure(
            "check and read it",
            lambda: read_outcome(_KEY, _OUTCOME, max_bytes=1_000_000, disposition=Disposition.CACHED),
        ),
    ]


class _Place:
    """The epoch of a store that has none."""

    name = "memory"

    async def epoch(self) -> str:
        return "1"


async def _work() -> Reply:
    return _REPLY


async def _store_rows(name: str, store: AnswerStore, shared: SharedStore, *, calls: int) -> list[Row]:
    clock, numbers = SystemClock(), itertools.count()
    link = StoreLink(shared, StoreLinkConfig(timeout_s=20.0), clock=clock, random=random.random)
    patient = SharedAnswersConfig(lease_s=60.0, claim_timeout_s=20.0)
    answers = SharedAnswers(store, link, patient, window_s=300.0, instance="b", clock=clock, random=random.random)

    def claim(key: bytes, claimant: str) -> AnswerClaim:
        return AnswerClaim(key=key, claimant=claimant, lease_s=600.0)

    async def won() -> None:
        await store.claim(claim(next(numbers).to_bytes(32), "a"))

    held, told = next(numbers).to_bytes(32), next(numbers).to_bytes(32)
    await store.claim(claim(held, "a"))
    heard = await store.claim(claim(told, "a"))
    await store.settle(
        told, token=heard.token if isinstance(heard, Won) else 0, outcome=_OUTCOME, keep_s=600.0, tell_s=600.0
    )
    rows = [
        await measure_async(f"{name}: claim, won", won, calls=calls),
        await measure_async(f"{name}: claim, told 2 KB", lambda: store.claim(claim(told, "b")), calls=calls),
        await measure_async(f"{name}: claim, busy", lambda: store.claim(claim(held, "b")), calls=calls),
    ]
    async with link, answers:

        async def run() -> None:
            await answers.run(DeduplicationKey(digest=next(numbers).to_bytes(32)), _work)

        return [*rows, await measure_async(f"{name}: run that calls, told behind it", run, calls=calls)]


async def _embedded_rows() -> list[Row]:
    clock: Clock = SystemClock()
    rows = await _store_rows("memory", MemoryAnswers(clock=clock), _Place(), calls=1000)
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore(Path(folder) / "shared.sqlite3", clock=clock) as file:
            return rows + await _store_rows("SQLite", SqliteAnswers(file), file, calls=200)


@contextmanager
def _redis_server() -> Iterator[int | None]:
    """Give the port of a server, None where there is no program for one."""
    fetched = Path(__file__).parents[1] / ".servers/bin/redis-server"
    program = os.environ.get("HOLDFAST_TEST_REDIS_SERVER") or (
        str(fetched) if fetched.exists() else shutil.which("redis-server")
    )
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            yield port
        finally:
            server.kill()
            server.wait()


async def _redis_rows(port: int) -> list[Row]:
    async with RedisStore(RedisConfig(address=RedisServer(port=port))) as store, driver.Redis(port=port) as client:
        answers, held = RedisAnswers(store), AnswerClaim(key=_KEY.digest, claimant="a", lease_s=600.0)
        rows = await _store_rows("Redis", answers, store, calls=500)
        rows.append(await _pubsub_row(client))
        await answers.claim(held)
        await client.config_resetstat()
        for _ in range(5000):
            await answers.claim(replace(held, claimant="b"))
        scripts = (await client.info("commandstats"))["cmdstat_evalsha"]
        print(
            f"\nA claim that is busy takes Redis itself {scripts['usec_per_call']:.1f} µs, mean of {scripts['calls']}"
        )
    return rows


async def _pubsub_row(client: driver.Redis) -> Row:
    """Measure the alternative: being called instead of asking."""
    async with client.pubsub() as channel:
        await channel.subscribe("answers")
        await channel.get_message(timeout=5.0)

        async def publish_and_hear() -> None:
            await client.publish("answers", _OUTCOME)
            while await channel.get_message(timeout=5.0) is None:
                pass

        return await measure_async("Redis: publish 2 KB until it is heard", publish_and_hear, calls=500)


class _Counting(MemoryAnswers):
    """Counts what it is asked."""

    asked = 0

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        self.asked += 1
        return await super().claim(claim)


class _Call:
    """Takes its time, and knows when it was answered."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.answered_s = 0.0

    async def __call__(self) -> Reply:
        await anyio.sleep(self._seconds)
        self.answered_s = anyio.current_time()
        return _REPLY


async def _delays(call_s: float) -> tuple[list[float], float]:
    """Return how long after the answer each of many processes heard it, and how often it asked in a second."""
    clock, draw = VirtualClock(), random.Random(1)
    store, delays, waited_s = _Counting(clock=clock), list[float](), 0.0

    async def wait(answers: SharedAnswers, key: DeduplicationKey, call: _Call) -> None:
        nonlocal waited_s
        await anyio.sleep(draw.random() * call_s / 2)
        began_s = clock.monotonic_s()
        if (await answers.run(key, call)).disposition is Disposition.JOINED:
            delays.append(clock.monotonic_s() - call.answered_s)
            waited_s += clock.monotonic_s() - began_s

    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(StoreLink(_Place(), clock=clock, random=draw.random))
        them = [
            await stack.enter_async_context(
                SharedAnswers(store, link, window_s=0.0, instance=f"{number}", clock=clock, random=draw.random)
            )
            for number in range(_WAITING + 1)
        ]
        for number in range(_CALLS):
            call = _Call(call_s * (0.9 + 0.2 * draw.random()))
            async with anyio.create_task_group() as tasks:
                for answers in them:
                    tasks.start_soon(wait, answers, DeduplicationKey(digest=number.to_bytes(32)), call)
    return delays, store.asked / waited_s


def _print_delays() -> None:
    config = SharedAnswersConfig()
    print(
        f"\nHow long after an answer {_WAITING} processes hear it that ask every {config.poll_s}–{config.max_poll_s} s"
    )
    print(f"{'a call takes about':<20} {'P50 ms':>8} {'P99 ms':>8} {'most ms':>8} {'n':>6} {'questions/s of each':>20}")
    for call_s in (0.1, 0.3, 1.0, 3.0, 10.0):
        _, options = virtual_backend("asyncio")
        delays, rate = anyio.run(_delays, call_s, backend="asyncio", backend_options=options)
        marks = statistics.quantiles(delays, n=100)
        print(
            f"{f'{call_s:g} s':<20} {marks[49] * 1e3:>8.0f} {marks[98] * 1e3:>8.0f} {max(delays) * 1e3:>8.0f} "
            f"{len(delays):>6} {rate:>20.1f}"
        )


def main() -> bool:
    """Print the tables; no budget is kept or missed here."""
    kept = report("What an outcome costs", _codec_rows())
    kept &= report("What the embedded stores cost", anyio.run(_embedded_rows))
    with _redis_server() as port:
        if port is None:
            print("\nThere is no redis-server: run `make servers`")
        else:
            kept &= report("What Redis costs", anyio.run(_redis_rows, port), packages=("anyio", "redis"))
    _print_delays()
    return kept


if __name__ == "__main__":
    sys.exit(not main())
