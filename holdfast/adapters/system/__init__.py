"""The machine itself: its clock and its memory."""

from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory

__all__ = [
    "SystemClock",
    "SystemMemory",
]
