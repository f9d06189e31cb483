"""What ``--json`` prints.

Responsibility: the names and shapes of the JSON objects; scripts rely on them.
Guarantees: every number that the tables show, with its unit in the name; a figure that is not known is null.
Not responsible for: writing them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from holdfast.ports.application import Diagnosis
from holdfast.ports.batch import BatchReport
from holdfast.ports.journal import BatchSummary, RolledBack

__all__ = ["Document", "diagnosis_document", "report_document", "rollback_document", "summary_document"]

Document = dict[str, object]


def summary_document(summary: BatchSummary, folder: Path) -> Document:
    """Return a batch in numbers."""
    return {
        **dataclasses.asdict(summary),
        "complete": summary.fingerprints is not None and summary.pending == 0,
        "failures": dict(summary.failures),
        "folder": str(folder),
    }


def report_document(report: BatchReport, folder: Path, peak_memory_bytes: int | None) -> Document:
    """Return how a batch was left, and the whole batch in numbers."""
    return {
        "status": report.status,
        "settled": report.settled,
        "elapsed_s": report.elapsed_s,
        "settled_per_s": report.settled / report.elapsed_s if report.elapsed_s else None,
        "peak_memory_bytes": peak_memory_bytes,
        **summary_document(report.summary, folder),
    }


def rollback_document(undone: RolledBack | None, folder: Path) -> Document:
    """Return what was undone; null for each when there was nothing to undo."""
    return {
        "run": undone.run if undone is not None else None,
        "results": undone.results if undone is not None else None,
        "backup": undone.backup if undone is not None else None,
        "folder": str(folder),
    }


def diagnosis_document(diagnosis: Diagnosis) -> Document:
    """Return the settings in force by their path, the checks, and free memory."""
    return {
        "settings": {
            setting.path: {"value": setting.value, "source": setting.source} for setting in diagnosis.settings
        },
        "checks": [dataclasses.asdict(check) for check in diagnosis.checks],
        "available_memory_bytes": diagnosis.available_memory_bytes,
    }
