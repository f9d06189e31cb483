"""Keeps a service standing while it calls things that fail, model backends first of all.

What users import most; each layer's own package names the rest. Importing this loads nothing else: each name is loaded
when it is first asked for, and only what assembles them (`Orchestrator`, `Settings`, …) needs pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.application.container import Container
    from holdfast.application.orchestrator import Orchestrator
    from holdfast.application.settings import Settings
    from holdfast.application.settings_sources import load_settings
    from holdfast.application.wiring import open_container, open_orchestrator
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

_MODULES: Final = {
    "holdfast.application.container": ("Container",),
    "holdfast.application.orchestrator": ("Orchestrator",),
    "holdfast.application.settings": ("Settings",),
    "holdfast.application.settings_sources": ("load_settings",),
    "holdfast.application.wiring": ("open_container", "open_orchestrator"),
    "holdfast.domain.admission": ("AdmissionConfig", "AdmissionQueue"),
    "holdfast.domain.buffer": ("BufferConfig", "MemorySafeBuffer", "OverflowPolicy"),
    "holdfast.domain.circuit_breaker": ("BreakerConfig", "CircuitBreaker"),
    "holdfast.domain.compose": ("Policy", "compose"),
    "holdfast.domain.concurrency_limit": ("ConcurrencyLimit",),
    "holdfast.domain.deadline": ("Deadline",),
    "holdfast.domain.deduplication_key": ("DeduplicationKey",),
    "holdfast.domain.deduplicator": ("DeduplicationConfig", "Deduplicator"),
    "holdfast.domain.map_bounded": ("Err", "Ok", "map_bounded"),
    "holdfast.domain.pool": ("AsyncResourcePool", "PoolConfig"),
    "holdfast.domain.retry": ("Retry",),
    "holdfast.domain.retry_budget": ("RetryBudget", "RetryBudgetConfig"),
    "holdfast.domain.retry_policy": ("Jitter", "RetryPolicy"),
    "holdfast.domain.timeout": ("Timeout",),
    "holdfast.ports.errors": ("HoldfastError",),
    "holdfast.ports.inference": ("Completion", "InferenceBackend", "Message", "Parameters", "Prompt", "Role"),
    "holdfast.ports.outcome": ("Outcome",),
    "holdfast.ports.service": ("Priority", "Reply", "Request"),
}
_WHERE: Final = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a checker that sees it takes any name for one of ours

    def __getattr__(name: str) -> object:
        """Load what is named when it is first asked for (PEP 562)."""
        if name not in _WHERE:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_WHERE[name]), name)
        return value

    def __dir__() -> list[str]:
        """Return what there is, loaded or not."""
        return sorted(__all__)
