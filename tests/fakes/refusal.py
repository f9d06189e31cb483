"""What a check says to somebody: nothing, or why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from holdfast.ports.errors import HoldfastError

__all__ = ["refusal"]

P = ParamSpec("P")


def refusal(check: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> HoldfastError | None:
    """Return the error that the call raises, or None where it raises none."""
    try:
        check(*args, **kwargs)
    except HoldfastError as error:
        return error
    return None
