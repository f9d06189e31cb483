"""Shared answers in virtual time: any script of processes that ask, lose patience, fail, and lose the store."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.domain.shared_answers import SharedAnswersConfig
from holdfast.ports.errors import BackendUnavailableError, ClosedError
from holdfast.ports.service import Disposition, Reply
from holdfast.testing import VirtualClock, virtual_backend
from tests.fakes.answers import Process, assert_adds_up, open_process, reply

CONFIG = SharedAnswersConfig(lease_s=1.5, claim_timeout_s=0.25)
PROCESSES = 4


@dataclass(frozen=True)
class Asker:
    """Asks in one process after a while, and perhaps goes before it is answered."""

    process: int
    after_s: float
    patience_s: float | None
    call_s: float
    failure: str | None


@dataclass
class Log:
    """What happened."""

    running: int = 0
    most_running: int = 0
    called: int = 0
    ended: dict[int, str] = field(default_factory=dict)


askers = st.lists(
    st.builds(
        Asker,
        process=st.integers(0, PROCESSES - 1),
        after_s=st.integers(0, 40).map(lambda tenths: tenths / 10),
        patience_s=st.none() | st.integers(1, 30).map(lambda tenths: tenths / 10 + 0.03),
        call_s=st.integers(0, 30).map(lambda tenths: tenths / 10 + 0.06),
        failure=st.sampled_from((None, None, None, "backend", "own")),
    ),
    min_size=1,
    max_size=10,
)


async def call(asker: Asker, number: int, log: Log) -> Reply:
    log.called += 1
    log.running += 1
    log.most_running = max(log.most_running, log.running)
    try:
        await anyio.sleep(asker.call_s)
    finally:
        log.running -= 1
    if asker.failure == "backend":
        raise BackendUnavailableError(f"down {number}", backend="a")
    if asker.failure == "own":
        raise ClosedError("the process")
    return reply(f"{number}")


async def ask(asker: Asker, number: int, process: Process, log: Log) -> None:
    await anyio.sleep(asker.after_s)
    log.ended[number] = "left"
    with anyio.move_on_after(asker.patience_s):
        try:
            found = await process.run(lambda: call(asker, number, log))
        except BackendUnavailableError as error:
            log.ended[number] = str(error).removeprefix("backend 'a': ")
        except ClosedError:
            log.ended[number] = f"own {number}"
        else:
            assert (found.disposition is Disposition.CALLED) == (found.text == f"{number}")
            log.ended[number] = found.text


async def run(script: list[Asker], lost: list[tuple[int, float, float]], window_s: float) -> Log:
    """Run the script; `lost` says which process does not reach the store from when on, and for how long."""
    store, log = MemoryAnswers(clock=VirtualClock()), Log()

    async def lose(process: Process, after_s: float, for_s: float) -> None:
        await anyio.sleep(after_s)
        process.place.failing = True
        await anyio.sleep(for_s)
        process.place.failing = False

    async with AsyncExitStack() as stack:
        them = [
            await stack.enter_async_context(open_process(store, CONFIG, window_s=window_s)) for _ in range(PROCESSES)
        ]
        async with anyio.create_task_group() as tasks:
            for number, asker in enumerate(script):
                tasks.start_soon(ask, asker, number, them[asker.process], log)
            for number, after_s, for_s in lost:
                tasks.start_soon(lose, them[number], after_s, for_s)
        await anyio.sleep(1.0)
        for process in them:
            counted = process.counted
            assert_adds_up(counted)
            assert (counted.waiting, counted.holding) == (0, 0)
        assert log.called == sum(process.counted.led + process.counted.alone for process in them)
    assert log.running == 0
    return log


def assert_endings(script: list[Asker], log: Log) -> None:
    """Everybody has ended as he may: with somebody's answer or failure, with his own, or by leaving."""
    may = {f"{number}" for number, asker in enumerate(script) if asker.failure is None}
    may |= {f"down {number}" for number, asker in enumerate(script) if asker.failure == "backend"}
    for number, asker in enumerate(script):
        own = {f"own {number}"} if asker.failure == "own" else set[str]()
        left = {"left"} if asker.patience_s is not None else set[str]()
        assert log.ended[number] in may | own | left


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60)
@given(script=askers, window_s=st.sampled_from((0.0, 1.0, 60.0)))
def test_any_script_calls_one_at_a_time_and_everybody_ends(backend: str, script: list[Asker], window_s: float) -> None:
    name, options = virtual_backend(backend)

    log = anyio.run(run, script, [], window_s, backend=name, backend_options=options)

    assert log.most_running <= 1
    assert_endings(script, log)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60)
@given(
    script=askers,
    lost=st.lists(st.tuples(st.integers(0, PROCESSES - 1), st.floats(0, 4), st.floats(0.1, 4)), max_size=4),
    window_s=st.sampled_from((0.0, 1.0, 60.0)),
)
def test_any_script_over_a_store_that_some_lose_still_ends_for_everybody(
    backend: str, script: list[Asker], lost: list[tuple[int, float, float]], window_s: float
) -> None:
    name, options = virtual_backend(backend)

    log = anyio.run(run, script, lost, window_s, backend=name, backend_options=options)

    assert log.ended.keys() == set(range(len(script)))
    assert_endings(script, log)
