"""Bringing an input file and its journal together.

Responsibility: enrol the lines of a new batch; compare a known one with what it was begun with.
Guarantees: nothing is called, and nothing exists for the journal, before the last line has been seen. Memory does not
    grow with the file.
Not responsible for: what happens to the items then: see `holdfast.application.batch_work`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from anyio.to_thread import run_sync

from holdfast.application.batch_config import BatchConfig
from holdfast.application.batch_input import InputScan, open_input
from holdfast.application.batch_tally import BatchTally
from holdfast.ports.batch import StopSignal
from holdfast.ports.errors import BatchChangedError, BatchInputError
from holdfast.ports.journal import BatchJournal, Fingerprints

__all__ = ["compare_fingerprints", "configuration_sha256", "enrol_input"]


def configuration_sha256(configuration: str, config: BatchConfig) -> str:
    """Return the fingerprint of what decides the answers besides the input, in hexadecimal.

    Of the batch's own settings only the longest line counts: how fast a batch runs may change while it is resumed.
    """
    return hashlib.sha256(json.dumps([configuration, config.max_line_bytes]).encode()).hexdigest()


async def enrol_input(
    journal: BatchJournal, path: Path, configuration: str, config: BatchConfig, *, stop: StopSignal, tally: BatchTally
) -> Fingerprints | None:
    """Enrol every line, seal the batch, and return its fingerprints; None when it was stopped before.

    Raises:
        BatchInputError: if an id is hostile or given twice, or the input cannot be read.

    Cancellation: what was enrolled is forgotten.
    """
    with open_input(path) as file:
        scan = InputScan(file, path, config.max_line_bytes)
        while items := await run_sync(scan.next_items):
            duplicate = await journal.enrol(items)
            if duplicate is not None:
                raise BatchInputError(
                    f"the id {duplicate.id!r} is that of line {duplicate.first_line} already; give each line its own",
                    path=str(path),
                    line=duplicate.line,
                )
            tally.count_lines(len(items))
            if stop.is_set():
                return None
    fingerprints = Fingerprints(
        input_sha256=scan.input_sha256(), configuration_sha256=configuration_sha256(configuration, config)
    )
    await journal.seal(fingerprints)
    return fingerprints


async def compare_fingerprints(
    recorded: Fingerprints, path: Path, configuration: str, config: BatchConfig, *, stop: StopSignal
) -> Fingerprints | None:
    """Return the fingerprints of a batch that is taken up again; None when it was stopped before they were known.

    Raises:
        BatchChangedError: if the input or the configuration is another one.
        BatchInputError: if the input cannot be read.
    """
    found = configuration_sha256(configuration, config)
    if found != recorded.configuration_sha256:
        raise BatchChangedError(what="configuration", recorded=recorded.configuration_sha256, found=found)
    with open_input(path) as file:
        scan = InputScan(file, path, config.max_line_bytes)
        while await run_sync(scan.skip_some):
            if stop.is_set():
                return None
    if scan.input_sha256() != recorded.input_sha256:
        raise BatchChangedError(what="input", recorded=recorded.input_sha256, found=scan.input_sha256())
    return recorded
