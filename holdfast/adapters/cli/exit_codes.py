"""What the command line ends with."""

from __future__ import annotations

import enum

__all__ = ["ExitCode"]


class ExitCode(enum.IntEnum):
    """How a command ended."""

    COMPLETE = 0
    FAILED = 1
    """Some items failed or were rejected, the question was not answered, or a check did not pass."""
    BAD_INPUT = 2
    """Usage, settings, documents or input are wrong."""
    INTERRUPTED = 3
    """Stopped by a signal, or because something could not be written; run it again to go on."""
