"""The machine itself: its clock and its memory."""

from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory, available_memory_bytes

__all__ = [
    "SystemClock",
    "SystemMemory",
    "available_memory_bytes",
]
