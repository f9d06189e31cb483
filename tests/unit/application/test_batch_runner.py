from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast.adapters.memory.files import MemoryFiles
from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.batch_enrolment import configuration_sha256
from holdfast.ports.batch import BatchPhase, BatchProgress, BatchReport, BatchStatus
from holdfast.ports.errors import (
    BackendUnavailableError,
    BatchChangedError,
    BatchError,
    BatchInputError,
    ClosedError,
    DeadlineExceededError,
    JournalLockedError,
    JournalWriteError,
)
from holdfast.ports.files import FileWriter
from holdfast.ports.inference import Citation, FinishReason, Usage
from holdfast.ports.journal import BatchItem, FailureKind, Fingerprints
from holdfast.ports.service import Disposition, Priority, Reply, Request
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio


def reply_to(request: Request, *, disposition: Disposition = Disposition.CALLED, text: str = "Because.") -> Reply:
    return Reply(
        text=text,
        backend="main",
        model="m-1",
        disposition=disposition,
        attempts=1,
        queue_s=0.25,
        backend_s=0.5,
        usage=Usage(input_tokens=3, output_tokens=2),
        citations=(Citation(source="adr/0001.md", heading="Why"),),
        request_id=request.request_id,
        finish_reason=FinishReason.LENGTH,
    )


async def answer(request: Request) -> Reply:
    await anyio.sleep(1.0)
    return reply_to(request)


