"""``holdfast run``.

Responsibility: drive a batch, stop it on a signal, show how it goes and how it was left.
Guarantees: the first SIGINT or SIGTERM lets calls in flight be saved and ends with `ExitCode.INTERRUPTED`; the second
    ends at once, and loses nothing that was saved.
Not responsible for: saving and resuming: see `holdfast.ports.batch`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio

from holdfast.adapters.cli.batch_view import BatchView, Follower, JsonView, QuietView
from holdfast.adapters.cli.exit_codes import ExitCode
from holdfast.adapters.cli.stop_signals import stop_signal
from holdfast.adapters.cli.streams import write_notice
from holdfast.ports.application import Application
from holdfast.ports.batch import Batch, BatchReport, BatchStatus
from holdfast.ports.journal import RolledBack

__all__ = ["choose_view", "rollback_batch", "run_batch"]


def choose_view(*, quiet: bool, as_json: bool) -> BatchView:
    """Return the view that was asked for; JSON, which says nothing else either, wins over quiet."""
    if as_json:
        return JsonView()
    if quiet:
        return QuietView()
    from holdfast.adapters.cli.table_view import TableView  # noqa: PLC0415 - loads rich

    return TableView()


def run_batch(
    application: Application, input_path: Path, folder: Path, *, retry_failed: bool, view: BatchView
) -> ExitCode:
    """Run the batch of `input_path` that is kept in `folder`, and show it.

    Raises:
        HoldfastError: as `Batch.run` and `Application.open_batch`; may come in an exception group.
    """

    async def run(follower: Follower) -> BatchReport:
        async with stop_signal(follower.show_stopping) as stop, _open(application, folder) as batch:
            return await batch.run(input_path, retry_failed=retry_failed, stop=stop, on_progress=follower.show_progress)

    with view.follow() as follower:
        report = anyio.run(run, follower)
    view.show_report(report, folder)
    return _exit_code(report)


def _open(application: Application, folder: Path) -> AbstractAsyncContextManager[Batch]:
    return application.open_batch(folder, notify=write_notice)


def _exit_code(report: BatchReport) -> ExitCode:
    if report.status is BatchStatus.STOPPED:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if report.summary.failures else ExitCode.COMPLETE


def rollback_batch(application: Application, folder: Path, *, view: BatchView) -> None:
    """Undo the newest run of the batch kept in `folder`, and show what was undone.

    Raises:
        HoldfastError: as `Batch.rollback` and `Application.open_batch`.
    """

    async def roll_back() -> RolledBack | None:
        async with _open(application, folder) as batch:
            return await batch.rollback()

    view.show_rollback(anyio.run(roll_back), folder)
