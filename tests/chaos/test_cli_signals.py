"""The real program under signals: what was saved stays, and running it again finishes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.program import call, results, start, status, write_questions

pytestmark = pytest.mark.slow

ITEMS = 40
RUN = ("run", "in.jsonl", "--out", "out")
PATIENT_GUARD = ("guard.attempt_timeout_s=1000", "guard.breaker.probe_timeout_s=1005")


def _prepare(folder: Path, *, delay_s: float) -> None:
    (folder / "holdfast.toml").write_text(f'[backends.slow]\nkind = "scripted"\ndelay_s = {delay_s}\n')
    write_questions(folder, (f"Why {number}?" for number in range(ITEMS)))


def _wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Read stderr up to the first line that begins so."""
    assert process.stderr is not None
    assert any(line.startswith(beginning) for line in process.stderr)


def _wait_for_results(folder: Path, kind: str) -> int:
    """Return how many results of this kind there are, once there are some."""
    while not (seen := int(status(folder).get(kind, 0))):
        pass
    return seen


def _assert_one_record_each(folder: Path) -> None:
    assert sorted(row["id"] for row in results(folder)) == sorted(f"q{number}" for number in range(1, ITEMS + 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_first_signal_saves_what_is_in_flight_and_the_next_run_finishes(tmp_path: Path, number: signal.Signals) -> None:
    _prepare(tmp_path, delay_s=0.3)
    with start(tmp_path, *RUN, "--set", "batch.concurrency=1") as process:
        _wait_for_results(tmp_path, "answered")
        process.send_signal(number)
        shown, told = process.communicate(timeout=60)
    left = status(tmp_path)

    again = call(tmp_path, *RUN, "--json", "--set", "batch.concurrency=20")

    assert process.returncode == 3
    assert "stopping" in told
    assert shown.startswith(f"Stopped: {left['pending']} items are left.")
    assert left["answered"] + left["pending"] == ITEMS
    assert again.returncode == 0
    assert json.loads(again.stdout)["settled"] == left["pending"]
    assert json.loads(again.stdout)["backend_calls"] == ITEMS
    _assert_one_record_each(tmp_path)


def test_second_signal_ends_at_once_and_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    _prepare(tmp_path, delay_s=600.0)
    lines = (tmp_path / "in.jsonl").read_text().splitlines()[1:]
    first = {"id": "q1", "question": "Why?", "timeout_s": 0.1}  # once it has failed, the second one is in flight
    (tmp_path / "in.jsonl").write_text("\n".join([json.dumps(first), *lines]))
    patient = ("timeout_s=1000", "batch.concurrency=2", "batch.stop_grace_s=600", *PATIENT_GUARD)
    with start(tmp_path, *RUN, *(part for option in patient for part in ("--set", option))) as process:
        _wait_for_results(tmp_path, "failed")
        process.send_signal(signal.SIGTERM)
        _wait_for(process, "stopping")
        process.send_signal(signal.SIGTERM)
        shown, told = process.communicate(timeout=60)
    left = status(tmp_path)

    assert process.returncode == 3
    assert (shown, told) == ("", "")
    assert (left["failed"], left["pending"]) == (1, ITEMS - 1)


def test_kill_loses_nothing_that_was_saved_and_the_next_run_finishes(tmp_path: Path) -> None:
    _prepare(tmp_path, delay_s=0.3)
    with start(tmp_path, *RUN, "--set", "batch.concurrency=1") as process:
        seen = _wait_for_results(tmp_path, "answered")
        process.kill()
    left = status(tmp_path)

    again = call(tmp_path, *RUN, "--set", "batch.concurrency=20")

    assert seen <= left["answered"] < ITEMS
    assert again.returncode == 0
    _assert_one_record_each(tmp_path)


def test_status_tells_how_far_a_run_has_come_while_it_goes_on(tmp_path: Path) -> None:
    _prepare(tmp_path, delay_s=600.0)
    with start(tmp_path, *RUN, "--set", "timeout_s=1000") as process:
        _wait_for(process, "running")
        shown = call(tmp_path, "status", "out")
        second = call(tmp_path, *RUN)
        process.kill()

    assert shown.returncode == 0
    assert shown.stdout.startswith(f"Unfinished: {ITEMS} items are left.")
    assert second.returncode == 2
    assert "another process is writing this run" in second.stderr
    assert second.stderr.count("\n") == 1
