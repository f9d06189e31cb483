from __future__ import annotations

import traceback
from typing import Self

import pytest

from holdfast.domain.failure_copy import copy_failure
from holdfast.ports.errors import BackendThrottledError, SharedFailureError


class PickyError(Exception):
    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(f"{one} and {two}")


class SingleError(Exception):
    def __copy__(self) -> Self:
        return self


class ChangelingError(Exception):
    def __copy__(self) -> Exception:
        return RuntimeError("something else")


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_copy_of_a_failure_has_its_type_arguments_and_attributes() -> None:
    error = BackendThrottledError(backend="b", retry_after_s=3.0, retry_allowed=False)

    copied = copy_failure(error)

    assert isinstance(copied, BackendThrottledError)
    assert (copied.args, copied.backend, copied.retry_after_s, copied.retry_allowed) == (error.args, "b", 3.0, False)


def test_copy_of_a_failure_is_new_each_time_and_caused_by_the_original() -> None:
    error = ConnectionResetError("gone")

    first, second = copy_failure(error), copy_failure(error)

    assert len({id(error), id(first), id(second)}) == 3
    assert first.__cause__ is second.__cause__ is error


def test_copy_of_a_raised_failure_has_no_traceback_of_its_own() -> None:
    error = _raised(ConnectionResetError("gone"))

    copied = copy_failure(error)

    assert copied.__traceback__ is None
    assert "_raised" in "".join(traceback.format_exception(copied))


def test_note_added_to_a_copy_is_on_no_other() -> None:
    error = ConnectionResetError("gone")
    error.add_note("first")
    one, other = copy_failure(error), copy_failure(error)

    one.add_note("second")

    assert one.__notes__ == ["first", "second"]
    assert error.__notes__ == other.__notes__ == ["first"]


@pytest.mark.parametrize("error", [PickyError(1, two=2), SingleError("only one"), ChangelingError("changes")])
def test_failure_that_cannot_be_copied_comes_as_a_shared_failure(error: Exception) -> None:
    copied = copy_failure(error)

    assert isinstance(copied, SharedFailureError)
    assert copied.__cause__ is error
    assert type(error).__name__ in str(copied)
