"""The commands, in front of an application that does as it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint
from typer.testing import CliRunner, Result

from holdfast.adapters.cli import build_app
from holdfast.ports.application import Check, Diagnosis, SettingInForce
from holdfast.ports.batch import BatchProgress, BatchReport, BatchStatus, StopSignal
from holdfast.ports.errors import (
    BackendUnavailableError,
    BatchInputError,
    ConfigurationError,
    JournalWriteError,
    RequestError,
)
from holdfast.ports.inference import Citation
from holdfast.ports.journal import BatchSummary, RolledBack
from tests.fakes.application import (
    PROGRESS,
    REPLY,
    REPORT,
    SPOTLESS,
    SUMMARY,
    UNFINISHED,
    FakeApplication,
    FakeBatch,
    FakeService,
)

RUN = ("run", "in.jsonl", "--out", "out")
STOPPED = replace(REPORT, status=BatchStatus.STOPPED, settled=6, summary=UNFINISHED)
ALREADY = replace(REPORT, status=BatchStatus.ALREADY_COMPLETE, settled=0, elapsed_s=0.01)


@pytest.fixture(autouse=True)
def wide_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be no terminal, whatever the tests run in."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def call(application: FakeApplication, *arguments: str) -> Result:
    return CliRunner().invoke(build_app(application.load), arguments)


def ending_with(outcome: BatchReport | Exception) -> FakeBatch:
    async def script(_stop: StopSignal, on_progress: Callable[[BatchProgress], None]) -> BatchReport:
        on_progress(PROGRESS)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return FakeBatch(script)


def run(outcome: BatchReport | Exception, *options: str) -> Result:
    return call(FakeApplication(batch=ending_with(outcome)), *RUN, *options)


def rows(table: str) -> dict[str, str]:
    """Return the rows of a table by their label; a value of more lines as one."""
    found: dict[str, str] = {}
    label = ""
    for line in table.splitlines():
        if line.startswith("  ") and line[2:3].strip():
            label, _, value = line.strip().partition("  ")
            found[label] = value.strip()
        elif line.startswith("  ") and line.strip():
            found[label] += f" {line.strip()}"
    return found


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (replace(REPORT, summary=SPOTLESS), 0),
        (REPORT, 1),
        (replace(REPORT, summary=replace(SUMMARY, failed=0)), 1),
        (ALREADY, 1),
        (replace(ALREADY, summary=SPOTLESS), 0),
        (STOPPED, 3),
        (replace(STOPPED, summary=BatchSummary()), 3),
    ],
)
@pytest.mark.parametrize("option", [(), ("--quiet",), ("--json",)])
def test_run_ends_with_the_code_of_its_report(report: BatchReport, code: int, option: tuple[str, ...]) -> None:
    assert run(report, *option).exit_code == code


def test_run_ends_with_a_table_of_everything_that_happened() -> None:
    shown = rows(run(REPORT).stdout)

    assert float(shown.pop("peak memory").removesuffix(" MiB")) > 1
    assert shown == {
        "items": "10",
        "answered": "8",
        "failed": "1",
        "rejected lines": "1",
        "reasons": "not_json: 1 timeout: 1",
        "duplicates saved": "2 (25.0 %)",
        "backend calls": "7",
        "P50": "12.5 ms",
        "P99": "1.50 s",
        "elapsed": "4.00 s",
        "rate": "2.5/s",
    }


def test_run_names_its_files_whole() -> None:
    shown = call(FakeApplication(batch=ending_with(REPORT)), "run", "in.jsonl", "--out", "o" * 200).stdout

    assert shown.splitlines()[-2:] == [f"{'o' * 200}/results.jsonl", f"{'o' * 200}/failures.jsonl"]


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (replace(REPORT, summary=SPOTLESS), "Complete: every item has a result."),
        (REPORT, "Complete: every item has a result. --retry-failed runs the 1 that failed."),
        (replace(ALREADY, summary=SPOTLESS), "Already complete: nothing was called."),
        (ALREADY, "Already complete: nothing was called. --retry-failed runs the 1 that failed."),
        (STOPPED, "Stopped: 4 items are left. Run it again to go on."),
        (
            replace(STOPPED, summary=BatchSummary()),
            "Stopped while reading the input: nothing was called. Run it again to start.",
        ),
    ],
)
def test_run_says_how_it_was_left(report: BatchReport, sentence: str) -> None:
    assert run(report).stdout.splitlines()[0] == sentence


def test_run_that_was_stopped_shows_what_is_left_and_names_no_files() -> None:
    shown = run(STOPPED).stdout

    assert rows(shown)["left to do"] == "4"
    assert "results.jsonl" not in shown


def test_run_that_called_nothing_has_no_rate() -> None:
    assert rows(run(ALREADY).stdout)["rate"] == "–"


@pytest.mark.parametrize("columns", ["40", "80"])
def test_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    shown = run(REPORT).stdout.splitlines()

    assert max(map(len, shown[1:])) <= int(columns)
    assert not any("…" in line for line in shown)


def test_run_without_a_terminal_writes_plain_lines_on_stderr() -> None:
    result = run(REPORT)

    assert result.stderr == "running  100/200  –  ETA –  40 shared  6 failed\n"
    assert "\x1b" not in result.stdout


def test_run_on_a_terminal_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")

    assert "\x1b[" in run(REPORT).stderr


def test_run_on_a_terminal_that_can_draw_nothing_writes_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "dumb")

    assert run(REPORT).stderr == "running  100/200  –  ETA –  40 shared  6 failed\n"


def test_table_has_colours_on_a_terminal_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = run(REPORT).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = run(REPORT).stdout

    assert "\x1b[1m" in coloured
    assert "\x1b[3" not in plain
    assert "\x1b[9" not in plain


def test_quiet_run_says_nothing() -> None:
    result = run(REPORT, "--quiet")

    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.parametrize("options", [("--json",), ("--json", "--quiet")])
def test_json_run_writes_one_object_and_nothing_else(options: tuple[str, ...]) -> None:
    result = run(REPORT, *options)
    document = json.loads(result.stdout)

    assert result.stderr == ""
    assert document.pop("peak_memory_bytes") > 1024**2
    assert document == {
        "status": "complete",
        "settled": 10,
        "elapsed_s": 4.0,
        "settled_per_s": 2.5,
        "folder": "out",
        "complete": True,
        "fingerprints": {"input_sha256": "1" * 64, "configuration_sha256": "2" * 64},
        "run": 1,
        "items": 10,
        "pending": 0,
        "answered": 8,
        "failed": 1,
        "rejected": 1,
        "duplicates_saved": 2,
        "backend_calls": 7,
        "p50_s": 0.0125,
        "p99_s": 1.5,
        "failures": {"not_json": 1, "timeout": 1},
    }


def test_json_run_that_was_stopped_before_its_input_was_read_is_not_complete() -> None:
    document = json.loads(run(replace(STOPPED, elapsed_s=0.0, summary=BatchSummary()), "--json").stdout)

    assert (document["status"], document["complete"], document["settled_per_s"]) == ("stopped", False, None)


@pytest.mark.parametrize("option", [(), ("--quiet",), ("--json",)])
@pytest.mark.parametrize(
    ("error", "code"),
    [(BatchInputError("missing", path="in.jsonl"), 2), (JournalWriteError("disk full", path="out"), 3)],
)
def test_run_that_fails_is_one_line_whatever_the_view(error: Exception, code: int, option: tuple[str, ...]) -> None:
    result = run(error, *option)

    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == f"holdfast: {error}"
    assert result.stdout == ""


def test_run_hands_input_folder_and_options_on() -> None:
    batch = ending_with(REPORT)
    application = FakeApplication(batch=batch)

    call(application, *RUN)
    call(application, *RUN, "--retry-failed", "--set", "batch.concurrency=2")

    assert batch.asked == [(Path("in.jsonl"), False), (Path("in.jsonl"), True)]
    assert application.folders == [Path("out"), Path("out")]
    assert application.arguments == [{}, {"batch": {"concurrency": 2}}]


def test_run_tells_of_a_disk_that_is_being_mended() -> None:
    application = FakeApplication(batch=ending_with(REPORT), notice="out: writing\nagain")

    assert "holdfast: out: writing again\n" in call(application, *RUN, "--quiet").stderr


def _raise(*numbers: signal.Signals) -> FakeBatch:
    """Return a batch that gets signals while it runs."""

    async def script(stop: StopSignal, _on_progress: Callable[[BatchProgress], None]) -> BatchReport:
        for number in numbers:
            os.kill(os.getpid(), number)
            await stop.wait()
            await checkpoint()
        return STOPPED

    return FakeBatch(script)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_for_a_graceful_stop(number: signal.Signals) -> None:
    result = call(FakeApplication(batch=_raise(number)), *RUN)

    assert result.exit_code == 3
    assert result.stderr == "stopping when calls in flight have ended; once more ends at once\n"
    assert result.stdout.startswith("Stopped: 4 items are left.")


def test_second_signal_ends_the_process_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    call(FakeApplication(batch=_raise(signal.SIGTERM, signal.SIGINT)), *RUN)

    assert ended
    assert set(ended) == {3}


def test_second_signal_gives_the_terminal_its_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", lambda _code: None)
    controller, terminal = os.openpty()

    async def script(stop: StopSignal, _on_progress: Callable[[BatchProgress], None]) -> BatchReport:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        with os.fdopen(terminal, "w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            os.kill(os.getpid(), signal.SIGTERM)
            await checkpoint()
            monkeypatch.undo()
            assert os.read(controller, 100).startswith(b"\x1b[?25h")
        return STOPPED

    assert call(FakeApplication(batch=FakeBatch(script)), *RUN, "--quiet").exit_code == 3
    os.close(controller)


def test_signals_are_the_systems_own_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    call(FakeApplication(batch=_raise(signal.SIGTERM)), *RUN)

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


UNDONE = RolledBack(run=2, results=1200, backup="out/journal.backup-2.sqlite")


def test_rollback_says_what_was_undone_and_where_the_backup_is() -> None:
    batch = replace(ending_with(REPORT), undone=UNDONE)

    result = call(FakeApplication(batch=batch), *RUN, "--rollback")

    assert result.exit_code == 0
    assert result.stdout == (
        "Run 2 is undone: 1,200 results taken away. The journal as it was: out/journal.backup-2.sqlite\n"
    )
    assert (batch.rollbacks, batch.asked) == (1, [])


def test_rollback_of_nothing_says_so() -> None:
    result = call(FakeApplication(batch=ending_with(REPORT)), *RUN, "--rollback")

    assert (result.exit_code, result.stdout) == (0, "Nothing to undo: out holds no run.\n")


@pytest.mark.parametrize(
    ("undone", "document"),
    [
        (UNDONE, {"run": 2, "results": 1200, "backup": "out/journal.backup-2.sqlite", "folder": "out"}),
        (None, {"run": None, "results": None, "backup": None, "folder": "out"}),
    ],
)
def test_rollback_as_json(undone: RolledBack | None, document: dict[str, object]) -> None:
    batch = replace(ending_with(REPORT), undone=undone)

    assert json.loads(call(FakeApplication(batch=batch), *RUN, "--rollback", "--json").stdout) == document


def test_quiet_rollback_says_nothing() -> None:
    batch = replace(ending_with(REPORT), undone=UNDONE)

    assert call(FakeApplication(batch=batch), *RUN, "--rollback", "--quiet").output == ""


def test_rollback_and_retry_exclude_each_other() -> None:
    batch = ending_with(REPORT)

    result = call(FakeApplication(batch=batch), *RUN, "--rollback", "--retry-failed")

    assert result.exit_code == 2
    assert "exclude each other" in result.stderr
    assert (batch.rollbacks, batch.asked) == (0, [])


CITED = replace(
    REPLY, text="Because.\x1b[2J", citations=(Citation(source="a.md", heading="Why"), Citation(source="b", heading="c"))
)


def test_ask_prints_the_answer_and_its_sources() -> None:
    service = FakeService(CITED)
    application = FakeApplication(service=service)

    result = call(application, "ask", "Why?", "--set", "timeout_s=2")

    assert result.exit_code == 0
    assert result.stdout == "Because.\ufffd[2J\n\nSources:\n  [a.md § Why]\n  [b § c]\n"
    assert [request.messages[0].content for request in service.requests] == ["Why?"]
    assert application.arguments == [{"timeout_s": 2}]
    assert application.reachable is None
    assert application.open == 0


def test_ask_tells_beside_its_answer_what_could_not_be_asked() -> None:
    result = call(FakeApplication(service=FakeService(REPLY), notice="the registry\ncannot be asked"), "ask", "Why?")

    assert (result.stdout, result.stderr) == ("Because.\n", "holdfast: the registry cannot be asked\n")


def test_ask_without_sources_prints_the_answer_alone() -> None:
    assert call(FakeApplication(service=FakeService(REPLY)), "ask", "Why?").stdout == "Because.\n"


def test_ask_as_json_prints_what_happened_to_the_request() -> None:
    document = json.loads(call(FakeApplication(service=FakeService(CITED)), "ask", "Why?", "--json").stdout)

    assert document["text"] == CITED.text
    assert document["disposition"] == "called"
    assert document["citations"] == [{"source": "a.md", "heading": "Why"}, {"source": "b", "heading": "c"}]


def test_ask_persona_is_asked_by_its_name_and_nobody_without_one() -> None:
    service = FakeService(REPLY)

    call(FakeApplication(service=service), "ask", "Why?", "--persona", "memory")
    call(FakeApplication(service=service), "ask", "Why?")

    assert [request.persona for request in service.requests] == ["memory", None]


def test_ask_unknown_persona_is_bad_input_in_one_line() -> None:
    error = RequestError("persona: there is no 'nobody'; known: memory, sql")

    result = call(FakeApplication(service=FakeService(error)), "ask", "Why?", "--persona", "nobody")

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"holdfast: {error}\n")


def test_ask_answer_with_marks_says_what_it_did_not_pass() -> None:
    marked = replace(REPLY, marks=("cited", "short"))

    result = call(FakeApplication(service=FakeService(marked)), "ask", "Why?")

    assert result.stdout == "Because.\n\nDid not pass: cited, short\n"


def test_ask_that_nobody_answers_is_one_line() -> None:
    error = BackendUnavailableError("down", backend="a")

    result = call(FakeApplication(service=FakeService(error)), "ask", "Why?")

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"holdfast: {error}\n")


@pytest.mark.parametrize(("kept", "sentence"), [(SUMMARY, "Complete."), (UNFINISHED, "Unfinished: 4 items are left.")])
def test_status_shows_how_far_it_has_come(kept: BatchSummary, sentence: str) -> None:
    application = FakeApplication(kept=kept)

    result = call(application, "status", "out")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == sentence
    assert rows(result.stdout)["answered"] == str(kept.answered)
    assert application.folders == [Path("out")]


def test_status_as_json() -> None:
    document = json.loads(call(FakeApplication(kept=UNFINISHED), "status", "out", "--json").stdout)

    assert (document["pending"], document["complete"], document["folder"]) == (4, False, "out")


def test_status_of_a_folder_without_a_run_is_one_line() -> None:
    result = call(FakeApplication(kept=BatchSummary()), "status", "out")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "holdfast: out: holds no run whose input has been read; give the --out folder of one\n"


HEALTHY = Diagnosis(
    settings=(SettingInForce(path="timeout_s", value="60.0", source="default"),),
    checks=(Check(name="backend a", passed=True, detail="ready"),),
    available_memory_bytes=3 * 1024**3,
)
SICK = replace(HEALTHY, checks=(*HEALTHY.checks, Check(name="retriever", passed=False, detail="gone\nfar")))


@pytest.mark.parametrize(("diagnosis", "code"), [(HEALTHY, 0), (SICK, 1)])
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_doctor_ends_with_whether_every_check_passed(diagnosis: Diagnosis, code: int, option: tuple[str, ...]) -> None:
    assert call(FakeApplication(diagnosis=diagnosis), "doctor", *option).exit_code == code


def test_doctor_shows_settings_checks_and_free_memory() -> None:
    assert call(FakeApplication(diagnosis=SICK), "doctor").stdout.splitlines() == [
        "Settings",
        "  timeout_s = 60.0  (default)",
        "Checks",
        "  passed  backend a: ready",
        "  FAILED  retriever: gone far",
        "Free memory: 3,072.0 MiB",
    ]


def test_doctor_as_json() -> None:
    assert json.loads(call(FakeApplication(diagnosis=HEALTHY), "doctor", "--json").stdout) == {
        "settings": {"timeout_s": {"value": "60.0", "source": "default"}},
        "checks": [{"name": "backend a", "passed": True, "detail": "ready"}],
        "available_memory_bytes": 3 * 1024**3,
    }


@pytest.mark.parametrize(
    "arguments",
    [RUN, (*RUN, "--rollback"), ("ask", "Why?"), ("status", "out"), ("doctor",)],
    ids=lambda value: value[0],
)
def test_settings_that_are_wrong_are_one_line(arguments: tuple[str, ...]) -> None:
    def refuse(_arguments: object) -> FakeApplication:
        raise ConfigurationError("is not a setting", path="timeout", nearest="timeout_s")

    result = CliRunner().invoke(build_app(refuse), arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "holdfast: timeout: is not a setting; did you mean 'timeout_s'?\n"


@pytest.mark.parametrize("arguments", [("run",), ("run", "in.jsonl"), ("ask",), ("status",), ("dance",), ("run", "-x")])
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...]) -> None:
    assert call(FakeApplication(), *arguments).exit_code == 2


def test_version_is_printed() -> None:
    result = call(FakeApplication(), "--version")

    assert result.exit_code == 0
    assert result.stdout.strip()


def test_help_names_every_command_and_the_exit_codes() -> None:
    assert {"run", "ask", "status", "doctor"} <= set(call(FakeApplication(), "--help").stdout.split())
    assert "3 interrupted" in " ".join(call(FakeApplication(), "run", "--help").stdout.split())
