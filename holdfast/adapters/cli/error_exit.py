"""How an error reaches the user.

Responsibility: one line on stderr and an exit code for every error of Holdfast.
Guarantees: never a traceback for them, and never an exception group: an error that a task group has wrapped is shown as
    itself. Anything else is a bug and keeps its traceback.
Not responsible for: wrong options; typer says those, with `ExitCode.BAD_INPUT` too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeGuard

from holdfast.adapters.cli.exit_codes import ExitCode
from holdfast.adapters.cli.streams import write_notice
from holdfast.ports.errors import (
    BatchError,
    ConfigurationError,
    HoldfastError,
    IdentityError,
    JournalWriteError,
    RequestError,
    RetrievalError,
    SessionStoreError,
    StoreRefusedError,
)

__all__ = ["errors_to_exit"]

_BAD_INPUT = (
    BatchError,
    ConfigurationError,
    IdentityError,
    RequestError,
    RetrievalError,
    SessionStoreError,  # no command goes on with a session, so it is the database of the settings that cannot be opened
    StoreRefusedError,
)


@contextmanager
def errors_to_exit() -> Generator[None]:
    """Turn an error of Holdfast into its line and `SystemExit`, and Ctrl-C into `ExitCode.INTERRUPTED`."""
    try:
        yield
    except (HoldfastError, KeyboardInterrupt, BaseExceptionGroup) as error:
        cause = _first_cause(error)
        if isinstance(cause, KeyboardInterrupt):
            raise SystemExit(ExitCode.INTERRUPTED) from None
        if not isinstance(cause, HoldfastError):
            raise cause from cause.__cause__
        write_notice("; ".join([str(cause), *getattr(cause, "__notes__", ())]))
        raise SystemExit(_exit_code(cause)) from None


def _first_cause(error: BaseException) -> BaseException:
    while _is_group(error):
        error = error.exceptions[0]
    return error


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def _exit_code(error: HoldfastError) -> ExitCode:
    if isinstance(error, JournalWriteError):
        return ExitCode.INTERRUPTED
    return ExitCode.BAD_INPUT if isinstance(error, _BAD_INPUT) else ExitCode.FAILED
