"""Leaves a failing peer alone for a while, and finds out carefully whether it is well again.

Responsibility: admit or refuse each call, and learn from how it ended.
Guarantees: an open breaker always ends by time; at most one probe is in flight; every permit settles exactly once, also
    under cancellation; the result of an earlier generation changes nothing but the totals; nothing runs in the
    background, so a breaker that nobody asks costs nothing.
Not responsible for: when to trip (the `TripPolicy` port), retries, and time limits of calls.
Sources: M. Nygard, "Release It!", chapter 5; failsafe-go `circuitbreaker`; resilience4j `CircuitBreakerStateMachine`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, assert_never

from holdfast.domain.breaker_config import BreakerConfig, BreakerMode
from holdfast.domain.breaker_peers import Peers, Probe
from holdfast.domain.breaker_states import Closed, Disabled, ForcedOpen, HalfOpen, MetricsOnly, Move, Open, State
from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.compose import Policy
from holdfast.domain.deadline import Deadline
from holdfast.domain.opening_time import OpeningTime
from holdfast.domain.outcomes import SUCCEEDED, Classifier, classify
from holdfast.domain.rate_trip_policy import RateTripPolicy
from holdfast.ports.breaker_store import BreakerView, Opening, ProbeTerms
from holdfast.ports.clock import Clock
from holdfast.ports.errors import BreakerOpenError, DeadlineExceededError
from holdfast.ports.events import BreakerRefused, EventSink
from holdfast.ports.outcome import Outcome, Verdict
from holdfast.ports.statistics import BreakerState, BreakerStatistics
from holdfast.ports.trip import TripPolicy

__all__ = ["BreakerConfig", "BreakerMode", "CircuitBreaker", "Permit"]

T = TypeVar("T")

_NOT_JUDGED: Final = Verdict(outcome=Outcome.IGNORED)
_CUT_AT_DEADLINE: Final = Verdict(outcome=Outcome.FAILURE)
_SHARED: Final = (BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN)


class Permit:
    """The right to make one call. Its identity is its id; hand it back with `CircuitBreaker.settle`."""

    __slots__ = ("admitted_at_s", "generation", "probe")

    def __init__(self, generation: int, admitted_at_s: float) -> None:
        self.generation = generation
        self.admitted_at_s = admitted_at_s
        self.probe: Probe | None = None


class CircuitBreaker:
    """Guards the calls to one peer.

    Args:
        name: what errors and statistics call it.
        config: see `BreakerConfig`.
        clock: monotonic time.
        random: returns a number in [0, 1); called once for each opening.
        trip_policy: when to open; None for `RateTripPolicy(config)`. The breaker owns it alone.
        classify: what an error of the work means.
        events: told whenever other calls are let through than before, and of each call that is refused.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> clock = ManualClock()
        >>> breaker = CircuitBreaker("echo", BreakerConfig(failures_in_row=1), clock=clock, random=lambda: 1.0)
        >>> breaker.settle(breaker.acquire(), Verdict(outcome=Outcome.FAILURE))
        >>> breaker.statistics().state, breaker.try_acquire()
        (<BreakerState.OPEN: 'open'>, None)
        >>> clock.advance(5.0)
        >>> breaker.statistics().state
        <BreakerState.HALF_OPEN: 'half_open'>
    """

    def __init__(  # noqa: PLR0913 - the name, the numbers, and one for each port or rule
        self,
        name: str,
        config: BreakerConfig = BreakerConfig(),
        *,
        clock: Clock,
        random: Callable[[], float],
        trip_policy: TripPolicy | None = None,
        classify: Classifier = classify,
        events: EventSink | None = None,
    ) -> None:
        self.name = name
        self._config = config
        self._clock = clock
        self._trip_policy = trip_policy if trip_policy is not None else RateTripPolicy(config)
        self._classify = classify
        self._events = events
        self._opening_time = OpeningTime(config, random)
        self._in_flight: set[Permit] = set()
        self._admitted = self._refused = 0
        self._succeeded = self._failed = self._slow = self._rejected_by_peer = self._ignored = 0
        self._opened = self._adopted = self._would_have_opened = 0
        self._peers: Peers | None = None
        self._generation = 0
        self._state: State = Disabled()
        self.switch_to(config.mode)

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: Deadline | None = None) -> T:
        """Return what `work` returns, unless the breaker refuses.

        Args:
            work: the call to the peer.
            deadline: of the whole request; whoever set it cancels the work then. Once it is lifted, how long the work
                takes is not judged.

        Raises:
            BreakerOpenError: if the call is not admitted; `work` has not begun.
            Exception: whatever `work` raises, the same object.

        Cancellation: counts as nothing and leaves nothing behind, unless the deadline has passed: then the peer was
            too slow for it, and the call counts as a failure (adr/0011).
        """
        permit = self.acquire()
        if self._peers is not None and self._state.name is BreakerState.HALF_OPEN:
            await self._ask(self._peers, permit)
        verdict, error = _NOT_JUDGED, None
        try:
            result = await work()
            verdict = SUCCEEDED
            if deadline is not None and deadline.is_lifted:
                permit.admitted_at_s = math.inf  # not slow: its time was that of its readers
        except Exception as raised:
            verdict, error = self._classify(raised), raised
            raise
        except BaseException as raised:
            if deadline is not None and is_cancellation(raised) and deadline.has_passed():
                verdict, error = _CUT_AT_DEADLINE, DeadlineExceededError()
            raise
        else:
            return result
        finally:
            self.settle(permit, verdict, error=error)
            error = None  # or this frame and the error's traceback would keep each other alive

    def acquire(self) -> Permit:
        """Return a permit for one call; settle it in every case. A probe that begins so asks no other process.

        Raises:
            BreakerOpenError: if the breaker refuses; `retry_after_s` is None when it depends on a probe or an operator.

        Complexity: O(1).
        """
        permit = self.try_acquire()
        if permit is None:
            raise self._refusal()
        return permit

    def try_acquire(self) -> Permit | None:
        """Return a permit for one call, or None if the breaker refuses."""
        now_s = self._clock.monotonic_s()
        state = self._state_at(now_s)
        if not state.admit(now_s):
            self._refuse(now_s)
            return None
        permit = Permit(self._generation, now_s)
        self._in_flight.add(permit)
        self._admitted += 1
        return permit

    def settle(self, permit: Permit, verdict: Verdict, *, error: Exception | None = None) -> None:
        """Say how the call of `permit` ended.

        A success that took `slow_after_s` or longer, counted from when the permit was given, is slow. A permit that is
        settled already, or is another breaker's, changes nothing.

        Args:
            permit: from `acquire` or `try_acquire`.
            verdict: how it ended; `retry_after_s` makes an opening that it causes at least so long.
            error: what it raised, for the trip policy.

        Complexity: O(1).
        """
        try:
            self._in_flight.remove(permit)
        except KeyError:
            return
        now_s = self._clock.monotonic_s()
        outcome = verdict.outcome
        slow_after_s = self._config.slow_after_s
        if outcome is Outcome.SUCCESS and slow_after_s is not None and now_s - permit.admitted_at_s >= slow_after_s:
            outcome = Outcome.SLOW
        self._count(outcome)
        state = self._state_at(now_s)
        if permit.generation == self._generation:
            if outcome is Outcome.IGNORED:
                state.give_back()
            else:
                self._make(state.settle(outcome, now_s=now_s, error=error), now_s, verdict)
        if permit.probe is not None:
            permit.probe.settle(outcome)

    def switch_to(self, mode: BreakerMode) -> None:
        """Let `mode` decide from now on. AUTOMATIC begins closed, with an empty window."""
        now_s = self._clock.monotonic_s()
        match mode:
            case BreakerMode.AUTOMATIC:
                self._make(Move.CLOSE, now_s)
            case BreakerMode.FORCED_OPEN:
                self._enter(ForcedOpen(), now_s)
            case BreakerMode.DISABLED:
                self._enter(Disabled(), now_s)
            case BreakerMode.METRICS_ONLY:
                self._enter(MetricsOnly(self._trip_policy, now_s=now_s), now_s)
            case _:
                assert_never(mode)

    def reconfigure(self, config: BreakerConfig, *, trip_policy: TripPolicy | None = None) -> None:
        """Go by other numbers from now on.

        A closed breaker begins with an empty window. One that is open or half-open ends that by the numbers with which
        it began, and a mode that an operator chose stays unless the configuration names another one than before.

        Args:
            config: in place of the one before.
            trip_policy: as for a new breaker, and likewise of this one alone.
        """
        now_s = self._clock.monotonic_s()
        state, mode = self._state_at(now_s), self._config.mode
        self._config = config
        self._trip_policy = trip_policy if trip_policy is not None else RateTripPolicy(config)
        self._opening_time.reconfigure(config)
        if config.mode is not mode:
            self.switch_to(config.mode)
        elif isinstance(state, MetricsOnly):
            self.switch_to(BreakerMode.METRICS_ONLY)
        elif isinstance(state, Closed):
            self._enter(Closed(self._trip_policy, now_s=now_s), now_s)

    def share(self, peers: Peers | None) -> None:
        """Ask `peers` before each probe from now on, and let them know of each opening; None for nobody."""
        self._peers = peers

    def follow(self, view: BreakerView) -> None:
        """Be what the other processes say; a mode that an operator chose stays."""
        now_s = self._clock.monotonic_s()
        state = self._state_at(now_s)
        if state.name not in _SHARED:
            return
        if view.number:
            closed_at_s = None if view.closed_s is None else now_s - view.closed_s
            self._opening_time.recall(view.earlier, closed_at_s=closed_at_s)
        if view.state is BreakerState.OPEN and state.name is BreakerState.OPEN:
            state.ends_at_s = now_s + view.lasts_s
        elif view.state is BreakerState.OPEN:
            self._adopted += 1
            self._enter(Open(ends_at_s=now_s + view.lasts_s), now_s)
        elif view.state is not state.name:
            closed = view.state is BreakerState.CLOSED
            self._enter(Closed(self._trip_policy, now_s=now_s) if closed else HalfOpen(self._config), now_s)

    def opening(self) -> Opening:
        """Return how much is left of the latest opening, and what it does to the next."""
        now_s = self._clock.monotonic_s()
        left_s = self._state_at(now_s).retry_after_s(now_s)
        return Opening(lasts_s=left_s or 0.0, earlier=self._opening_time.earlier)

    def probe_terms(self) -> ProbeTerms:
        """Return what a probe is for; what it opens the breaker for is the latest opening, while that lasts."""
        config, reopening = self._config, self.opening()
        if reopening.lasts_s == 0.0:
            lasts_s, earlier = self._opening_time.plan(now_s=self._clock.monotonic_s())
            reopening = Opening(lasts_s=lasts_s, earlier=earlier)
        return ProbeTerms(
            lease_s=config.probe_timeout_s,
            successes=config.probe_successes,
            failures_allowed=config.probe_calls - config.probe_successes,
            reopening=reopening,
        )

    def statistics(self) -> BreakerStatistics:
        """Return the totals since the breaker was made, and its state now."""
        return BreakerStatistics(
            name=self.name,
            state=self._state_at(self._clock.monotonic_s()).name,
            generation=self._generation,
            in_flight=len(self._in_flight),
            admitted=self._admitted,
            refused=self._refused,
            succeeded=self._succeeded,
            failed=self._failed,
            slow=self._slow,
            rejected_by_peer=self._rejected_by_peer,
            ignored=self._ignored,
            opened=self._opened,
            adopted=self._adopted,
            would_have_opened=self._would_have_opened,
        )

    async def _ask(self, peers: Peers, permit: Permit) -> None:
        try:
            answer = await peers.agree()
        except BaseException:
            self.settle(permit, _NOT_JUDGED)
            raise
        now_s = self._clock.monotonic_s()
        state = self._state_at(now_s)
        permit.admitted_at_s = now_s  # the peer's time begins here
        permit.probe = None if isinstance(answer, bool) else answer
        if permit.generation == self._generation:
            if answer is not False:
                return
            state.give_back()
        elif state.name is BreakerState.CLOSED:
            permit.generation = self._generation
            return
        self._in_flight.remove(permit)
        self._admitted -= 1
        self._refuse(now_s)
        if permit.probe is not None:
            permit.probe.settle(Outcome.IGNORED)
        raise self._refusal()

    def _refuse(self, now_s: float) -> None:
        self._refused += 1
        if self._events is not None:
            self._events.emit(BreakerRefused(breaker=self.name, retry_after_s=self._state.retry_after_s(now_s)))

    def _refusal(self) -> BreakerOpenError:
        return BreakerOpenError(breaker=self.name, retry_after_s=self._state.retry_after_s(self._clock.monotonic_s()))

    def _state_at(self, now_s: float) -> State:
        # A state that ended while nobody asked has led on at the moment it ended, not now.
        while now_s >= self._state.ends_at_s:
            self._make(self._state.move_at_end, self._state.ends_at_s)
        return self._state

    def _make(self, move: Move, now_s: float, cause: Verdict | None = None) -> None:
        match move:
            case Move.STAY:
                pass
            case Move.OPEN:
                self._opened += 1
                self._enter(Open(ends_at_s=now_s + self._opening_time.next_s(now_s=now_s, cause=cause)), now_s)
                if self._peers is not None:
                    self._peers.notice()
            case Move.HALF_OPEN:
                self._enter(HalfOpen(self._config), now_s)
            case Move.CLOSE:
                self._opening_time.close(now_s=now_s)
                self._enter(Closed(self._trip_policy, now_s=now_s), now_s)
            case Move.NOTE_OPENING:
                self._would_have_opened += 1
            case _:
                assert_never(move)

    def _enter(self, state: State, now_s: float) -> None:
        before = self._state
        self._generation += 1
        self._state = state
        if self._events is not None:
            event = state.told_as(self.name, now_s=now_s)
            if event != before.told_as(self.name, now_s=now_s):
                self._events.emit(event)

    def _count(self, outcome: Outcome) -> None:
        match outcome:
            case Outcome.SUCCESS:
                self._succeeded += 1
            case Outcome.FAILURE:
                self._failed += 1
            case Outcome.SLOW:
                self._slow += 1
            case Outcome.REJECTED_BY_PEER:
                self._rejected_by_peer += 1
            case Outcome.IGNORED:
                self._ignored += 1
            case _:
                assert_never(outcome)


_: Final[type[Policy]] = CircuitBreaker
