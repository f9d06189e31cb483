"""The rules: buffers, pools, retry, breaker, deduplication, admission. Talks only to ports.

Each name is loaded when it is first asked for, so that a part costs only what it needs itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

# At once, because these are named like their modules, which would stand in their place.
from holdfast.domain.compose import compose
from holdfast.domain.map_bounded import map_bounded
from holdfast.domain.signed_fields import signed_fields

if TYPE_CHECKING:
    from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal, load_signal
    from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
    from holdfast.domain.authentication_config import AuthenticationConfig
    from holdfast.domain.backoff import Backoff
    from holdfast.domain.blocking_query import BlockingQuery, QueryConfig, QueryListener
    from holdfast.domain.breaker_registry import BreakerRegistry
    from holdfast.domain.buffer import BufferConfig, BufferSnapshot, MemorySafeBuffer, OverflowPolicy, text_size_bytes
    from holdfast.domain.channel import Channel, ChannelTable
    from holdfast.domain.circuit_breaker import BreakerConfig, BreakerMode, CircuitBreaker
    from holdfast.domain.command import Command, CommandAnswer, Said, answer_command, read_message
    from holdfast.domain.compose import Policy
    from holdfast.domain.concurrency_limit import ConcurrencyLimit
    from holdfast.domain.deadline import Deadline
    from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
    from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator, Shared
    from holdfast.domain.discovery import Discovery, DiscoveryConfig, InstanceListener
    from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
    from holdfast.domain.envelope_gate import EnvelopeGate
    from holdfast.domain.event_hub import EventConfig, EventHub
    from holdfast.domain.flight import InProgress, New
    from holdfast.domain.handshake import Initiator, Responder
    from holdfast.domain.handshake_messages import Challenge, Hello, Proof
    from holdfast.domain.hedge import Hedge, HedgeConfig
    from holdfast.domain.host_guard import HostGuard, HostGuardConfig
    from holdfast.domain.map_bounded import Err, Ok
    from holdfast.domain.memory_ceiling import Hold, MemoryCeiling, charge_bytes
    from holdfast.domain.metered_call import MeteredCall
    from holdfast.domain.model_slot import ModelSlotConfig, ModelSlots
    from holdfast.domain.outcomes import SUCCEEDED, Classifier, classify
    from holdfast.domain.output_judge import Flaw, Judgement, OutputAction, OutputJudge, OutputRule
    from holdfast.domain.pattern import Pattern
    from holdfast.domain.persona import ChosenBy, ChosenPersona, Persona, PersonaBook
    from holdfast.domain.pool import AsyncResourcePool, Lease, PoolConfig
    from holdfast.domain.quality_gate import Approved, QualityGate, Repair
    from holdfast.domain.rate_limit import RateLimit, RateLimitConfig, RateLimitCounts, Reservation
    from holdfast.domain.rate_trip_policy import RateTripPolicy
    from holdfast.domain.registration import Registration, RegistrationConfig
    from holdfast.domain.replay import ReplayCache
    from holdfast.domain.required_fields import RequiredFields
    from holdfast.domain.result_window import Cached
    from holdfast.domain.retry import Retry
    from holdfast.domain.retry_budget import EarnedTokens, RetryBudget, RetryBudgetConfig, RetryPermit
    from holdfast.domain.retry_policy import Jitter, RetryPolicy
    from holdfast.domain.rotation import ROTATION_CHARS, Rotation, apply_rotation, rotate
    from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy
    from holdfast.domain.session import LEAST_SESSION_BYTES, SessionConfig, measure_turn, new_session, new_turn
    from holdfast.domain.session_keeper import SessionKeeper
    from holdfast.domain.shared_answers import SharedAnswers, SharedAnswersConfig
    from holdfast.domain.shared_breaker import SharedBreaker, SharedBreakerConfig
    from holdfast.domain.shared_budgets import SharedBudgets
    from holdfast.domain.shared_rates import SharedRate, SharedRates
    from holdfast.domain.signature_text import SIGNATURE_CHARS, read_signature, write_signature
    from holdfast.domain.signed_fields import Purpose
    from holdfast.domain.slotted_backend import SlottedBackend
    from holdfast.domain.store_link import AWAY, Away, StoreLink, StoreLinkConfig, StoreMember
    from holdfast.domain.stream_attempt import stream_through
    from holdfast.domain.stream_outlet import Outlet, StreamingConfig
    from holdfast.domain.stream_reader import StreamReader
    from holdfast.domain.stream_sharing import SharedStreams
    from holdfast.domain.stream_timeout import StreamTimeout
    from holdfast.domain.tenant_limits import TenantLimits
    from holdfast.domain.text_size import utf8_size_bytes
    from holdfast.domain.timeout import Timeout
    from holdfast.domain.token_estimate import (
        TokenEstimate,
        estimate_prompt_tokens,
        estimate_text_tokens,
        estimate_tokens,
    )
    from holdfast.domain.trust import revoke_trust, trust_as
    from holdfast.domain.urgency import Urgency

__all__ = [
    "AWAY",
    "LEAST_SESSION_BYTES",
    "ROTATION_CHARS",
    "SIGNATURE_CHARS",
    "SUCCEEDED",
    "AdaptiveLimit",
    "AdaptiveLimitConfig",
    "AdmissionConfig",
    "AdmissionQueue",
    "Approved",
    "AsyncResourcePool",
    "AuthenticationConfig",
    "Away",
    "Backoff",
    "BlockingQuery",
    "BreakerConfig",
    "BreakerMode",
    "BreakerRegistry",
    "BufferConfig",
    "BufferSnapshot",
    "Cached",
    "Challenge",
    "Channel",
    "ChannelTable",
    "ChosenBy",
    "ChosenPersona",
    "CircuitBreaker",
    "Classifier",
    "Command",
    "CommandAnswer",
    "ConcurrencyLimit",
    "Deadline",
    "DeduplicationConfig",
    "DeduplicationKey",
    "Deduplicator",
    "Direction",
    "Discovery",
    "DiscoveryConfig",
    "EarnedTokens",
    "Envelope",
    "EnvelopeGate",
    "Err",
    "EventConfig",
    "EventHub",
    "Flaw",
    "Hedge",
    "HedgeConfig",
    "Hello",
    "Hold",
    "HostGuard",
    "HostGuardConfig",
    "InProgress",
    "Initiator",
    "InstanceListener",
    "Jitter",
    "Judgement",
    "Lease",
    "LoadSignal",
    "MemoryCeiling",
    "MemorySafeBuffer",
    "MeteredCall",
    "ModelSlotConfig",
    "ModelSlots",
    "New",
    "Ok",
    "Outlet",
    "OutputAction",
    "OutputJudge",
    "OutputRule",
    "OverflowPolicy",
    "Pattern",
    "Persona",
    "PersonaBook",
    "Policy",
    "PoolConfig",
    "Proof",
    "Purpose",
    "QualityGate",
    "QueryConfig",
    "QueryListener",
    "RateLimit",
    "RateLimitConfig",
    "RateLimitCounts",
    "RateTripPolicy",
    "Registration",
    "RegistrationConfig",
    "Repair",
    "ReplayCache",
    "RequiredFields",
    "Reservation",
    "Responder",
    "Retry",
    "RetryBudget",
    "RetryBudgetConfig",
    "RetryPermit",
    "RetryPolicy",
    "Rotation",
    "RouteChoice",
    "RoutingConfig",
    "RoutingStrategy",
    "Said",
    "SealedEnvelope",
    "SessionConfig",
    "SessionKeeper",
    "Shared",
    "SharedAnswers",
    "SharedAnswersConfig",
    "SharedBreaker",
    "SharedBreakerConfig",
    "SharedBudgets",
    "SharedRate",
    "SharedRates",
    "SharedStreams",
    "SlottedBackend",
    "StoreLink",
    "StoreLinkConfig",
    "StoreMember",
    "StreamReader",
    "StreamTimeout",
    "StreamingConfig",
    "TenantLimits",
    "Timeout",
    "TokenEstimate",
    "Urgency",
    "answer_command",
    "apply_rotation",
    "charge_bytes",
    "classify",
    "compose",
    "estimate_prompt_tokens",
    "estimate_text_tokens",
    "estimate_tokens",
    "load_signal",
    "map_bounded",
    "measure_turn",
    "new_session",
    "new_turn",
    "opts_out",
    "read_message",
    "read_signature",
    "revoke_trust",
    "rotate",
    "seal",
    "signed_fields",
    "stream_through",
    "text_size_bytes",
    "trust_as",
    "utf8_size_bytes",
    "write_signature",
]

_MODULES: Final = {
    "holdfast.domain.shared_answers": ("SharedAnswers", "SharedAnswersConfig"),
    "holdfast.domain.adaptive_limit": ("AdaptiveLimit", "AdaptiveLimitConfig", "LoadSignal", "load_signal"),
    "holdfast.domain.admission": ("AdmissionConfig", "AdmissionQueue"),
    "holdfast.domain.authentication_config": ("AuthenticationConfig",),
    "holdfast.domain.backoff": ("Backoff",),
    "holdfast.domain.blocking_query": ("BlockingQuery", "QueryConfig", "QueryListener"),
    "holdfast.domain.breaker_registry": ("BreakerRegistry",),
    "holdfast.domain.buffer": (
        "BufferConfig",
        "BufferSnapshot",
        "MemorySafeBuffer",
        "OverflowPolicy",
        "text_size_bytes",
    ),
    "holdfast.domain.channel": ("Channel", "ChannelTable"),
    "holdfast.domain.circuit_breaker": ("BreakerConfig", "BreakerMode", "CircuitBreaker"),
    "holdfast.domain.command": ("Command", "CommandAnswer", "Said", "answer_command", "read_message"),
    "holdfast.domain.compose": ("Policy",),
    "holdfast.domain.concurrency_limit": ("ConcurrencyLimit",),
    "holdfast.domain.deadline": ("Deadline",),
    "holdfast.domain.deduplication_key": ("DeduplicationKey", "opts_out"),
    "holdfast.domain.deduplicator": ("DeduplicationConfig", "Deduplicator", "Shared"),
    "holdfast.domain.discovery": ("Discovery", "DiscoveryConfig", "InstanceListener"),
    "holdfast.domain.envelope": ("Direction", "Envelope", "SealedEnvelope", "seal"),
    "holdfast.domain.envelope_gate": ("EnvelopeGate",),
    "holdfast.domain.event_hub": ("EventConfig", "EventHub"),
    "holdfast.domain.flight": ("InProgress", "New"),
    "holdfast.domain.handshake": ("Initiator", "Responder"),
    "holdfast.domain.handshake_messages": ("Challenge", "Hello", "Proof"),
    "holdfast.domain.hedge": ("Hedge", "HedgeConfig"),
    "holdfast.domain.host_guard": ("HostGuard", "HostGuardConfig"),
    "holdfast.domain.map_bounded": ("Err", "Ok"),
    "holdfast.domain.memory_ceiling": ("Hold", "MemoryCeiling", "charge_bytes"),
    "holdfast.domain.metered_call": ("MeteredCall",),
    "holdfast.domain.model_slot": ("ModelSlotConfig", "ModelSlots"),
    "holdfast.domain.outcomes": ("Classifier", "SUCCEEDED", "classify"),
    "holdfast.domain.output_judge": ("Flaw", "Judgement", "OutputAction", "OutputJudge", "OutputRule"),
    "holdfast.domain.pattern": ("Pattern",),
    "holdfast.domain.persona": ("ChosenBy", "ChosenPersona", "Persona", "PersonaBook"),
    "holdfast.domain.pool": ("AsyncResourcePool", "Lease", "PoolConfig"),
    "holdfast.domain.quality_gate": ("Approved", "QualityGate", "Repair"),
    "holdfast.domain.rate_limit": ("RateLimit", "RateLimitConfig", "RateLimitCounts", "Reservation"),
    "holdfast.domain.rate_trip_policy": ("RateTripPolicy",),
    "holdfast.domain.registration": ("Registration", "RegistrationConfig"),
    "holdfast.domain.replay": ("ReplayCache",),
    "holdfast.domain.required_fields": ("RequiredFields",),
    "holdfast.domain.result_window": ("Cached",),
    "holdfast.domain.retry": ("Retry",),
    "holdfast.domain.retry_budget": ("EarnedTokens", "RetryBudget", "RetryBudgetConfig", "RetryPermit"),
    "holdfast.domain.retry_policy": ("Jitter", "RetryPolicy"),
    "holdfast.domain.rotation": ("ROTATION_CHARS", "Rotation", "apply_rotation", "rotate"),
    "holdfast.domain.route_choice": ("RouteChoice", "RoutingConfig", "RoutingStrategy"),
    "holdfast.domain.session": ("LEAST_SESSION_BYTES", "SessionConfig", "measure_turn", "new_session", "new_turn"),
    "holdfast.domain.session_keeper": ("SessionKeeper",),
    "holdfast.domain.shared_breaker": (
        "SharedBreaker",
        "SharedBreakerConfig",
    ),
    "holdfast.domain.shared_budgets": ("SharedBudgets",),
    "holdfast.domain.shared_rates": (
        "SharedRate",
        "SharedRates",
    ),
    "holdfast.domain.signature_text": ("SIGNATURE_CHARS", "read_signature", "write_signature"),
    "holdfast.domain.signed_fields": ("Purpose",),
    "holdfast.domain.slotted_backend": ("SlottedBackend",),
    "holdfast.domain.store_link": (
        "AWAY",
        "Away",
        "StoreLink",
        "StoreLinkConfig",
        "StoreMember",
    ),
    "holdfast.domain.stream_attempt": ("stream_through",),
    "holdfast.domain.stream_outlet": ("Outlet", "StreamingConfig"),
    "holdfast.domain.stream_reader": ("StreamReader",),
    "holdfast.domain.stream_sharing": ("SharedStreams",),
    "holdfast.domain.stream_timeout": ("StreamTimeout",),
    "holdfast.domain.tenant_limits": ("TenantLimits",),
    "holdfast.domain.text_size": ("utf8_size_bytes",),
    "holdfast.domain.timeout": ("Timeout",),
    "holdfast.domain.token_estimate": (
        "TokenEstimate",
        "estimate_prompt_tokens",
        "estimate_text_tokens",
        "estimate_tokens",
    ),
    "holdfast.domain.trust": ("revoke_trust", "trust_as"),
    "holdfast.domain.urgency": ("Urgency",),
}
_WHERE: Final = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a checker that sees it takes any name for one of ours

    def __getattr__(name: str) -> object:
        """Load what is named when it is first asked for (PEP 562)."""
        if name not in _WHERE:
            raise AttributeError(f"module 'holdfast.domain' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_WHERE[name]), name)
        return value

    def __dir__() -> list[str]:
        """Return what there is, loaded or not."""
        return sorted(__all__)
