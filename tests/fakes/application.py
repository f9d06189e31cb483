"""An application that says and does what it is told, without settings, files or backends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from holdfast.ports.application import Application, Diagnosis
from holdfast.ports.batch import Batch, BatchPhase, BatchProgress, BatchReport, BatchStatus, StopSignal
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.inference import Usage
from holdfast.ports.journal import BatchSummary, FailureKind, Fingerprints, RolledBack
from holdfast.ports.service import Disposition, Reply, ReplyStream, Request, Service
from holdfast.ports.session import Sessions
from holdfast.ports.statistics import Health

__all__ = [
    "PROGRESS",
    "REPLY",
    "REPORT",
    "SPOTLESS",
    "SUMMARY",
    "UNFINISHED",
    "FakeApplication",
    "FakeBatch",
    "FakeService",
]


SUMMARY: Final = BatchSummary(
    fingerprints=Fingerprints(input_sha256="1" * 64, configuration_sha256="2" * 64),
    run=1,
    items=10,
    answered=8,
    failed=1,
    rejected=1,
    duplicates_saved=2,
    backend_calls=7,
    p50_s=0.0125,
    p99_s=1.5,
    failures=((FailureKind.NOT_JSON, 1), (FailureKind.TIMEOUT, 1)),
)
"""Ten items: eight answered, one failed, one rejected."""

SPOTLESS: Final = replace(SUMMARY, answered=10, failed=0, rejected=0, failures=())

UNFINISHED: Final = replace(SPOTLESS, answered=6, pending=4)

REPORT: Final = BatchReport(status=BatchStatus.COMPLETE, settled=10, elapsed_s=4.0, summary=SUMMARY)

PROGRESS: Final = BatchProgress(
    phase=BatchPhase.RUNNING,
    items=200,
    pending=100,
    answered=94,
    failed=4,
    rejected=2,
    duplicates_saved=40,
    settled=98,
    elapsed_s=5.0,
)
"""A batch of two hundred at its middle."""

REPLY: Final = Reply(
    text="Because.",
    backend="a",
    model="a-1",
    disposition=Disposition.CALLED,
    attempts=1,
    queue_s=0.0,
    backend_s=0.25,
    usage=Usage(),
    citations=(),
    request_id=None,
)


@dataclass
class FakeBatch:
    """Runs `script`, and keeps what it was asked."""

    script: Callable[[StopSignal, Callable[[BatchProgress], None]], Awaitable[BatchReport]]
    undone: RolledBack | None = None
    asked: list[tuple[Path, bool]] = field(default_factory=list[tuple[Path, bool]])
    rollbacks: int = 0

    async def run(
        self,
        input_path: Path,
        *,
        retry_failed: bool = False,
        stop: StopSignal | None = None,
        on_progress: Callable[[BatchProgress], None] | None = None,
    ) -> BatchReport:
        assert stop is not None
        assert on_progress is not None
        self.asked.append((input_path, retry_failed))
        return await self.script(stop, on_progress)

    async def rollback(self) -> RolledBack | None:
        self.rollbacks += 1
        return self.undone


@dataclass
class FakeService:
    """Answers every request with `answer`, or raises it."""

    answer: Reply | Exception
    requests: list[Request] = field(default_factory=list[Request])

    async def submit(self, request: Request) -> Reply:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def stream(self, request: Request) -> AbstractAsyncContextManager[ReplyStream]:
        raise AssertionError("the command line reads whole replies")

    @property
    def sessions(self) -> Sessions:
        raise AssertionError("the command line begins none")

    def health(self) -> Health:
        raise AssertionError("the command line asks the application")

    async def drain(self, timeout_s: float) -> None:
        raise AssertionError("closing drains")


class FakeApplication:
    """Opens what it was given; `load` gives itself, and keeps the settings that it was given as arguments."""

    def __init__(
        self,
        *,
        batch: FakeBatch | None = None,
        service: FakeService | None = None,
        kept: BatchSummary | None = None,
        diagnosis: Diagnosis | None = None,
        gateway: GatewayOptions | None = None,
        notice: str | None = None,
    ) -> None:
        self._batch = batch
        self._service = service
        self._kept = kept
        self._diagnosis = diagnosis
        self._gateway = gateway or GatewayOptions()
        self._notice = notice
        self.arguments: list[Mapping[str, Any]] = []
        self.folders: list[Path] = []
        self.open = 0
        self.reachable: Callable[[], Awaitable[None]] | None = None

    def load(self, arguments: Mapping[str, Any]) -> FakeApplication:
        self.arguments.append(arguments)
        return self

    @asynccontextmanager
    async def open_service(
        self, *, notify: Callable[[str], None], reachable: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[FakeService]:
        assert self._service is not None
        if self._notice is not None:
            notify(self._notice)
        self.reachable = reachable
        self.open += 1
        yield self._service
        self.open -= 1

    def gateway_options(self) -> GatewayOptions:
        return self._gateway

    @asynccontextmanager
    async def open_batch(self, folder: Path, *, notify: Callable[[str], None]) -> AsyncGenerator[FakeBatch]:
        assert self._batch is not None
        self.folders.append(folder)
        if self._notice is not None:
            notify(self._notice)
        yield self._batch

    async def batch_summary(self, folder: Path) -> BatchSummary:
        self.folders.append(folder)
        assert self._kept is not None
        return self._kept

    async def diagnose(self) -> Diagnosis:
        assert self._diagnosis is not None
        return self._diagnosis


_: tuple[type[Application], type[Batch], type[Service]] = (FakeApplication, FakeBatch, FakeService)
