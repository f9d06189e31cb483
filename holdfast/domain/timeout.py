"""A bound on one attempt.

Responsibility: end an attempt that takes too long, as a failure of what was called.
Guarantees: the attempt is cancelled and awaited before `AttemptTimeoutError` is raised; a cancellation from outside
    passes through as it is.
Not responsible for: the deadline of the whole call: the door enforces that one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from holdfast.domain.deadline import Deadline
from holdfast.domain.validation import require_positive
from holdfast.ports.errors import AttemptTimeoutError

__all__ = ["Timeout"]

T = TypeVar("T")


class Timeout:
    """Gives each call the same number of seconds.

    Args:
        timeout_s: seconds one call may take.
    """

    __slots__ = ("timeout_s",)

    def __init__(self, timeout_s: float) -> None:
        require_positive("timeout_s", timeout_s)
        self.timeout_s = timeout_s

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Return what `work` returns within `timeout_s`.

        Raises:
            AttemptTimeoutError: if it took longer; it has ended by then.
        """
        del deadline  # the door cancels at the deadline; a joiner may have moved it since this call began
        with anyio.move_on_after(self.timeout_s):
            return await work()
        raise AttemptTimeoutError(timeout_s=self.timeout_s)
