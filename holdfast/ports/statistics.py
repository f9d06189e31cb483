"""What the mechanisms count.

Responsibility: the frozen numbers that `statistics()` and `Service.health` return.
Guarantees: within each value the counters add up as its docstring says, at every moment it can be read.
Not responsible for: rates, percentiles and charts: they are made from two snapshots.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.ports.authentication import Disbelief

__all__ = [
    "AdmissionStatistics",
    "AuthenticationStatistics",
    "BackendHealth",
    "BreakerState",
    "BreakerStatistics",
    "BufferStatistics",
    "DeduplicationStatistics",
    "DiscoveryStatistics",
    "EventStatistics",
    "Health",
    "HedgeStatistics",
    "LatencyStatistics",
    "LimitStatistics",
    "MemoryStatistics",
    "ModelSlotStatistics",
    "OutputStatistics",
    "ParameterStatistics",
    "PoolStatistics",
    "QueryStatistics",
    "RateLimitStatistics",
    "RegistrationStatistics",
    "RegistryStatistics",
    "RequestStatistics",
    "RetryBudgetStatistics",
    "ServiceState",
    "SessionStatistics",
    "SharedAnswerStatistics",
    "SharedBudgetStatistics",
    "SharedRateStatistics",
    "SharedStoreStatistics",
    "StreamStatistics",
    "TenantLimitStatistics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStatistics:
    """`appended + restored = items + evicted + taken + cleared + rolled_back`; `refused` never entered."""

    items: int
    size_bytes: int
    appended: int
    evicted: int
    refused: int
    taken: int
    cleared: int
    restored: int
    rolled_back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """`leased + idle + creating + closing <= max_size`; `created = closed + leased + idle + closing`.

    A resource that is being validated or reset counts as leased. `leases` were granted to callers; `timeouts` and
    `refused` are callers who got none; `failures` are calls of the provider that raised or took too long.
    """

    leased: int
    idle: int
    creating: int
    closing: int
    waiting: int
    max_size: int
    created: int
    closed: int
    leases: int
    timeouts: int
    refused: int
    failures: int


class BreakerState(enum.StrEnum):
    """The states of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatistics:
    """`admitted = in_flight + succeeded + failed + slow + rejected_by_peer + ignored`; `refused` were not admitted.

    `generation` grows with every change of state; it `opened` so often of itself, and `adopted` an opening that another
    process told of; `would_have_opened` counts what metrics-only mode held back.
    """

    name: str
    state: BreakerState
    generation: int
    in_flight: int
    admitted: int
    refused: int
    succeeded: int
    failed: int
    slow: int
    rejected_by_peer: int
    ignored: int
    opened: int
    adopted: int
    would_have_opened: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicationStatistics:
    """`requests = called + joined + cached`; `called = in_flight + completed + failed + abandoned`.

    Also, `completed = entries + expired + evicted + oversized + unkept`. `abandoned` calls were cancelled because
    nobody waited for them any more; `expired`, `evicted` and `oversized` answers are not kept because of their age, for
    want of room, or because one alone would exceed it; `unkept` ones because another process keeps them already.
    """

    requests: int
    called: int
    joined: int
    cached: int
    in_flight: int
    completed: int
    failed: int
    abandoned: int
    entries: int
    size_bytes: int
    expired: int
    evicted: int
    oversized: int
    unkept: int

    @property
    def saved_ratio(self) -> float:
        """Return the share of requests that called nothing, 0-1; 0.0 before the first request."""
        return (self.joined + self.cached) / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """`opened = called + joined + cached`, and `opened = reading + completed + failed + left`.

    A stream that was `opened` called for its answer, joined a call under way, or got an answer that was kept. It is
    being read, was read to its end, raised what the call had failed with, or was left before either. `logs` are the
    texts that are being written or read now, `log_bytes` what they take together. Calls that were cut after their first
    piece had gone out are `interrupted`; those ended because nobody read on are `stalled`.
    """

    opened: int
    called: int
    joined: int
    cached: int
    reading: int
    completed: int
    failed: int
    left: int
    logs: int
    log_bytes: int
    interrupted: int
    stalled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatistics:
    """`in_flight <= limit` whenever a permit is granted.

    Of an adaptive limit also the latency that passes for no load, and that of the last window it has judged; None for a
    fixed one, and before the first window.
    """

    limit: int
    in_flight: int
    baseline_s: float | None = None
    recent_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStatistics:
    """`offered = waiting + granted + refused + shed + expired + cancelled`.

    `waiting_tenants` have something waiting; `overloaded` counts the lines, each of one tenant at one priority, that
    have not been empty for so long that their newest entry goes first.
    """

    waiting: int
    waiting_bytes: int
    waiting_tokens: int
    waiting_tenants: int
    overloaded: int
    offered: int
    granted: int
    refused: int
    shed: int
    expired: int
    cancelled: int
    limit: LimitStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatistics:
    """`granted = holding + released`; `used_bytes = held_bytes + sum(kept_bytes.values())`.

    `held_bytes` belong to the requests that are inside, `kept_bytes` to those who keep something, by name. `refused`
    requests did not fit under `max_bytes`; `freed_bytes` were dropped, so that others did.
    """

    max_bytes: int
    used_bytes: int
    held_bytes: int
    kept_bytes: Mapping[str, int]
    holding: int
    granted: int
    released: int
    refused: int
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetStatistics:
    """`asked = without_token + waiting + without_room + abandoned + retries_in_flight + retried`.

    `in_flight` attempts are running, `retries_in_flight` of them retried ones; `tokens` more retries could be granted
    now. Retries asked for were refused (`without_token`); or granted, and then are pausing before they begin
    (`waiting`), found too many others in flight when they were due (`without_room`), were cancelled before they began
    (`abandoned`), are running, or have ended (`retried`).
    """

    in_flight: int
    retries_in_flight: int
    waiting: int
    tokens: int
    asked: int
    without_token: int
    without_room: int
    abandoned: int
    retried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """`created = sessions + expired + evicted + deleted`, over the life of the store and all its users.

    `size_bytes` is what the sessions count for, which is below their ceiling. `trimmed_turns` were dropped to keep a
    session under its cap, and `conflicts` were changes that came too late for the version they were made for; both as
    this process has seen them.
    """

    sessions: int
    size_bytes: int
    created: int
    expired: int
    evicted: int
    deleted: int
    trimmed_turns: int
    conflicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStatistics:
    """`emitted = buffer.appended + buffer.refused`, and the sum of `counts`.

    Args:
        emitted: events that were decided.
        sink_failures: times that a sink raised when it was told of one.
        buffer: where the latest events are kept.
        counts: events by their name, such as ``breaker_opened``; a name that is missing did not happen.
    """

    emitted: int
    sink_failures: int
    buffer: BufferStatistics
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStatistics:
    """`due = hedged + without_credit + without_token + without_room`.

    Also, `hedged = running + won + lost + failed + abandoned`. `due` calls took longer than `delay_s`, which is None
    until enough `samples` of latencies are known. For those `hedged`, never more than the configured share of all
    `calls`, a second attempt was begun. The others had to go on with their first one: that share was used up
    (`without_credit`), or the retry budget had no token or no place in flight (`without_token`, `without_room`). Of
    those hedged, both attempts run (`running`), the second one answered and the first had not (`won`), the first one
    answered (`lost`), neither did (`failed`), or the caller was cancelled before that (`abandoned`).
    """

    calls: int
    due: int
    hedged: int
    running: int
    won: int
    lost: int
    failed: int
    abandoned: int
    without_credit: int
    without_token: int
    without_room: int
    samples: int
    delay_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStatistics:
    """`asked = refused + reserved + settled + cancelled`.

    `reserved` reservations are open, `settled` ones took `tokens_used` tokens together, `cancelled` ones were given
    back. So many requests and tokens could go through now, the latter below 0 while there is a debt; None where the
    limit has no such rate. Nothing goes through for `pause_left_s` more seconds, because the peer asked for that.
    """

    asked: int
    refused: int
    reserved: int
    settled: int
    cancelled: int
    tokens_used: int
    requests_left: float | None
    tokens_left: float | None
    pause_left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimitStatistics:
    """`asked = refused + reserved + settled + cancelled`, as of one limit, over all tenants that have one.

    Limits of `tracked` tenants are kept, `dropped` ones were as good as new when they made room for another, and
    `crowded_out` tenants found no room, which counts among `refused`.
    """

    asked: int
    refused: int
    reserved: int
    settled: int
    cancelled: int
    tokens_used: int
    tracked: int
    dropped: int
    crowded_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSlotStatistics:
    """`loaded + loading + unloading <= max_loaded`, and `asked = waiting + granted + refused + failed + cancelled`.

    Also, `begun = loading + loads + failed_loads + cancelled_loads` and `loads = loaded + unloading + unloads`. Of
    those who asked for a model, `refused` found no room in memory or in line, or the slots closed; `failed` heard that
    it could not be loaded. `using` of the granted uses go on now. `cancelled_loads` are those that nobody waited for
    any more; of the `unloads`, `failed_unloads` raised or took too long.
    """

    loaded: int
    loading: int
    unloading: int
    max_loaded: int
    using: int
    waiting: int
    asked: int
    granted: int
    refused: int
    failed: int
    cancelled: int
    begun: int
    loads: int
    failed_loads: int
    cancelled_loads: int
    unloads: int
    failed_unloads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendHealth:
    """One backend, as the router sees it.

    `rate_limit` is None where none is set; `hedge` is None where calls are not hedged; `latency_s`, what choosing this
    backend costs lately, where routing does not go by it, and before the first answer.
    """

    name: str
    retry_budget: RetryBudgetStatistics
    breaker: BreakerStatistics
    pool: PoolStatistics
    rate_limit: RateLimitStatistics | None = None
    hedge: HedgeStatistics | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatistics:
    """How long the last requests took, from the door to the reply.

    Args:
        p50_s: median, in seconds; None before the first reply.
        p99_s: 99th percentile, in seconds; None before the first reply.
        buffer: where the durations are kept.
    """

    p50_s: float | None
    p99_s: float | None
    buffer: BufferStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStatistics:
    """`received = in_flight + answered + invalid + refused + expired + failed + cancelled`.

    `invalid` were wrong as they stood; of `expired` the deadline passed; of `cancelled` the caller went away.
    `received_per_s` and `answered_per_s` are the rates of the last 60 s.
    """

    received: int
    in_flight: int
    answered: int
    invalid: int
    refused: int
    expired: int
    failed: int
    cancelled: int
    received_per_s: float
    answered_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStatistics:
    """`answers = passed + marked + rejected + failed + abandoned + in_repair`; `repaired <= passed + marked`.

    Of the answers that validators checked, `failed` are those at which a validator itself raised, and `abandoned` those
    whose request was cancelled while the backend was asked to mend them. `repairs` were asked for in all; `repaired`
    answers went out after one.
    """

    answers: int
    passed: int
    marked: int
    rejected: int
    failed: int
    abandoned: int
    in_repair: int
    repairs: int
    repaired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationStatistics:
    """`received = in_check + challenged + begun + taken + failed + refused`, the last added up over its reasons.

    Of the messages that came, `challenged` were answered by a challenge, `begun` began a session, and `taken` went on
    to the application; `failed` were not decided on, because nobody could say who is trusted, or the caller went away.
    `sessions` are there now, and so many messages outside of them are `remembered`.
    """

    received: int
    in_check: int
    challenged: int
    begun: int
    taken: int
    failed: int
    refused: Mapping[Disbelief, int]
    sessions: int
    remembered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAnswerStatistics:
    """`asked = waiting + led + alone + found + joined + failed + left`.

    Calls for which the store was to be `asked` either wait for it or for another process, were made for all who asked
    (`led`), or for this process `alone`, as the store was away or had nothing to tell; got an answer of another process
    that was there (`found`) or on its way (`joined`); `failed` with what its call failed with; or were cancelled before
    (`left`).

    Also, `led = holding + told + released + fenced + unsaid`: how each claim ended. The others were told, or the key
    was given up; another process may have taken it over, as the lease was over; or the store was away. `taken_over`
    claims had been another process's before. `unreadable` outcomes were not used; `unshared` answers were too large, or
    could not be written.
    """

    asked: int
    waiting: int
    led: int
    alone: int
    found: int
    joined: int
    failed: int
    left: int
    holding: int
    told: int
    released: int
    fenced: int
    unsaid: int
    taken_over: int
    unreadable: int
    unshared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStoreStatistics:
    """`asked = in_flight + answered + failed + cancelled`; `lost = rejoined`, and one more while it is away.

    What would have been asked while the store was away is `skipped`. `emptied` is how often it lost what it held.
    """

    name: str
    joined: bool
    asked: int
    in_flight: int
    answered: int
    failed: int
    cancelled: int
    skipped: int
    lost: int
    rejoined: int
    emptied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRateStatistics:
    """`terms` have begun, and at most one of them goes on: `joined`.

    The limits are shared by `processes`, as far as is known; of each burst, this one holds a `share` without having
    asked. It tells the store of `followed` limits, and has done so `told` times in all.
    """

    joined: bool
    processes: int
    share: float
    followed: int
    told: int
    terms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBudgetStatistics:
    """This process shares `budgets` retry budgets; `processes` share the one told of last, as far as is known.

    It has told the store of one of them `told` times.
    """

    processes: int
    budgets: int
    told: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryStatistics:
    """`asked = asking + changed + unchanged + failed + cancelled`.

    `joined` says that the last question was answered. Of the questions, `changed` brought something new, `unchanged`
    nothing, and `failed` no answer. `reset` is how often an answer was older than the one before, so that the next
    question waited for nothing.
    """

    joined: bool
    asked: int
    asking: int
    changed: int
    unchanged: int
    failed: int
    cancelled: int
    reset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationStatistics:
    """`called = calling + registered + refreshed + forgotten + deregistered + failed + cancelled`.

    `listed` says that the registry lists this instance, as far as it knows. Of its calls, `registered` put it there,
    `refreshed` kept it there, `forgotten` found that it was not known, and `deregistered` took it away; `failed` ones
    did nothing that is known of.
    """

    service: str
    instance: str
    listed: bool
    called: int
    calling: int
    registered: int
    refreshed: int
    forgotten: int
    deregistered: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryStatistics:
    """`appeared = instances + vanished`.

    So many `instances` of the service are in use, and were seen to appear and to vanish; `crowded_out` are listed
    beyond the bound and not used.
    """

    service: str
    instances: int
    appeared: int
    vanished: int
    crowded_out: int
    query: QueryStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStatistics:
    """What the registry is used for: our own registration, None where there is none, and services that are followed."""

    registration: RegistrationStatistics | None
    discoveries: tuple[DiscoveryStatistics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStatistics:
    """What became of what a store of parameters said: `query.changed = applied + refused + unused`.

    `unused` changed no setting that is in force: it said the same in another way, or a source that wins over it says
    otherwise.
    """

    query: QueryStatistics
    applied: int
    refused: int
    unused: int


class ServiceState(enum.StrEnum):
    """Whether the service takes requests."""

    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Everything at one moment.

    Args:
        state: whether requests are taken.
        uptime_s: seconds since the service was opened.
        requests: how many there were, and how they ended.
        latency: how long the last requests that were answered took.
        tenants: their rate limits.
        admission: the queue at the door.
        deduplication: what duplicates saved.
        streams: how many replies were read while they came, and what their texts take now.
        sessions: the conversations that are kept.
        memory: what requests hold and what is kept, under the ceiling of the process.
        output: what became of the answers that validators checked; None where there are no validators.
        backends: one entry for each, in routing order.
        models: those of them that have to be loaded, and who waits for one.
        registry: where this process is registered and finds others; None where there is no registry.
        parameters: the layer of the settings that is followed; None where there is none.
        shared: the store that processes share; None where there is none.
        shared_answers: how calls were answered among them; None where answers are not shared.
        shared_rates: how limits are shared among them; None where they are not.
        shared_budgets: how retry budgets are shared among them; None where they are not.
        events: what was decided, by name.
    """

    state: ServiceState
    uptime_s: float
    requests: RequestStatistics
    latency: LatencyStatistics
    tenants: TenantLimitStatistics
    admission: AdmissionStatistics
    deduplication: DeduplicationStatistics
    streams: StreamStatistics
    sessions: SessionStatistics
    memory: MemoryStatistics
    output: OutputStatistics | None
    backends: tuple[BackendHealth, ...]
    models: ModelSlotStatistics
    registry: RegistryStatistics | None
    parameters: ParameterStatistics | None
    shared: SharedStoreStatistics | None
    shared_answers: SharedAnswerStatistics | None
    shared_rates: SharedRateStatistics | None
    shared_budgets: SharedBudgetStatistics | None
    events: EventStatistics
