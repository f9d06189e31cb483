"""What sharing a breaker costs a call, and what a question to a real Redis takes where there is one."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import anyio
from harness import Row, measure_async, report
from redis.asyncio import Redis

from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.adapters.redis import RedisBreakers, RedisConfig, RedisServer, RedisStore
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.shared_breaker import SharedBreaker
from holdfast.domain.store_link import StoreLink
from holdfast.ports.errors import StoreUnavailableError

_BUDGET_P50_US = 2.0  # of a breaker, shared or not
_BUDGET_P99_US = 50.0


class _Place:
    """A store that is there until it is told not to be."""

    name = "place"

    def __init__(self) -> None:
        self.is_there = True

    async def epoch(self) -> str:
        if not self.is_there:
            raise StoreUnavailableError("is away", store=self.name)
        return "1"


async def _calls() -> list[Row]:
    clock = SystemClock()
    place = _Place()
    alone, shared = (CircuitBreaker("bench", BreakerConfig(), clock=clock, random=random.random) for _ in range(2))

    async def work() -> int:
        return 1

    async with StoreLink(place, clock=clock, random=random.random) as link:
        SharedBreaker(shared, store=MemoryBreakers(clock=clock), link=link, make_token=lambda: "bench")
        bare = await measure_async("bare await work()", work)
        p50_us, p99_us = bare.p50_us + _BUDGET_P50_US, bare.p99_us + _BUDGET_P99_US
        rows = [
            bare,
            *[
                await measure_async(
                    f"CircuitBreaker.call, closed, {what}",
                    partial(breaker.call, work),
                    budget_p50_us=p50_us,
                    budget_p99_us=p99_us,
                )
                for what, breaker in (("alone", alone), ("shared", shared))
            ],
            await measure_async("StoreLink.ask, store there", lambda: link.ask(work, timeout_s=0.2)),
        ]
        place.is_there = False
        await link.ask(place.epoch, timeout_s=0.2)
        rows.append(await measure_async("StoreLink.ask, store away", lambda: link.ask(work, timeout_s=0.2)))
    return rows


@contextmanager
def _redis_server(program: str) -> Generator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.01)
            else:
                break
        yield port
    finally:
        server.kill()
        server.wait()


async def _questions(port: int) -> list[Row]:
    async with RedisStore(RedisConfig(address=RedisServer(port=port))) as store, Redis(port=port) as client:
        breakers = RedisBreakers(store)
        return [
            await measure_async("redis-py: GET", lambda: client.get("key"), calls=300, rounds=7),
            await measure_async("RedisStore.epoch", store.epoch, calls=300, rounds=7),
            await measure_async("RedisBreakers.look", lambda: breakers.look("bench"), calls=300, rounds=7),
        ]


def main() -> bool:
    """Print the tables and return whether the budgets are kept."""
    kept = report("A shared breaker", anyio.run(_calls), packages=("anyio",))
    program = shutil.which("redis-server")
    if program is None:
        print("There is no redis-server on PATH: what a question takes is not measured.")
        return kept
    with _redis_server(program) as port:
        return report("A question to Redis on this machine", anyio.run(_questions, port), packages=("redis",)) and kept


if __name__ == "__main__":
    sys.exit(not main())
