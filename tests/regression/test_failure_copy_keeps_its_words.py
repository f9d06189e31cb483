"""An error whose constructor makes its message used to be copied with the message made a second time."""

from __future__ import annotations

import pytest

from holdfast.domain.failure_copy import copy_failure
from holdfast.ports.errors import SharedFailureError


class QuotaError(Exception):
    def __init__(self, tenant: str) -> None:
        super().__init__(f"no quota left for {tenant}")


class Unequal:
    def __eq__(self, other: object) -> bool:
        raise ValueError("has no single truth value")

    __hash__ = None  # type: ignore[assignment]


class EvasiveError(Exception):
    def __copy__(self) -> EvasiveError:
        copied = EvasiveError()
        copied.args = (Unequal(),)
        return copied


@pytest.mark.parametrize("error", [QuotaError("acme"), EvasiveError(Unequal())])
def test_failure_whose_copy_would_say_something_else_comes_as_a_shared_failure(error: Exception) -> None:
    copied = copy_failure(error)

    assert isinstance(copied, SharedFailureError)
    assert copied.__cause__ is error