class ScriptedService:
    """Answers as its script says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: Callable[[Request], Awaitable[Reply]] = answer
        self.requests: list[Request] = []
        self.in_flight: Counter[str | None] = Counter()
        self.most_in_flight = 0

    async def submit(self, request: Request) -> Reply:
        self.requests.append(request)
        self.in_flight[request.request_id] += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
        try:
            return await self.script(request)
        finally:
            self.in_flight[request.request_id] -= 1

    def asked(self) -> list[str | None]:
        """Return the ids that were asked since the last time, in order."""
        ids = [request.request_id for request in self.requests]
        self.requests.clear()
        return ids


def raising(errors: dict[str, Exception]) -> Callable[[Request], Awaitable[Reply]]:
    async def script(request: Request) -> Reply:
        await anyio.sleep(1.0)
        if error := errors.get(request.request_id or ""):
            raise error
        return reply_to(request)

    return script


@dataclass
class Bench:
    """A batch on a bench: everything around it is in memory, except its input."""

    folder: Path
    service: ScriptedService = field(default_factory=ScriptedService)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    config: BatchConfig = field(default_factory=lambda: BatchConfig(concurrency=2))
    progress: list[BatchProgress] = field(default_factory=list[BatchProgress])

    @property
    def input_path(self) -> Path:
        return self.folder / "input.jsonl"

    @property
    def output_folder(self) -> Path:
        return self.folder / "out"

    def write(self, *lines: dict[str, Any] | bytes) -> None:
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        self.input_path.write_bytes(b"".join(line + b"\n" for line in encoded))

    def write_questions(self, count: int) -> None:
        self.write(*({"id": f"q{number}", "question": f"Why {number}?"} for number in range(1, count + 1)))

    def runner(
        self, *, writer: FileWriter | None = None, output_folder: Path | None = None, configuration: str = "{}"
    ) -> BatchRunner:
        return BatchRunner(
            self.service.submit,
            self.journal,
            writer or self.files,
            output_folder=output_folder or self.output_folder,
            configuration=configuration,
            clock=VirtualClock(),
            config=self.config,
        )

    async def run(
        self, *, retry_failed: bool = False, stop: anyio.Event | None = None, configuration: str = "{}"
    ) -> BatchReport:
        return await self.runner(configuration=configuration).run(
            self.input_path,
            retry_failed=retry_failed,
            stop=stop,
            on_progress=self.progress.append,
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files.contents[self.output_folder / name].splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(folder=tmp_path)


async def test_run_answers_every_item_once_and_writes_its_files(bench: Bench) -> None:
    bench.write_questions(5)

    report = await bench.run()

    assert report.status is BatchStatus.COMPLETE
    assert report.settled == 5
    assert report.elapsed_s >= 3.0
    assert (report.summary.items, report.summary.answered, report.summary.backend_calls) == (5, 5, 5)
    assert sorted(bench.service.asked(), key=str) == ["q1", "q2", "q3", "q4", "q5"]
    assert bench.rows("failures.jsonl") == []
    assert bench.rows("results.jsonl")[0] == {
        "id": "q1",
        "line": 1,
        "status": "answered",
        "text": "Because.",
        "citations": [{"source": "adr/0001.md", "heading": "Why"}],
        "backend": "main",
        "model": "m-1",
        "disposition": "called",
        "persona": None,
        "marks": [],
        "finish_reason": "length",
        "attempts": 1,
        "queue_s": 0.25,
        "backend_s": 0.5,
        "elapsed_s": pytest.approx(1.0),
        "input_tokens": 3,
        "output_tokens": 2,
    }
    assert [row["line"] for row in bench.rows("results.jsonl")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("concurrency", [1, 3, 8])
async def test_run_keeps_to_its_concurrency(bench: Bench, concurrency: int) -> None:
    bench.config = BatchConfig(concurrency=concurrency)
    bench.write_questions(20)
    full = anyio.Event()

    async def script(request: Request) -> Reply:
        if bench.service.in_flight.total() == concurrency:
            full.set()
        await full.wait()
        return await answer(request)

    bench.service.script = script

    await bench.run()

    assert bench.service.most_in_flight == concurrency


async def test_request_carries_what_its_line_says_and_a_key_of_its_own(bench: Bench) -> None:
    bench.write({"id": "a", "question": "Why?", "priority": "low", "timeout_s": 7}, {"question": "Why?"})

    await bench.run()

    first, second = sorted(bench.service.requests, key=lambda request: str(request.request_id))
    assert (first.request_id, first.priority, first.timeout_s) == ("a", Priority.LOW, 7.0)
    assert second.request_id == "line-2"
    assert first.idempotency_key
    assert second.idempotency_key
    assert first.idempotency_key != second.idempotency_key


async def test_idempotency_key_is_the_same_in_every_run_of_one_input_and_differs_between_inputs(bench: Bench) -> None:
    bench.write_questions(1)
    bench.service.script = raising({"q1": DeadlineExceededError()})
    await bench.run()
    await bench.run(retry_failed=True)
    bench.journal = MemoryJournal()
    bench.write_questions(2)
    await bench.run()

    first, retried, *others = [request.idempotency_key for request in bench.service.requests]

    assert first == retried
    assert first not in others


async def test_failed_items_keep_kind_and_reason_and_the_others_run_on(bench: Bench) -> None:
    bench.write_questions(4)
    down = BackendUnavailableError("connection refused", backend="main")
    bench.service.script = raising({"q2": down, "q3": ZeroDivisionError("oops")})

    report = await bench.run()

    assert report.status is BatchStatus.COMPLETE
    assert (report.summary.answered, report.summary.failed) == (2, 2)
    assert set(report.summary.failures) == {(FailureKind.UNAVAILABLE, 1), (FailureKind.UNEXPECTED, 1)}
    assert bench.rows("failures.jsonl") == [
        {
            "id": "q2",
            "line": 2,
            "status": "failed",
            "kind": "unavailable",
            "reason": "backend 'main': connection refused",
            "elapsed_s": pytest.approx(1.0),
        },
        {
            "id": "q3",
            "line": 3,
            "status": "failed",
            "kind": "unexpected",
            "reason": "ZeroDivisionError: oops",
            "elapsed_s": pytest.approx(1.0),
        },
    ]


async def test_bad_lines_are_recorded_with_their_number_and_never_called(bench: Bench) -> None:
    bench.write({"question": "Why?"}, b"", b"{", {"question": 42, "id": "typed"}, b"\xff", {"question": "How?"})

    report = await bench.run()

    assert sorted(bench.service.asked(), key=str) == ["line-1", "line-6"]
    assert (report.status, report.summary.answered, report.summary.rejected) == (BatchStatus.COMPLETE, 2, 4)
    assert [(row["id"], row["line"], row["status"], row["kind"]) for row in bench.rows("failures.jsonl")] == [
        ("line-2", 2, "rejected", "blank_line"),
        ("line-3", 3, "rejected", "not_json"),
        ("typed", 4, "rejected", "invalid"),
        ("line-5", 5, "rejected", "not_utf8"),
    ]


async def test_shared_answers_are_counted_as_duplicates_saved(bench: Bench) -> None:
    bench.write_questions(3)

    async def script(request: Request) -> Reply:
        shared = request.request_id != "q1"
        return reply_to(request, disposition=Disposition.CACHED if shared else Disposition.CALLED)

    bench.service.script = script

    report = await bench.run()

    assert (report.summary.duplicates_saved, report.summary.backend_calls) == (2, 1)
    assert bench.progress[-1].duplicates_saved == 2


async def test_answer_that_is_no_valid_unicode_is_recorded_mended(bench: Bench) -> None:
    bench.write_questions(1)

    async def script(request: Request) -> Reply:
        return reply_to(request, text="lone \ud800 surrogate")

    bench.service.script = script

    await bench.run()

    assert bench.rows("results.jsonl")[0]["text"] == "lone ? surrogate"


async def test_progress_adds_up_at_every_step(bench: Bench) -> None:
    bench.write({"question": "Why?", "id": "q1"}, b"", {"question": "How?"}, {"question": "Who?"})
    bench.service.script = raising({"q1": DeadlineExceededError()})

    await bench.run()

    scanning, *running, exporting = bench.progress
    assert (scanning.phase, scanning.items, scanning.settled) == (BatchPhase.SCANNING, 4, 0)
    assert [step.phase for step in running] == [BatchPhase.RUNNING] * 4
    assert [step.settled for step in running] == [0, 1, 2, 3]
    assert all(step.items == 4 == step.pending + step.answered + step.failed + step.rejected for step in running)
    assert (exporting.phase, exporting.answered, exporting.failed, exporting.rejected) == (
        BatchPhase.EXPORTING,
        2,
        1,
        1,
    )
    assert exporting.elapsed_s >= 2.0


async def test_result_is_saved_before_it_is_counted(bench: Bench) -> None:
    bench.write_questions(6)
    told: list[tuple[int, MemoryJournal]] = []

    def on_progress(step: BatchProgress) -> None:
        told.append((step.answered, bench.journal.crashed()))

    await bench.runner().run(bench.input_path, on_progress=on_progress)

    assert [answered for answered, _ in told][-1] == 6
    assert all([answered <= (await left.summary()).answered for answered, left in told])


async def test_run_again_when_complete_calls_nothing_and_says_so(bench: Bench) -> None:
    bench.write_questions(3)
    await bench.run()
    written = dict(bench.files.contents)
    bench.service.asked()
    bench.files.contents.clear()

    report = await bench.run()

    assert report.status is BatchStatus.ALREADY_COMPLETE
    assert report.settled == 0
    assert bench.service.asked() == []
    assert bench.files.contents == written


async def test_input_without_a_callable_line_is_complete_at_once(bench: Bench) -> None:
    bench.write(b"")

    report = await bench.run()

    assert (report.status, report.summary.rejected, report.summary.run) == (BatchStatus.COMPLETE, 1, None)
    assert (await bench.run()).status is BatchStatus.ALREADY_COMPLETE


async def test_empty_input_is_complete_with_empty_files(bench: Bench) -> None:
    bench.write()

    report = await bench.run()

    assert (report.status, report.summary.items) == (BatchStatus.COMPLETE, 0)
    assert bench.files.contents == {bench.output_folder / name: b"" for name in ("results.jsonl", "failures.jsonl")}


async def test_retry_failed_runs_only_the_failed_items(bench: Bench) -> None:
    bench.write({"id": "q1", "question": "Why?"}, b"", {"id": "q3", "question": "How?"})
    bench.service.script = raising({"q3": DeadlineExceededError()})
    await bench.run()
    bench.service.asked()
    bench.service.script = answer

    report = await bench.run(retry_failed=True)

    assert bench.service.asked() == ["q3"]
    assert (report.status, report.settled) == (BatchStatus.COMPLETE, 1)
    assert (report.summary.run, report.summary.answered, report.summary.failed) == (2, 2, 0)
    assert [row["id"] for row in bench.rows("failures.jsonl")] == ["line-2"]
    assert [row["id"] for row in bench.rows("results.jsonl")] == ["q1", "q3"]


async def test_retry_failed_without_failures_calls_nothing(bench: Bench) -> None:
    bench.write_questions(1)
    await bench.run()
    bench.service.asked()

    report = await bench.run(retry_failed=True)

    assert (report.status, report.summary.run) == (BatchStatus.ALREADY_COMPLETE, 1)
    assert bench.service.asked() == []


async def test_retry_failed_of_an_interrupted_run_only_resumes_it(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=1)
    bench.write_questions(3)
    stop = anyio.Event()

    async def fail_and_stop(request: Request) -> Reply:
        stop.set()
        raise DeadlineExceededError

    bench.service.script = fail_and_stop
    await bench.run(stop=stop)
    bench.service.asked()
    bench.service.script = answer

    report = await bench.run(retry_failed=True)

    assert bench.service.asked() == ["q2", "q3"]
    assert (report.summary.run, report.summary.failed) == (1, 1)


async def test_rollback_of_the_first_run_leaves_everything_pending_and_empties_the_files(bench: Bench) -> None:
    bench.write_questions(2)
    await bench.run()
    bench.service.asked()

    undone = await bench.runner().rollback()

    assert undone is not None
    assert (undone.run, undone.results) == (1, 2)
    assert bench.rows("results.jsonl") == []
    assert (await bench.run()).status is BatchStatus.COMPLETE
    assert sorted(bench.service.asked(), key=str) == ["q1", "q2"]


async def test_rollback_of_a_retry_brings_the_failures_back_into_the_files(bench: Bench) -> None:
    bench.write_questions(2)
    bench.service.script = raising({"q2": DeadlineExceededError()})
    await bench.run()
    failures = bench.rows("failures.jsonl")
    bench.service.script = answer
    await bench.run(retry_failed=True)

    undone = await bench.runner().rollback()

    assert undone is not None
    assert undone.run == 2
    assert [row["id"] for row in bench.rows("results.jsonl")] == ["q1"]
    assert bench.rows("failures.jsonl") == failures


async def test_rollback_of_nothing_writes_nothing(bench: Bench) -> None:
    assert await bench.runner().rollback() is None

    assert bench.files.contents == {}


@dataclass
class StoppingOnceBothAreInFlight:
    """Time jumps while a line is being read in a thread, so nothing may depend on which of two items comes first."""

    service: ScriptedService
    stop: anyio.Event
    slow: str = "none"

    async def __call__(self, request: Request) -> Reply:
        if self.service.in_flight.total() == 2:
            self.stop.set()
        await self.stop.wait()
        await anyio.sleep(3600.0 if request.request_id == self.slow else 1.0)
        return reply_to(request)


async def test_stop_lets_items_in_flight_end_and_takes_no_more(bench: Bench) -> None:
    bench.write_questions(10)
    stop = anyio.Event()
    bench.service.script = StoppingOnceBothAreInFlight(bench.service, stop)

    report = await bench.run(stop=stop)

    assert report.status is BatchStatus.STOPPED
    assert sorted(bench.service.asked(), key=str) == ["q1", "q2"]
    assert (report.settled, report.summary.answered, report.summary.pending) == (2, 2, 8)
    assert bench.files.contents == {}


async def test_stop_cancels_what_outlasts_the_grace_period_and_puts_it_back(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=2, stop_grace_s=5.0, max_crashes=1)
    bench.write_questions(3)
    stop = anyio.Event()

    bench.service.script = StoppingOnceBothAreInFlight(bench.service, stop, slow="q2")

    report = await bench.run(stop=stop)

    assert report.status is BatchStatus.STOPPED
    assert report.elapsed_s == pytest.approx(5.0)
    assert (report.summary.answered, report.summary.pending) == (1, 2)
    bench.service.script = answer
    again = await bench.run()
    assert (again.status, again.summary.answered) == (BatchStatus.COMPLETE, 3)


async def test_stop_after_the_last_item_was_taken_completes_the_batch(bench: Bench) -> None:
    bench.write_questions(2)
    stop = anyio.Event()
    bench.service.script = StoppingOnceBothAreInFlight(bench.service, stop)

    assert (await bench.run(stop=stop)).status is BatchStatus.COMPLETE
    assert len(bench.rows("results.jsonl")) == 2


async def test_stop_while_scanning_records_nothing(bench: Bench) -> None:
    bench.write_questions(5)
    stop = anyio.Event()
    stop.set()

    report = await bench.run(stop=stop)

    assert (report.status, report.summary.items) == (BatchStatus.STOPPED, 0)
    assert bench.service.asked() == []
    assert (await bench.run()).summary.answered == 5


async def test_stop_while_a_known_input_is_compared_calls_nothing(bench: Bench) -> None:
    bench.write_questions(2)
    bench.service.script = raising({"q1": ClosedError("service"), "q2": ClosedError("service")})
    with pytest.raises(ClosedError):
        await bench.run()
    bench.service.asked()
    stop = anyio.Event()
    stop.set()

    report = await bench.run(stop=stop)

    assert (report.status, report.summary.pending) == (BatchStatus.STOPPED, 2)
    assert bench.service.asked() == []


async def test_service_that_closes_ends_the_batch_and_its_items_stay_pending(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=2, max_crashes=1)
    bench.write_questions(6)
    bench.service.script = raising({"q3": ClosedError("service")})

    with pytest.raises(ClosedError):
        await bench.run()

    summary = await bench.journal.summary()
    assert summary.failed == 0
    assert summary.pending >= 1
    bench.service.script = answer
    assert (await bench.run()).summary.answered == 6


@dataclass
class Dying:
    """Hangs with certain items, and says when it hangs with all of them."""

    names: frozenset[str]
    hanging: int = 0
    in_hand: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, request: Request) -> Reply:
        if request.request_id in self.names:
            self.hanging += 1
            if self.hanging == len(self.names):
                self.in_hand.set()
            await anyio.sleep_forever()
        return await answer(request)


async def dead_while_calling(bench: Bench, *names: str) -> None:
    """Run the batch up to the moment when all of these are being called, and go on from what a death leaves then."""
    dying = Dying(frozenset(names))
    bench.service.script = dying
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.run)
        await dying.in_hand.wait()
        left = bench.journal.crashed()
        tasks.cancel_scope.cancel()
    bench.journal = left
    bench.service.script = answer
    bench.service.asked()


async def test_item_in_hand_at_a_death_is_called_again_and_recorded_once(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=1)
    bench.write_questions(3)
    await dead_while_calling(bench, "q2")

    report = await bench.run()

    assert bench.service.asked() == ["q3", "q2"]
    assert (report.status, report.summary.answered) == (BatchStatus.COMPLETE, 3)
    assert [row["id"] for row in bench.rows("results.jsonl")] == ["q1", "q2", "q3"]


async def test_items_in_hand_at_a_death_are_called_last_and_alone(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=3)
    bench.write_questions(9)
    await dead_while_calling(bench, "q1", "q2", "q3")
    beside: dict[str | None, int] = {}

    async def watching(request: Request) -> Reply:
        reply = await answer(request)
        beside[request.request_id] = bench.service.in_flight.total()
        return reply

    bench.service.script = watching

    await bench.run()

    assert list(beside.items())[-3:] == [("q1", 1), ("q2", 1), ("q3", 1)]


async def test_item_that_keeps_killing_the_process_is_given_up_and_no_other_with_it(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=3, max_crashes=3)
    bench.write_questions(6)
    for _ in range(3):
        await dead_while_calling(bench, "q2")

    report = await bench.run()

    assert bench.service.asked() == []
    assert report.summary.failures == ((FailureKind.CRASHED, 1),)
    assert [row["id"] for row in bench.rows("results.jsonl")] == ["q1", "q3", "q4", "q5", "q6"]
    assert "3 times" in bench.rows("failures.jsonl")[0]["reason"]


async def test_item_given_up_gets_new_chances_from_retry_failed(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=1, max_crashes=1)
    bench.write_questions(1)
    await dead_while_calling(bench, "q1")
    await bench.run()

    report = await bench.run(retry_failed=True)

    assert bench.service.asked() == ["q1"]
    assert report.summary.answered == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 1_000_000])
async def test_hostile_id_is_refused_before_any_call_and_records_nothing(bench: Bench, name: str) -> None:
    bench.write({"question": "Why?"}, {"id": name, "question": "How?"})
    bench.config = BatchConfig(max_line_bytes=2_000_000)

    with pytest.raises(BatchInputError) as caught:
        await bench.run()

    assert caught.value.line == 2
    assert bench.service.asked() == []
    assert (await bench.journal.summary()).items == 0


@pytest.mark.parametrize("gap", [0, 2000])
async def test_duplicate_id_is_refused_with_both_lines(bench: Bench, gap: int) -> None:
    bench.write({"id": "a", "question": "Why?"}, *[{"question": "Why?"}] * gap, {"id": "a", "question": "How?"})

    with pytest.raises(BatchInputError, match="line 1") as caught:
        await bench.run()

    assert caught.value.line == gap + 2
    assert bench.service.asked() == []
    assert (await bench.journal.summary()).items == 0


async def test_id_like_the_default_of_another_line_is_a_duplicate(bench: Bench) -> None:
    bench.write({"id": "line-2", "question": "Why?"}, {"question": "How?"})

    with pytest.raises(BatchInputError, match="line-2"):
        await bench.run()


async def test_changed_input_is_refused_with_both_fingerprints(bench: Bench) -> None:
    bench.write_questions(2)
    await bench.run()
    bench.write_questions(3)

    with pytest.raises(BatchChangedError) as caught:
        await bench.run()

    assert caught.value.what == "input"
    assert caught.value.recorded in str(caught.value)
    assert caught.value.found in str(caught.value)
    assert (await bench.journal.summary()).items == 2


async def test_changed_configuration_is_refused_and_a_faster_one_is_not(bench: Bench) -> None:
    bench.write_questions(2)
    await bench.run(configuration='{"model":"a"}')

    with pytest.raises(BatchChangedError) as caught:
        await bench.run(configuration='{"model":"b"}')
    bench.config = BatchConfig(concurrency=7, max_crashes=9, stop_grace_s=1.0, max_refused_wait_s=1.0)
    report = await bench.run(configuration='{"model":"a"}')
    bench.config = BatchConfig(max_line_bytes=5)
    with pytest.raises(BatchChangedError):
        await bench.run(configuration='{"model":"a"}')

    assert caught.value.what == "configuration"
    assert report.status is BatchStatus.ALREADY_COMPLETE


async def test_line_changed_under_a_running_batch_ends_it_and_calls_nothing_wrong(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=1)
    bench.write_questions(3)

    async def changing(request: Request) -> Reply:
        bench.write(*({"id": f"q{number}", "question": "Changed?"} for number in range(1, 4)))
        return reply_to(request)

    bench.service.script = changing

    with pytest.raises(BatchChangedError):
        await bench.run()

    assert bench.service.asked() == ["q1"]
    bench.write_questions(3)
    bench.service.script = answer
    assert (await bench.run()).summary.answered == 3


async def test_line_that_an_older_version_had_taken_fails_alone(bench: Bench) -> None:
    bench.write({"id": "q1", "question": "Why?", "forgotten": True}, {"id": "q2", "question": "How?"})
    offset = 0
    items: list[BatchItem] = []
    for number, line in enumerate(bench.input_path.read_bytes().splitlines(), 1):
        sha256 = hashlib.sha256(line).digest()
        items.append(BatchItem(line=number, id=f"q{number}", byte_offset=offset, size_bytes=len(line), sha256=sha256))
        offset += len(line) + 1
    fingerprints = Fingerprints(
        input_sha256=hashlib.sha256(bench.input_path.read_bytes()).hexdigest(),
        configuration_sha256=configuration_sha256("{}", bench.config),
    )
    async with bench.journal.writing() as journal:
        await journal.enrol(items)
        await journal.seal(fingerprints)

    report = await bench.run()

    assert bench.service.asked() == ["q2"]
    assert report.summary.failures == ((FailureKind.INVALID, 1),)


async def test_missing_input_is_refused_before_the_output_is_made(bench: Bench) -> None:
    with pytest.raises(BatchInputError, match="No such file"):
        await bench.run()

    assert not bench.output_folder.exists()


@pytest.mark.parametrize("name", ["results.jsonl", "failures.jsonl"])
async def test_input_that_the_output_would_overwrite_is_refused(bench: Bench, name: str) -> None:
    bench.write_questions(1)
    bench.output_folder.mkdir()
    (bench.output_folder / name).symlink_to(bench.input_path)

    with pytest.raises(BatchInputError, match="overwrite"):
        await bench.run()

    assert bench.service.asked() == []


async def test_output_folder_that_is_the_input_is_refused(bench: Bench) -> None:
    bench.write_questions(1)

    with pytest.raises(BatchInputError, match="overwrite"):
        await bench.runner(output_folder=bench.input_path).run(bench.input_path)

    assert bench.service.asked() == []


async def test_output_that_is_a_folder_where_a_file_goes_is_refused(bench: Bench) -> None:
    bench.write_questions(1)
    (bench.output_folder / "results.jsonl").mkdir(parents=True)

    with pytest.raises(BatchInputError, match="folder"):
        await bench.run()

    assert bench.service.asked() == []


@pytest.mark.parametrize("place", ["file/out", "/proc/self/net"])
async def test_output_that_cannot_be_written_is_refused(bench: Bench, place: str) -> None:
    bench.write_questions(1)
    (bench.folder / "file").write_bytes(b"")

    with pytest.raises(BatchInputError, match="cannot be written"):
        await bench.runner(output_folder=bench.folder / place).run(bench.input_path)

    assert bench.service.asked() == []


async def test_second_runner_is_refused_while_the_first_works(bench: Bench) -> None:
    bench.write_questions(1)
    second: list[BaseException] = []

    async def script(request: Request) -> Reply:
        with pytest.raises(JournalLockedError) as caught:
            await bench.run()
        second.append(caught.value)
        return reply_to(request)

    bench.service.script = script

    assert (await bench.run()).status is BatchStatus.COMPLETE
    assert len(second) == 1


async def test_progress_callback_that_fails_ends_the_batch_with_its_error_alone(bench: Bench) -> None:
    bench.write_questions(5)

    def on_progress(step: BatchProgress) -> None:
        if step.settled == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.runner().run(bench.input_path, on_progress=on_progress)

    summary = await bench.journal.summary()
    assert summary.answered >= 2
    assert (await bench.run()).summary.answered == 5


class FullDisk:
    """A file writer on a full disk."""

    async def replace(self, path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")


class BrokenJournal:
    """A file writer that finds the journal broken while it reads its content."""

    async def replace(self, path: Path, content: object) -> None:
        raise JournalWriteError("broken", path="journal")


async def test_export_on_a_full_disk_says_that_the_results_are_safe(bench: Bench) -> None:
    bench.write_questions(2)

    with pytest.raises(BatchError, match="safe in the journal"):
        await bench.runner(writer=FullDisk()).run(bench.input_path)

    report = await bench.run()
    assert (report.status, report.settled) == (BatchStatus.ALREADY_COMPLETE, 0)
    assert len(bench.rows("results.jsonl")) == 2


async def test_export_passes_an_error_of_the_journal_on_as_it_is(bench: Bench) -> None:
    bench.write_questions(1)

    with pytest.raises(JournalWriteError, match="broken"):
        await bench.runner(writer=BrokenJournal()).run(bench.input_path)


async def test_files_of_many_results_are_written_page_by_page(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=50)
    bench.write_questions(1200)

    await bench.run()

    assert [row["id"] for row in bench.rows("results.jsonl")] == [f"q{number}" for number in range(1, 1201)]


async def test_answer_that_arrives_with_a_cancellation_is_saved(bench: Bench) -> None:
    bench.write_questions(1)

    async def cancelling(request: Request) -> Reply:
        scope.cancel()
        return reply_to(request)

    bench.service.script = cancelling

    with anyio.CancelScope() as scope:
        await bench.run()

    assert scope.cancelled_caught
    assert (await bench.journal.summary()).answered == 1


async def test_cancellation_at_any_moment_loses_no_item_and_records_none_twice(bench: Bench) -> None:
    bench.config = BatchConfig(concurrency=2, max_crashes=1)
    bench.write({"id": "q1", "question": "Why?"}, b"", {"id": "q3", "question": "How?"}, {"question": "Who?"})
    bench.service.script = raising({"q3": DeadlineExceededError()})
    answers_seen = 0

    async def check() -> None:
        nonlocal answers_seen
        assert bench.service.in_flight.total() == 0
        answers_seen = max(answers_seen, (await bench.journal.summary()).answered)
        report = await bench.run()
        assert report.summary.items == 4
        assert (report.summary.answered, report.summary.failed, report.summary.rejected) == (2, 1, 1)
        assert len(bench.rows("results.jsonl")) == 2
        assert Counter(bench.service.asked()).keys() <= {"q1", "q3", "line-4"}
        bench.journal = MemoryJournal()

    checkpoints = await sweep_cancellation(bench.run, check)

    assert checkpoints > 20
    assert answers_seen == 2
