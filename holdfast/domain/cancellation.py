"""What a cancellation looks like when it passes through.

Responsibility: tell a cancellation by the event loop from everything else that is no `Exception`.
Guarantees: asks nothing of the loop for a coroutine that is closed, which may happen where none runs.
Not responsible for: what it means: cancellation counts as nothing unless a deadline has passed (adr/0011).
"""

from __future__ import annotations

import anyio

__all__ = ["is_cancellation"]


def is_cancellation(raised: BaseException) -> bool:
    """Return whether `raised` is a cancellation, or a group of nothing else."""
    if isinstance(raised, GeneratorExit):
        # A coroutine that is closed, possibly where no event loop runs that could be asked what a cancellation is.
        return False
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(raised, BaseExceptionGroup):
        # What a trio nursery makes of a cancellation; isinstance cannot tell pyright what the group holds.
        _, others = raised.split(cancelled)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return others is None
    return isinstance(raised, cancelled)
