"""The real program, from arguments to exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import call, failures, results, start, status, write_questions

pytestmark = pytest.mark.slow

RUN = ("run", "in.jsonl", "--out", "out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of a user whose backend answers at once."""
    (tmp_path / "holdfast.toml").write_text('[backends.echo]\nkind = "scripted"\nreply = "Because."\n')
    return tmp_path


def refused(outcome: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a refusal consists of."""
    assert outcome.returncode == 2, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("holdfast: ")
    assert outcome.stderr.count("\n") == 1
    return outcome.stderr


def test_run_answers_every_item_and_ends_with_its_table(folder: Path) -> None:
    write_questions(folder, ["Why?", "How?", "Why?"])

    outcome = call(folder, *RUN)

    assert outcome.returncode == 0, outcome
    assert outcome.stdout.startswith("Complete: every item has a result.\n")
    assert outcome.stdout.endswith("out/results.jsonl\n")
    assert [(row["id"], row["text"]) for row in results(folder)] == [(f"q{n}", "Because.") for n in (1, 2, 3)]
    assert failures(folder) == []


def test_run_again_says_that_it_is_complete_and_calls_nothing(folder: Path) -> None:
    write_questions(folder, ["Why?", "How?"])
    call(folder, *RUN)
    written = (folder / "out" / "results.jsonl").read_bytes()

    outcome = call(folder, *RUN)
    document = json.loads(call(folder, *RUN, "--json").stdout)

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("Already complete: nothing was called.")
    assert (document["status"], document["settled"], document["backend_calls"]) == ("already_complete", 0, 2)
    assert (folder / "out" / "results.jsonl").read_bytes() == written


def test_twenty_identical_prompts_call_the_backend_once(folder: Path) -> None:
    write_questions(folder, ["Why?"] * 20)

    outcome = call(folder, *RUN, "--json", "--set", "backends.echo.delay_s=0.3", "--set", "batch.concurrency=20")

    document = json.loads(outcome.stdout)
    assert outcome.stderr == ""
    assert (document["answered"], document["backend_calls"], document["duplicates_saved"]) == (20, 1, 19)


def test_malformed_lines_are_dead_lettered_with_their_number_and_the_others_run(folder: Path) -> None:
    (folder / "in.jsonl").write_bytes(
        b"\n".join(
            [
                b'{"question": "Why?"}',
                b"",
                b"not json",
                b'{"question": "\xff"}',
                b'{"question": "\0"}',
                b'\xef\xbb\xbf{"question": "Why?"}',
                b'{"question": "Why?"}\r',
                b'{"question": "%s"}' % (b"y" * 300),
                b'{"quesiton": "Why?"}',
                b'{"question": "How?"}',
            ]
        )
    )

    outcome = call(folder, *RUN, "--set", "batch.max_line_bytes=200")

    assert outcome.returncode == 1
    assert [row["line"] for row in results(folder)] == [1, 10]
    assert [(row["line"], row["kind"]) for row in failures(folder)] == [
        (2, "blank_line"),
        (3, "not_json"),
        (4, "not_utf8"),
        (5, "nul"),
        (6, "byte_order_mark"),
        (7, "carriage_return"),
        (8, "too_large"),
        (9, "invalid"),
    ]


INPUTS = {
    "missing": ("absent.jsonl", "No such file"),
    "directory": (".", "directory"),
    "fifo": ("fifo", "not a regular file"),
    "device": ("/dev/zero", "not a regular file"),
    "unreadable": ("/proc/self/mem", "cannot be read"),
    "below_a_file": ("holdfast.toml/in.jsonl", "cannot be read"),
}


@pytest.mark.parametrize(("name", "reason"), INPUTS.values(), ids=INPUTS)
def test_input_that_cannot_be_used_is_refused_in_one_line(folder: Path, name: str, reason: str) -> None:
    os.mkfifo(folder / "fifo")

    assert reason in refused(call(folder, "run", name, "--out", "out"))
    assert status(folder) == {}


LINES = {
    "hostile": ('{"id": "../x", "question": "Why?"}', "no slash"),
    "long": (json.dumps({"id": "x" * 1_000_000, "question": "Why?"}), "200 characters"),
    "control": ('{"id": "a\\u001bb", "question": "Why?"}', "printable"),
    "duplicate": ('{"id": "q1", "question": "Why?"}', "line 1 already"),
}


@pytest.mark.parametrize(("line", "reason"), LINES.values(), ids=LINES)
def test_id_that_cannot_be_used_is_refused_with_its_line_before_any_call(folder: Path, line: str, reason: str) -> None:
    (folder / "in.jsonl").write_text('{"id": "q1", "question": "Why?"}\n' + line + "\n")

    told = refused(call(folder, *RUN))

    assert "in.jsonl:2: " in told
    assert reason in told
    assert len(told) < 300
    assert status(folder) == {}


def test_changed_input_is_refused_with_both_fingerprints(folder: Path) -> None:
    write_questions(folder, ["Why?"])
    call(folder, *RUN)
    before = status(folder)["fingerprints"]["input_sha256"]
    write_questions(folder, ["How?"])

    told = refused(call(folder, *RUN))

    assert "the input changed" in told
    assert before in told
    assert status(folder)["fingerprints"]["input_sha256"] == before


def test_changed_configuration_is_refused_and_a_faster_one_is_not(folder: Path) -> None:
    write_questions(folder, ["Why?"])
    call(folder, *RUN)

    assert "the configuration changed" in refused(call(folder, *RUN, "--set", "backends.echo.reply=Else."))
    assert call(folder, *RUN, "--set", "batch.concurrency=2").returncode == 0


OUTPUTS = {
    "read_only": ("/proc/holdfast", "cannot be written"),
    "a_file": ("holdfast.toml", "cannot be written"),
    "below_a_file": ("holdfast.toml/out", "cannot be written"),
    "the_input": ("in.jsonl", "would overwrite the input"),
}


@pytest.mark.parametrize(("out", "reason"), OUTPUTS.values(), ids=OUTPUTS)
def test_output_that_cannot_be_used_is_refused_before_any_call(folder: Path, out: str, reason: str) -> None:
    write_questions(folder, ["Why?"])

    assert reason in refused(call(folder, "run", "in.jsonl", "--out", out))


def test_output_whose_file_is_the_input_is_refused(folder: Path) -> None:
    write_questions(folder, ["Why?"])
    (folder / "in.jsonl").rename(folder / "results.jsonl")

    assert "would overwrite the input" in refused(call(folder, "run", "results.jsonl", "--out", "."))
    assert "Why?" in (folder / "results.jsonl").read_text()


SETTINGS = {
    "unknown": ("guard.breakr.open_s=5", ("guard.breakr", "guard.breaker")),
    "unknown_leaf": ("guard.breaker.opens=5", ("guard.breaker.opens", "guard.breaker.open_s")),
    "wrong_type": ("timeout_s=soon", ("timeout_s",)),
    "nan": ("timeout_s=NaN", ("timeout_s",)),
    "infinite": ("guard.retry.max_delay_s=Infinity", ("guard.retry.max_delay_s",)),
    "negative": ("timeout_s=-1", ("timeout_s",)),
    "zero": ("guard.attempt_timeout_s=0", ("guard.attempt_timeout_s",)),
    "min_over_max": ("guard.pool.min_size=99", ("guard.pool.min_size",)),
    "no_value": ("timeout_s", ("PATH=VALUE",)),
}


@pytest.mark.parametrize(("option", "named"), SETTINGS.values(), ids=SETTINGS)
def test_setting_that_is_wrong_is_refused_by_path_before_anything_is_opened(
    folder: Path, option: str, named: tuple[str, ...]
) -> None:
    write_questions(folder, ["Why?"])

    told = refused(call(folder, *RUN, "--set", option))

    assert all(name in told for name in named), told
    assert not (folder / "out").exists()


def test_settings_file_that_is_wrong_is_refused_by_every_command(folder: Path) -> None:
    (folder / "holdfast.toml").write_text("timeout = 5\n")

    for arguments in (RUN, ("ask", "Why?"), ("status", "out"), ("doctor",)):
        assert "timeout_s" in refused(call(folder, *arguments))


def test_setting_from_the_environment_that_is_wrong_is_refused(folder: Path) -> None:
    assert "HOLDFAST_TIMEOUT" in refused(call(folder, "doctor", env={"HOLDFAST_TIMEOUT": "5"}))


def test_documents_that_are_missing_are_refused_in_one_line(folder: Path) -> None:
    assert "absent" in refused(call(folder, "ask", "Why?", "--set", "retrieval.folder=absent"))


def test_failed_items_are_retried_on_demand_and_no_others(folder: Path) -> None:
    write_questions(folder, ["Why?", "How?", "Who?"])
    slow = ("--set", "backends.echo.delay_s=0.3", "--set", "guard.retry.max_attempts=1")
    first = call(folder, *RUN, *slow, "--set", "guard.attempt_timeout_s=0.01")
    failed = [row["kind"] for row in failures(folder)]

    again = call(folder, *RUN, *slow)
    retried = call(folder, *RUN, *slow, "--retry-failed", "--json")

    assert (first.returncode, failed) == (1, ["timeout"] * 3)
    assert again.returncode == 1
    assert "nothing was called. --retry-failed runs the 3 that failed." in again.stdout
    assert retried.returncode == 0
    assert json.loads(retried.stdout)["settled"] == 3
    assert [row["id"] for row in results(folder)] == ["q1", "q2", "q3"]
    assert failures(folder) == []


def test_rollback_undoes_the_newest_run_and_keeps_a_backup(folder: Path) -> None:
    write_questions(folder, ["Why?", "How?"])
    call(folder, *RUN)

    undone = call(folder, *RUN, "--rollback")
    after = status(folder)
    nothing = call(folder, *RUN, "--rollback")

    assert undone.returncode == 0
    assert undone.stdout.startswith("Run 1 is undone: 2 results taken away.")
    assert (folder / undone.stdout.split(": ")[-1].strip()).is_file()
    assert (after["pending"], after["complete"]) == (2, False)
    assert nothing.stdout == "Nothing to undo: out holds no run.\n"
    assert call(folder, *RUN).returncode == 0
    assert len(results(folder)) == 2


def test_quiet_run_says_nothing_and_its_code_tells(folder: Path) -> None:
    (folder / "in.jsonl").write_text("not json\n")

    outcome = call(folder, *RUN, "--quiet")

    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (1, "", "")


def test_ask_answers_from_documents_and_cites_them(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text("# Tea\n\n## Steeping\n\nGreen tea is steeped for three minutes.\n")

    outcome = call(tmp_path, "ask", "How long is green tea steeped?", "--set", "retrieval.folder=docs")

    assert outcome.returncode == 0, outcome
    assert "three minutes" in outcome.stdout
    assert "Sources:\n  [tea.md § " in outcome.stdout
    assert outcome.stderr == ""


def test_ask_as_json_is_one_object(folder: Path) -> None:
    document = json.loads(call(folder, "ask", "Why?", "--json").stdout)

    assert (document["text"], document["backend"], document["disposition"]) == ("Because.", "echo", "called")


def test_ask_that_takes_too_long_ends_with_one(folder: Path) -> None:
    outcome = call(folder, "ask", "Why?", "--set", "backends.echo.delay_s=60", "--set", "timeout_s=0.05")

    assert outcome.returncode == 1
    assert outcome.stderr.startswith("holdfast: the deadline")
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["absent", "holdfast.toml", "empty"])
def test_status_of_what_holds_no_run_is_one_line_and_makes_nothing(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()

    refused(call(folder, "status", name))

    assert not (folder / "absent").exists()
    assert list((folder / "empty").iterdir()) == []


def test_status_of_a_broken_journal_is_one_line(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "journal.sqlite").write_bytes(b"not a database" * 1000)

    assert "journal" in refused(call(folder, "status", "out"))


def test_doctor_tells_where_a_setting_comes_from(folder: Path) -> None:
    outcome = call(folder, "doctor", "--json", "--set", "max_in_flight=7", env={"HOLDFAST_GUARD__BREAKER__OPEN_S": "9"})

    settings = json.loads(outcome.stdout)["settings"]
    assert outcome.returncode == 0
    assert settings["max_in_flight"] == {"value": "7", "source": "arguments"}
    assert settings["guard.breaker.open_s"] == {"value": "9.0", "source": "environment"}
    assert settings["backends.echo.reply"] == {"value": "Because.", "source": "holdfast.toml"}
    assert settings["timeout_s"] == {"value": "60.0", "source": "default"}


def test_doctor_says_what_cannot_be_reached(folder: Path) -> None:
    outcome = call(folder, "doctor", "--set", "retrieval.folder=absent")

    assert outcome.returncode == 1
    assert "FAILED  retriever" in outcome.stdout
    assert outcome.stderr == ""


@pytest.mark.parametrize("arguments", [("doctor",), ("ask", "Why?"), RUN, (*RUN, "--json")], ids=lambda it: it[0])
def test_reader_that_has_gone_changes_nothing(folder: Path, arguments: tuple[str, ...]) -> None:
    write_questions(folder, ["Why?"])
    with start(folder, *arguments) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, told = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Error" not in told


def test_output_on_a_full_disk_is_one_line_and_the_results_are_there(folder: Path) -> None:
    write_questions(folder, ["Why?"])
    with open("/dev/full", "w") as full:  # noqa: PTH123 - as a shell opens it
        process = start(folder, *RUN, "--json", stdout=full)
        _, told = process.communicate(timeout=60)

    assert process.returncode == 3
    assert told == "holdfast: standard output cannot be written (No space left on device)\n"
    assert len(results(folder)) == 1


def test_closed_output_changes_nothing(folder: Path) -> None:
    outcome = subprocess.run(
        ["sh", "-c", 'exec "$0" -m holdfast doctor >&- 2>&-', sys.executable], cwd=folder, timeout=60, check=False
    )

    assert outcome.returncode == 0


@pytest.mark.parametrize("columns", [40, 80])
def test_run_on_a_terminal_draws_a_bar_that_fits(folder: Path, columns: int) -> None:
    write_questions(folder, [f"Why {number}?" for number in range(24)])
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stderr:
        environment = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(columns)}
        process = start(folder, *RUN, "--set", "backends.echo.delay_s=0.3", stderr=stderr, env=environment)
    drawn = b""
    try:
        while chunk := os.read(controller, 65536):
            drawn += chunk
    except OSError:  # what Linux answers when the last writer has gone
        pass
    os.close(controller)
    table, _ = process.communicate(timeout=60)

    text = drawn.decode()
    assert process.returncode == 0
    assert "running " in text
    assert "/24" in text
    assert "ETA" in text
    assert "\x1b[3" not in text
    assert "\x1b" not in table
    assert max(map(len, table.splitlines()[1:])) <= columns


_LOADED = """
import sys
sys.argv[1:] = {arguments!r}
from holdfast.__main__ import main
try:
    main()
except SystemExit:
    print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_that_takes_long(folder: Path, arguments: list[str]) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", _LOADED.format(arguments=arguments)],
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    loaded = set(outcome.stdout.splitlines()[-1].split())
    assert "holdfast.adapters.cli.app" in loaded
    assert loaded & {"rich", "pydantic", "pydantic_settings", "dependency_injector", "sqlite3"} == set()
    assert {name for name in loaded if name.startswith(("holdfast.application", "holdfast.adapters."))} <= {
        "holdfast.adapters.cli",
        "holdfast.adapters.cli.app",
        "holdfast.adapters.cli.backend_options",
        "holdfast.adapters.cli.error_exit",
        "holdfast.adapters.cli.exit_codes",
        "holdfast.adapters.cli.identity_app",
        "holdfast.adapters.cli.serve_app",
        "holdfast.adapters.cli.settings_option",
        "holdfast.adapters.cli.streams",
    }


def test_help_says_what_each_command_does_in_whole_sentences(folder: Path) -> None:
    commands = call(folder, "--help").stdout.partition("Commands:")[2]

    assert "run  " in commands
    assert [line for line in commands.splitlines() if line.strip() and not line.endswith(".")] == []
    assert "..." not in commands


def test_identity_is_made_shown_and_trusted_by_the_program(tmp_path: Path) -> None:
    made = call(tmp_path, "identity", "new", "id.pem")
    shown = call(tmp_path, "identity", "show", "id.pem")
    trusted = call(tmp_path, "identity", "trust", "trust.json", made.stdout.strip(), "--role", "asks")

    assert (made.returncode, made.stderr) == (0, "")
    assert shown.stdout == made.stdout
    assert trusted.stdout == f"{made.stdout.strip()}  trusted  as asks\n"
    assert (tmp_path / "id.pem").stat().st_mode & 0o777 == 0o600


def test_identity_needs_no_settings_and_so_works_beside_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("no = TOML = at all")

    assert call(tmp_path, "identity", "new", "id.pem").returncode == 0


def test_identity_with_a_key_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    assert refused(call(tmp_path, "identity", "show", "id.pem")) == "holdfast: id.pem: No such file or directory\n"


_WITHOUT_CRYPTOGRAPHY = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from holdfast.__main__ import main
main()
"""


def test_identity_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", _WITHOUT_CRYPTOGRAPHY, "identity", "new", "id.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert outcome.returncode == 1
    assert outcome.stderr == (
        "holdfast: holdfast.adapters.identity needs cryptography: pip install 'holdfast[identity]'\n"
    )
