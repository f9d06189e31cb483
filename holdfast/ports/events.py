"""What Holdfast decides, told as it happens.

Responsibility: one frozen value for each kind of decision, and who wants to hear of them.
Guarantees: an event carries numbers and names, with the unit in the name, and never a prompt, an answer or a secret.
Not responsible for: totals, which `holdfast.ports.statistics` has; when it happened: a sink stamps what it gets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from holdfast.ports.authentication import Disbelief
from holdfast.ports.service import Disposition, Priority

__all__ = [
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "BreakerRefused",
    "ClaimFenced",
    "ClaimTakenOver",
    "CredentialsRefused",
    "Deduplicated",
    "DeregistrationFailed",
    "EnvelopeRefused",
    "Event",
    "EventSink",
    "FellBack",
    "FlightAbandoned",
    "HandshakeCompleted",
    "HandshakeRefused",
    "HedgeLaunched",
    "HedgeRefused",
    "HedgeWon",
    "InstanceAppeared",
    "InstanceRefused",
    "InstanceVanished",
    "LeaseLeaked",
    "LimitChanged",
    "MemoryFreed",
    "MemoryRefused",
    "ModelLoaded",
    "ModelRefused",
    "ModelUnloaded",
    "OutputMarked",
    "OutputRejected",
    "OutputRepairAsked",
    "OverloadBegan",
    "OverloadEnded",
    "ParameterStoreLost",
    "ParameterStoreRejoined",
    "ParametersApplied",
    "ParametersRefused",
    "PersonaChosen",
    "PoolRefused",
    "RateLimitPaused",
    "RateLimited",
    "RecordedEvent",
    "RegistrationForgotten",
    "RegistryLost",
    "RegistryRejoined",
    "RequestAnswered",
    "RequestExpired",
    "RequestFailed",
    "RequestRefused",
    "RequestShed",
    "ResourceFailed",
    "RetryRefused",
    "RetryScheduled",
    "RouteChosen",
    "ServiceClosed",
    "ServiceDraining",
    "SessionConflicted",
    "SessionCreated",
    "SessionEvicted",
    "SessionExpired",
    "SessionTrimmed",
    "SharedAnswerTaken",
    "SharedAnswerUnreadable",
    "SharedStoreEmptied",
    "SharedStoreLost",
    "SharedStoreRejoined",
    "StreamCut",
    "StreamReaderDropped",
    "ValidatorFailed",
]

_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was decided.

    Attributes:
        name: what logs and counts call it: the name of its class in snake_case, such as ``breaker_opened``.
    """

    name: ClassVar[str] = "event"

    def __init_subclass__(cls) -> None:
        cls.name = _WORD.sub("_", cls.__name__).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event, and when a sink heard of it.

    Args:
        at_s: seconds on the sink's monotonic clock.
        event: what was decided.
    """

    at_s: float
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswered(Event):
    """A request got its reply, `latency_s` seconds after it came in."""

    tenant: str
    priority: Priority
    backend: str
    disposition: Disposition
    attempts: int
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """A request ended with an error, `latency_s` seconds after it came in; `error` is the name of its type."""

    tenant: str
    priority: Priority
    error: str
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated(Event):
    """A request joined one that was under way, or got an answer that was kept; `key` is the digest in hexadecimal."""

    key: str
    disposition: Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightAbandoned(Event):
    """A call was cancelled because nobody waited for it any more."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Event):
    """The admission queue did not take a request."""

    tenant: str
    priority: Priority
    reason: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShed(Event):
    """A request that waited for admission had to go."""

    tenant: str
    priority: Priority
    reason: str
    waited_s: float
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExpired(Event):
    """The deadline of a request passed while it waited for admission, or before it came."""

    tenant: str
    priority: Priority
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadBegan(Event):
    """More comes into a tenant's line at one priority than is served, so its newest request now goes first."""

    tenant: str
    priority: Priority
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadEnded(Event):
    """That line has been empty again."""

    tenant: str
    priority: Priority
    lasted_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanged(Event):
    """The adaptive limit moved."""

    before: int
    after: int
    recent_s: float | None
    baseline_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRefused(Event):
    """A request did not fit under the byte ceiling of the process."""

    needed_bytes: int
    used_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFreed(Event):
    """Kept answers were dropped to make room under the byte ceiling."""

    holder: str
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimited(Event):
    """A rate limit refused a request; `scope` says whose limit, `quantity` which one: requests or tokens."""

    scope: str
    quantity: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitPaused(Event):
    """A peer asked for a pause, and nothing is sent to it for that long."""

    scope: str
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChosen(Event):
    """Routing put a backend first."""

    backend: str
    strategy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(Event):
    """A backend failed or refused, and the next one is tried; `error` is the name of the failure's type."""

    failed: str
    following: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """A failed attempt will be made again after `delay_s` seconds; `attempt` is the number of the one that failed."""

    backend: str
    attempt: int
    delay_s: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRefused(Event):
    """A failed attempt is not made again.

    `reason` is ``of_no_use`` (no retry can help with that error), ``strategy``, ``deadline``, ``budget`` or, when the
    pause is over and too many others are being retried, ``budget_in_flight``.
    """

    backend: str
    attempt: int
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeLaunched(Event):
    """A call took longer than most, so a second one was begun beside it after `after_s` seconds."""

    backend: str
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeWon(Event):
    """The second call answered first."""

    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeRefused(Event):
    """A second call was due and was not made, for `reason`."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsRefused(Event):
    """A backend does not accept our credentials; no retry helps until somebody changes them."""

    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOpened(Event):
    """A breaker lets no call through for `open_s` seconds; None until an operator closes it."""

    breaker: str
    open_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerHalfOpened(Event):
    """A breaker lets probes through."""

    breaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerClosed(Event):
    """A breaker lets every call through again."""

    breaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRefused(Event):
    """A breaker did not let a call through."""

    breaker: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRefused(Event):
    """A pool had no resource for a caller: too many waited, or the wait took too long."""

    pool: str
    waiting: int
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFailed(Event):
    """The provider of a pool failed at `operation`: ``create``, ``validate``, ``reset`` or ``close``."""

    pool: str
    operation: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLeaked(Event):
    """A lease has been out for so long that it was probably forgotten."""

    pool: str
    held_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(Event):
    """A conversation began."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTrimmed(Event):
    """The oldest turns of a conversation were dropped to keep it under its cap."""

    session_id: str
    messages: int
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConflicted(Event):
    """Somebody else had saved the conversation meanwhile; a change is made to what they saved, or given up."""

    session_id: str
    expected_version: int
    found_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExpired(Event):
    """A conversation was idle for too long."""

    session_id: str
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvicted(Event):
    """The conversation used longest ago made room under the ceiling of all."""

    session_id: str
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoaded(Event):
    """A model is in memory."""

    model: str
    size_bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnloaded(Event):
    """A model has left memory."""

    model: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRefused(Event):
    """A model does not fit into what memory is free."""

    model: str
    needed_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaChosen(Event):
    """A persona answers; `chosen_by` is name, command, session or text."""

    persona: str
    chosen_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRejected(Event):
    """An answer did not pass a validator, and the request failed for it."""

    validator: str
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRepairAsked(Event):
    """An answer did not pass a validator, and the backend was asked to mend it."""

    validator: str
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputMarked(Event):
    """An answer did not pass a validator, and was delivered with a mark."""

    validator: str
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorFailed(Event):
    """A validator itself raised; `error` is the name of the failure's type."""

    validator: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCut(Event):
    """A stream was cut after `sent_bytes` had gone out; `error` is the name of the failure's type."""

    backend: str
    sent_bytes: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReaderDropped(Event):
    """Nobody had read on in a stream for `stalled_s` seconds, so it was ended for all of its readers."""

    stalled_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeCompleted(Event):
    """Somebody proved to be `peer`, and a session began."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeRefused(Event):
    """A message of a handshake was not believed."""

    reason: Disbelief


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRefused(Event):
    """A message was not believed, and did not reach the application."""

    reason: Disbelief


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAnswerTaken(Event):
    """Another process's answer was taken, from the window or when it came; `key` as in `Deduplicated`."""

    key: str
    disposition: Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAnswerUnreadable(Event):
    """What the store has for a key is not what this version writes for it; it is not used."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTakenOver(Event):
    """The process that called for a key gave up or ended, and this one calls, after `waited_s` seconds."""

    key: str
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFenced(Event):
    """This process lost a key, because it was stopped or cut off for longer than a lease; others may call as well."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStoreLost(Event):
    """The store that processes share is away, and this one goes on alone; `is_refusal` says that somebody must act."""

    store: str
    error: str
    is_refusal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStoreRejoined(Event):
    """The store that processes share is back, after `away_s` seconds."""

    store: str
    away_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStoreEmptied(Event):
    """The store that processes share lost what it held; this process tells it again what it knows."""

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAppeared(Event):
    """A registry lists one more instance of a service, at the address `instance`; it gets requests from now on."""

    service: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceVanished(Event):
    """A registry lists that instance no more; it gets no more requests."""

    service: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRefused(Event):
    """A registry lists an instance that nothing can be made of; `error` is the name of the failure's type."""

    service: str
    instance: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLost(Event):
    """The registry does not answer `role`: ``registration`` or ``discovery`` of a service; what is known stays.

    `error` is the name of the failure's type, and `is_refusal` says that somebody must act.
    """

    service: str
    role: str
    error: str
    is_refusal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRejoined(Event):
    """The registry answers again, after `away_s` seconds."""

    service: str
    role: str
    away_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationForgotten(Event):
    """The registry does not know this instance any more, which registers again."""

    service: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeregistrationFailed(Event):
    """This instance could not say that it leaves, so that it is listed until its time to live is over."""

    service: str
    instance: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersApplied(Event):
    """Settings in a store of parameters changed: those in `changed` hold from now on, those in `at_restart` from then.

    Both are dotted paths with a space between two of them.
    """

    store: str
    changed: str
    at_restart: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersRefused(Event):
    """The store of parameters holds what is no valid setting, first at `path`; the settings stay as they were."""

    store: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStoreLost(Event):
    """The store of parameters does not answer, or holds no parameters; what it said last stays in force.

    `error` is the name of the failure's type, and `is_refusal` says that somebody must act.
    """

    store: str
    error: str
    is_refusal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStoreRejoined(Event):
    """The store of parameters answers again, after `away_s` seconds."""

    store: str
    away_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDraining(Event):
    """The service takes no new requests and gives the running ones `timeout_s` seconds."""

    running: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceClosed(Event):
    """The service is closed; `cancelled` requests had to be cut off."""

    cancelled: int


class EventSink(Protocol):
    """Hears of events.

    Ordering: events of one event loop come in the order in which they were decided. Duplication: none. Loss: a sink may
    drop what it has no room for, and counts it. Cancellation: `emit` never waits, so there is none. Errors: whatever
    keeps it from passing an event on, never hidden: an `EventHub` counts it, and without one it reaches whoever emits.
    """

    def emit(self, event: Event) -> None:
        """Take note of `event`, at once and without blocking."""
        ...
