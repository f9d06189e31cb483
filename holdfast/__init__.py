"""Keeps a service standing while it calls things that fail, model backends first of all.

What users import most; each layer's own package names the rest. Importing this loads the mechanisms and nothing else:
what assembles them (`Orchestrator`, `Settings`, …) needs pydantic and is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer, OverflowPolicy
from holdfast.domain.circuit_breaker import BreakerConfig, CircuitBreaker
from holdfast.domain.compose import Policy, compose
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator
from holdfast.domain.map_bounded import Err, Ok, map_bounded
from holdfast.domain.pool import AsyncResourcePool, PoolConfig
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.domain.timeout import Timeout
from holdfast.ports.errors import HoldfastError
from holdfast.ports.inference import Completion, InferenceBackend, Message, Parameters, Prompt, Role
from holdfast.ports.outcome import Outcome
from holdfast.ports.service import Priority, Reply, Request

if TYPE_CHECKING:
    from holdfast.application.container import Container
    from holdfast.application.orchestrator import Orchestrator
    from holdfast.application.settings import Settings
    from holdfast.application.settings_sources import load_settings
    from holdfast.application.wiring import open_container, open_orchestrator

__all__ = [
    "AdmissionConfig",
    "AdmissionQueue",
    "AsyncResourcePool",
    "BreakerConfig",
    "BufferConfig",
    "CircuitBreaker",
    "Completion",
    "ConcurrencyLimit",
    "Container",
    "Deadline",
    "DeduplicationConfig",
    "DeduplicationKey",
    "Deduplicator",
    "Err",
    "HoldfastError",
    "InferenceBackend",
    "Jitter",
    "MemorySafeBuffer",
    "Message",
    "Ok",
    "Orchestrator",
    "Outcome",
    "OverflowPolicy",
    "Parameters",
    "Policy",
    "PoolConfig",
    "Priority",
    "Prompt",
    "Reply",
    "Request",
    "Retry",
    "RetryBudget",
    "RetryBudgetConfig",
    "RetryPolicy",
    "Role",
    "Settings",
    "Timeout",
    "compose",
    "load_settings",
    "map_bounded",
    "open_container",
    "open_orchestrator",
]

_ASSEMBLED = {
    "Container": "holdfast.application.container",
    "Orchestrator": "holdfast.application.orchestrator",
    "Settings": "holdfast.application.settings",
    "load_settings": "holdfast.application.settings_sources",
    "open_container": "holdfast.application.wiring",
    "open_orchestrator": "holdfast.application.wiring",
}

if not TYPE_CHECKING:  # a checker that sees it takes any name for one of ours

    def __getattr__(name: str) -> object:
        """Load what assembles the library when it is first asked for (PEP 562)."""
        if name not in _ASSEMBLED:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - only when it is needed

        return getattr(import_module(_ASSEMBLED[name]), name)
