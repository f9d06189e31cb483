"""The rules: buffers, pools, retry, breaker, deduplication, admission. Talks only to ports."""

from holdfast.domain.adaptive_limit import AdaptiveLimit, AdaptiveLimitConfig, LoadSignal, load_signal
from holdfast.domain.admission import AdmissionConfig, AdmissionQueue
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.breaker_registry import BreakerRegistry
from holdfast.domain.buffer import BufferConfig, BufferSnapshot, MemorySafeBuffer, OverflowPolicy, text_size_bytes
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.circuit_breaker import BreakerConfig, BreakerMode, CircuitBreaker
from holdfast.domain.command import Command, CommandAnswer, Said, answer_command, read_message
from holdfast.domain.compose import Policy, compose
from holdfast.domain.concurrency_limit import ConcurrencyLimit
from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey, opts_out
from holdfast.domain.deduplicator import DeduplicationConfig, Deduplicator, Shared
from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
from holdfast.domain.envelope_gate import EnvelopeGate
from holdfast.domain.event_hub import EventConfig, EventHub
from holdfast.domain.flight import InProgress, New
from holdfast.domain.handshake import Initiator, Responder
from holdfast.domain.handshake_messages import Challenge, Hello, Proof
from holdfast.domain.hedge import Hedge, HedgeConfig
from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.domain.map_bounded import Err, Ok, map_bounded
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
from holdfast.domain.replay import ReplayCache
from holdfast.domain.required_fields import RequiredFields
from holdfast.domain.result_window import Cached
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig, RetryPermit
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.domain.rotation import ROTATION_CHARS, Rotation, apply_rotation, rotate
from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy
from holdfast.domain.session import LEAST_SESSION_BYTES, SessionConfig, measure_turn, new_session, new_turn
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.domain.signature_text import SIGNATURE_CHARS, read_signature, write_signature
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.domain.stream_attempt import stream_through
from holdfast.domain.stream_outlet import Outlet, StreamingConfig
from holdfast.domain.stream_reader import StreamReader
from holdfast.domain.stream_sharing import SharedStreams
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.domain.text_size import utf8_size_bytes
from holdfast.domain.timeout import Timeout
from holdfast.domain.token_estimate import TokenEstimate, estimate_prompt_tokens, estimate_text_tokens, estimate_tokens
from holdfast.domain.trust import revoke_trust, trust_as
from holdfast.domain.urgency import Urgency

__all__ = [
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
    "RateLimit",
    "RateLimitConfig",
    "RateLimitCounts",
    "RateTripPolicy",
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
    "SharedStreams",
    "SlottedBackend",
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
