"""Lets a `pybreaker.CircuitBreaker` decide when to trip; needs the extra ``pybreaker``."""

from holdfast.adapters.pybreaker.trip import PybreakerTripPolicy

__all__ = ["PybreakerTripPolicy"]
