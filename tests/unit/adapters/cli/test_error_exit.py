from __future__ import annotations

import pytest

from holdfast.adapters.cli.error_exit import errors_to_exit
from holdfast.ports.errors import (
    BackendUnavailableError,
    BatchChangedError,
    BatchError,
    BatchInputError,
    ConfigurationError,
    DeadlineExceededError,
    HoldfastError,
    JournalLockedError,
    JournalSchemaError,
    JournalWriteError,
    RequestError,
    RetrievalError,
    SessionStoreError,
    StoreRefusedError,
    StoreUnavailableError,
)


def _end_of(error: BaseException) -> object:
    with pytest.raises(SystemExit) as caught, errors_to_exit():
        raise error
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("is not a setting", path="a"), 2),
        (RequestError("empty"), 2),
        (BatchInputError("missing", path="in"), 2),
        (BatchChangedError(what="input", recorded="1", found="2"), 2),
        (JournalLockedError(path="out"), 2),
        (JournalSchemaError(path="out", found=2, supported=1), 2),
        (BatchError("not a journal"), 2),
        (RetrievalError("missing", path="docs"), 2),
        (SessionStoreError("is not a database", path="sessions.sqlite"), 2),
        (StoreRefusedError("answered 403", store="consul"), 2),
        (StoreUnavailableError("does not answer", store="consul"), 1),
        (JournalWriteError("disk full", path="out"), 3),
        (BackendUnavailableError("down", backend="a"), 1),
        (DeadlineExceededError(timeout_s=1.0), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_ends_with_its_code_and_one_line(
    error: HoldfastError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _end_of(error) == code
    assert capsys.readouterr().err == f"holdfast: {error}\n"


def test_error_with_notes_and_line_ends_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigurationError("is wrong:\nvery", path="a")
    error.add_note("b: is wrong too")

    _end_of(error)

    assert capsys.readouterr().err == "holdfast: a: is wrong: very; b: is wrong too\n"


def test_error_in_groups_is_shown_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    error = JournalWriteError("disk full", path="out")

    code = _end_of(ExceptionGroup("outer", [ExceptionGroup("inner", [error, ValueError()])]))

    assert code == 3
    assert capsys.readouterr().err == f"holdfast: {error}\n"


def test_bug_in_a_group_is_raised_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    bug = ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError) as caught, errors_to_exit():
        raise ExceptionGroup("tasks", [bug])

    assert caught.value is bug
    assert capsys.readouterr().err == ""


def test_bug_keeps_its_traceback() -> None:
    bug = ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError) as caught, errors_to_exit():
        raise bug

    assert caught.value is bug


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("tasks", [KeyboardInterrupt()])], ids=["alone", "in a group"]
)
def test_interrupt_says_nothing(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert _end_of(error) == 3
    assert capsys.readouterr().err == ""


def test_no_error_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with errors_to_exit():
        pass

    assert capsys.readouterr() == ("", "")
