"""What a batch does with an item that Holdfast itself refuses: it waits and asks again, for so long and no longer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.memory.files import MemoryFiles
from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.ports.batch import BatchReport, BatchStatus
from holdfast.ports.errors import (
    BackendUnavailableError,
    BackpressureError,
    BreakerOpenError,
    ClosedError,
    RateLimitedError,
    RefusedError,
)
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.journal import FailureKind
from holdfast.ports.service import Reply, Request
from holdfast.testing import VirtualClock, sweep_cancellation
from tests.fakes.application import REPLY
from tests.fakes.service import opened

pytestmark = pytest.mark.anyio


def breaker_open(retry_after_s: float | None = 5.0) -> RefusedError:
    return BreakerOpenError(breaker="main", retry_after_s=retry_after_s)


def queue_full(retry_after_s: float | None = 5.0) -> RefusedError:
    return BackpressureError(depth=9, capacity=9, retry_after_s=retry_after_s, reason="the admission queue is full")


def rate_limited(retry_after_s: float | None = 5.0) -> RefusedError:
    return RateLimitedError(scope="tenant 'a'", quantity="requests", retry_after_s=retry_after_s)


def reply_to(request: Request) -> Reply:
    return replace(REPLY, backend="main", model="m-1", request_id=request.request_id)


class RefusingService:
    """Refuses each item as its script says, then answers; remembers what it was asked, and when."""

    def __init__(self, *refusals: Exception) -> None:
        self._refusals = refusals
        self._asked: Counter[str | None] = Counter()
        self.requests: list[Request] = []
        self.asked_at_s: list[float] = []
        self.on_refusal: Callable[[], None] = lambda: None

    async def submit(self, request: Request) -> Reply:
        refused = self._asked[request.request_id]
        self._asked[request.request_id] += 1
        self.requests.append(request)
        self.asked_at_s.append(anyio.current_time())
        await anyio.lowlevel.checkpoint()
        if refused == len(self._refusals):
            return reply_to(request)
        self.on_refusal()
        raise self._refusals[refused]

    @property
    def waits_s(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.asked_at_s, self.asked_at_s[1:], strict=False)]


@dataclass
class Bench:
    """A batch of which everything is in memory except its input."""

    folder: Path
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    def write_questions(self, count: int) -> None:
        lines = [json.dumps({"id": f"q{number}", "question": f"Why {number}?"}) for number in range(1, count + 1)]
        (self.folder / "input.jsonl").write_text("\n".join(lines) + "\n")

    async def run(
        self,
        service: RefusingService | Orchestrator,
        config: BatchConfig | None = None,
        *,
        stop: anyio.Event | None = None,
    ) -> BatchReport:
        runner = BatchRunner(
            service.submit,
            self.journal,
            MemoryFiles(),
            output_folder=self.folder / "out",
            configuration="{}",
            clock=VirtualClock(),
            config=config or BatchConfig(),
        )
        return await runner.run(self.folder / "input.jsonl", stop=stop)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.write_questions(1)
    return bench


@pytest.mark.parametrize("refusal", [breaker_open, queue_full, rate_limited])
async def test_refused_item_is_asked_again_once_it_has_a_chance(
    bench: Bench, refusal: Callable[[float], RefusedError]
) -> None:
    service = RefusingService(refusal(5.0), refusal(20.0))

    report = await bench.run(service)

    assert (report.summary.answered, report.summary.failed) == (1, 0)
    assert service.waits_s == [pytest.approx(5.0), pytest.approx(20.0)]


async def test_refused_item_is_asked_again_under_the_same_idempotency_key(bench: Bench) -> None:
    service = RefusingService(breaker_open())

    await bench.run(service)

    first, second = service.requests
    assert first == second
    assert first.idempotency_key


async def test_time_waited_is_part_of_the_time_that_the_item_took(bench: Bench) -> None:
    await bench.run(RefusingService(breaker_open(5.0)))

    (row,) = await bench.journal.answers(after_line=0, limit=10)
    assert row.elapsed_s == pytest.approx(5.0)


async def test_item_refused_for_longer_than_allowed_is_recorded_as_refused(bench: Bench) -> None:
    service = RefusingService(*[breaker_open(5.0)] * 10)

    report = await bench.run(service, BatchConfig(max_refused_wait_s=10.0))

    assert report.status is BatchStatus.COMPLETE
    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert service.waits_s == [pytest.approx(5.0), pytest.approx(5.0)]


async def test_wait_that_would_be_longer_than_allowed_is_not_begun(bench: Bench) -> None:
    service = RefusingService(breaker_open(10.5))

    report = await bench.run(service, BatchConfig(max_refused_wait_s=10.0))

    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert len(service.requests) == 1


async def test_allowance_is_each_items_own(bench: Bench) -> None:
    bench.write_questions(3)
    service = RefusingService(*[breaker_open(5.0)] * 2)

    report = await bench.run(service, BatchConfig(concurrency=3, max_refused_wait_s=10.0))

    assert (report.summary.answered, report.summary.failed) == (3, 0)


@pytest.mark.parametrize("retry_after_s", [0.0, 5.0])
async def test_item_refused_where_no_wait_is_allowed_is_recorded_at_once(bench: Bench, retry_after_s: float) -> None:
    service = RefusingService(breaker_open(retry_after_s))

    report = await bench.run(service, BatchConfig(max_refused_wait_s=0.0))

    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert len(service.requests) == 1


async def test_item_refused_for_no_time_at_all_is_not_asked_in_a_tight_loop(bench: Bench) -> None:
    service = RefusingService(*[queue_full(0.0)] * 100)

    report = await bench.run(service, BatchConfig(max_refused_wait_s=1.05))

    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert len(service.requests) == 11


async def test_item_refused_by_a_queue_that_cannot_say_when_is_recorded_at_once(bench: Bench) -> None:
    service = RefusingService(queue_full(None))

    report = await bench.run(service)

    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert len(service.requests) == 1


async def test_item_refused_while_a_breaker_probes_is_asked_again_every_second(bench: Bench) -> None:
    service = RefusingService(*[breaker_open(None)] * 3)

    report = await bench.run(service)

    assert report.summary.answered == 1
    assert service.waits_s == [pytest.approx(1.0)] * 3


async def test_item_refused_by_a_breaker_that_never_says_when_is_recorded_after_the_allowance(bench: Bench) -> None:
    service = RefusingService(*[breaker_open(None)] * 100)

    report = await bench.run(service, BatchConfig(max_refused_wait_s=10.0))

    assert report.summary.failures == ((FailureKind.REFUSED, 1),)
    assert len(service.requests) == 11


async def test_service_that_closes_while_an_item_waits_ends_the_batch_and_puts_it_back(bench: Bench) -> None:
    service = RefusingService(breaker_open(), ClosedError("service"))

    with pytest.raises(ClosedError):
        await bench.run(service)

    assert (await bench.journal.summary()).pending == 1


async def test_stop_puts_back_an_item_that_waits_beyond_the_grace_period(bench: Bench) -> None:
    stop = anyio.Event()
    service = RefusingService(breaker_open(60.0))
    service.on_refusal = stop.set
    config = BatchConfig(stop_grace_s=5.0, max_crashes=1)

    report = await bench.run(service, config, stop=stop)

    assert report.status is BatchStatus.STOPPED
    assert report.elapsed_s == pytest.approx(5.0)
    assert (report.summary.pending, report.summary.failed) == (1, 0)
    again = await bench.run(RefusingService(), config)
    assert (again.status, again.summary.answered) == (BatchStatus.COMPLETE, 1)


async def test_stop_lets_an_item_that_waits_within_the_grace_period_end(bench: Bench) -> None:
    stop = anyio.Event()
    service = RefusingService(breaker_open(2.0))
    service.on_refusal = stop.set

    report = await bench.run(service, BatchConfig(stop_grace_s=5.0), stop=stop)

    assert (report.status, report.summary.answered) == (BatchStatus.COMPLETE, 1)


async def test_cancellation_at_any_moment_of_a_wait_puts_the_item_back(bench: Bench) -> None:
    async def refused_twice() -> BatchReport:
        return await bench.run(RefusingService(breaker_open(), queue_full()), BatchConfig(max_crashes=1))

    async def check() -> None:
        report = await bench.run(RefusingService(), BatchConfig(max_crashes=1))
        assert (report.summary.answered, report.summary.failed) == (1, 0)
        bench.journal = MemoryJournal()

    assert await sweep_cancellation(refused_twice, check) > 5


class RecoveringBackend:
    """Fails the calls that end first, so many of them, and answers the others; each takes a second."""

    def __init__(self, failing: int) -> None:
        self._failing = failing

    async def complete(self, prompt: Prompt) -> Completion:
        del prompt
        await anyio.sleep(1.0)
        self._failing -= 1
        if self._failing >= 0:
            raise BackendUnavailableError("connection refused", backend="main")
        return Completion(text="Because.", model="m-1")


async def test_batch_behind_a_breaker_loses_only_the_items_that_its_backend_itself_failed(bench: Bench) -> None:
    bench.write_questions(60)
    # Calls that end at the same moment do so in any order: nine failures, four at once, have five in a row in each.
    guard = GuardSettings(retry=RetryPolicy(max_attempts=1), breaker=BreakerConfig(failures_in_row=5))
    async with opened({"main": RecoveringBackend(failing=9)}, Settings(guard=guard)) as orchestrator:
        report = await bench.run(orchestrator, BatchConfig(concurrency=4))
        breaker = orchestrator.health().backends[0].breaker

    assert report.status is BatchStatus.COMPLETE
    assert breaker.refused > 0
    assert report.summary.failures == ((FailureKind.UNAVAILABLE, 9),)
    assert report.summary.answered == 51
