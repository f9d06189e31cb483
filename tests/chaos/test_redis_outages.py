"""A real Redis that freezes, or dies and comes back empty, under 200 calls a second through the whole path."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio
import pytest

from holdfast.adapters.system.clock import SystemClock
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.events import Event, SharedStoreEmptied, SharedStoreLost, SharedStoreRejoined
from holdfast.ports.inference import Completion, InferenceBackend, Prompt
from holdfast.ports.statistics import BreakerState
from tests.fakes.redis_server import RedisServer, StartRedis
from tests.fakes.service import ask, assert_nothing_is_held, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time, pytest.mark.slow]

CALLS_PER_S = 200
BACKEND_S = 0.005
CLAIM_TIMEOUT_S = 2.0  # a process of a busy machine that is held up for longer takes Redis for lost
COMMAND_TIMEOUT_S = 6.0
SLACK_S = 1.0  # what two services differ by on such a machine
CONTROL_CALLS_PER_S = 50


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ill:
    """Fails each call, so that its breaker is open, or half-open and asks Redis."""

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, prompt: Prompt) -> Completion:
        self.calls += 1
        raise BackendUnavailableError("is ill", backend="ill")


class Echo:
    """Answers with the question."""

    async def complete(self, prompt: Prompt) -> Completion:
        await anyio.sleep(BACKEND_S)
        return Completion(text=prompt.messages[-1].content, model="echo-1")


class Load:
    """Asks questions that nobody has asked before, at a steady pace, and looks at each reply."""

    def __init__(self, service: Orchestrator, calls_per_s: int) -> None:
        self._service = service
        self._calls_per_s = calls_per_s
        self.took_s: list[float] = []
        self.wrong: list[str] = []
        self.stopped = False

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            began_s, number = anyio.current_time(), 0
            while not self.stopped:
                tasks.start_soon(self._ask, number)
                number += 1
                await anyio.sleep_until(began_s + number / self._calls_per_s)

    async def _ask(self, number: int) -> None:
        question = f"what is {number}?"
        began_s = anyio.current_time()
        try:
            reply = await self._service.submit(ask(question))
        except Exception as error:  # noqa: BLE001 - what the test looks at
            self.wrong.append(f"{question} {error!r}")
            return
        self.took_s.append(anyio.current_time() - began_s)
        if reply.text != question:
            self.wrong.append(f"{question} {reply.text}")

    def p99_s(self) -> float:
        return sorted(self.took_s)[math.floor(0.99 * len(self.took_s))]


def settings_of(server: RedisServer) -> Settings:
    breaker = {"failures_in_row": 1, "open_s": 0.2, "max_open_s": 0.2, "probe_calls": 1, "probe_successes": 1}
    return Settings.model_validate(
        {
            "guard": {"retry": {"max_attempts": 1}, "breaker": breaker},
            "shared": {
                "kind": "redis",
                "url": server.url,
                "command_timeout_s": COMMAND_TIMEOUT_S,
                "breakers": {"claim_timeout_s": CLAIM_TIMEOUT_S},
                "answers": {"claim_timeout_s": CLAIM_TIMEOUT_S, "lease_s": 30.0},
                "link": {"timeout_s": CLAIM_TIMEOUT_S},
            },
        }
    )


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30.0):
        while not condition():  # noqa: ASYNC110 - statistics tell nobody
            await anyio.sleep(0.01)


class Sink:
    """Keeps what it hears of the store."""

    def __init__(self) -> None:
        self.heard: list[type[Event]] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, SharedStoreLost | SharedStoreRejoined | SharedStoreEmptied):
            self.heard.append(type(event))


@pytest.mark.parametrize("how", ["frozen for five seconds", "killed and restarted empty"])
async def test_redis_away_under_load_fails_no_call_and_delays_none_beyond_the_claim_timeout(
    start_redis: StartRedis, how: str
) -> None:
    server, ill, sink = start_redis(), Ill(), Sink()
    backends: dict[str, InferenceBackend] = {"ill": ill, "echo": Echo()}
    settings = settings_of(server)
    alone = settings.model_copy(update={"shared": None})
    async with (
        opened(backends, settings, clock=SystemClock(), event_sinks=(sink,)) as service,
        opened({"ill": Ill(), "echo": Echo()}, alone, clock=SystemClock()) as unshared,
        anyio.create_task_group() as tasks,
    ):
        load = Load(service, CALLS_PER_S)
        control = Load(unshared, CONTROL_CALLS_PER_S)  # on the same busy machine, and nothing is shared

        def joined() -> bool:
            shared = service.health().shared
            return shared is not None and shared.joined

        tasks.start_soon(load.run)
        tasks.start_soon(control.run)
        await until(lambda: len(load.took_s) > CALLS_PER_S and joined())
        if how.startswith("frozen"):
            await anyio.to_thread.run_sync(server.freeze)
            await anyio.sleep(5.0)
            probed_alone = ill.calls
            await anyio.to_thread.run_sync(server.thaw)
        else:
            await anyio.to_thread.run_sync(server.kill)
            await anyio.sleep(2.0)
            probed_alone = ill.calls
            await anyio.to_thread.run_sync(server.start)
        await until(joined)
        await until(lambda: ill.calls > probed_alone)  # its probes are agreed to again
        await anyio.sleep(0.5)
        load.stopped = control.stopped = True

    health = service.health()
    assert load.wrong == []
    assert len(load.took_s) > 3 * CALLS_PER_S / 2
    assert load.p99_s() - control.p99_s() <= CLAIM_TIMEOUT_S + SLACK_S
    assert_nothing_is_held(health)
    emptied = [SharedStoreEmptied] if how.startswith("killed") else []
    assert sink.heard == [SharedStoreLost, *emptied, SharedStoreRejoined]
    assert health.shared is not None
    assert (health.shared.lost, health.shared.rejoined) == (1, 1)
    assert health.shared.skipped > 0
    assert health.backends[0].breaker.state is not BreakerState.CLOSED
