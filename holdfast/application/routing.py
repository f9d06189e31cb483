"""Which backend answers.

Responsibility: the order in which routes are tried for each request, and the fallback from one to the next, for calls
    that stream as well; the routes themselves may come and go.
Guarantees: a caller's mistake is raised at once and tried nowhere else, and so is a failure once a piece of a stream
    has gone out, or a request that is not idempotent has been put to a backend; when every route fails, the last real
    failure surfaces, with a note for each of the others; a route that was removed is asked for nothing new.
Not responsible for: what stands around the calls of one backend: see `holdfast.application.route`; the deadline, which
    the door enforces, and admission.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final

from holdfast.application.route import Route, Tally
from holdfast.domain.cancellation import is_cancellation
from holdfast.domain.deadline import Deadline
from holdfast.domain.outcomes import classify
from holdfast.domain.route_choice import RouteChoice, RoutingStrategy
from holdfast.domain.route_load import Journey
from holdfast.domain.stream_outlet import Outlet
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendRequestError,
    NoInstanceError,
    RefusedError,
    RequestError,
)
from holdfast.ports.events import CredentialsRefused, EventSink, FellBack, RouteChosen
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import BackendHealth

__all__ = ["FallbackRouter", "Routed"]

_RETRY_AFTER_S: Final = 1.0
"""A registry is asked so often at most on average, so that nothing is known before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A completion, and what it took to get it.

    Args:
        completion: what the backend said.
        route: to the one that said it.
        attempts: calls made, over all backends.
    """

    completion: Completion
    route: Route
    attempts: int


class FallbackRouter:
    """Tries the routes in turn until one answers.

    Args:
        routes: those that stay.
        choice: in which order they are tried for each request; of the same names, and those of the backends that are
            discovered.
        events: told each time that a backend is put first, and that another one is tried.
    """

    def __init__(self, routes: Sequence[Route], *, choice: RouteChoice, events: EventSink | None = None) -> None:
        self._routes = {route.name: route for route in routes}
        self._choice = choice
        self._events = events

    async def complete(
        self,
        prompt: Prompt,
        *,
        deadline: Deadline,
        key: str = "",
        idempotent: bool = True,
        outlet: Outlet | None = None,
    ) -> Routed:
        """Return the first answer, and stream it to `outlet` where there is one.

        Args:
            prompt: what to ask.
            deadline: of the whole request; whoever set it cancels the call then.
            key: what shall always find the same backend, where routing is sticky.
            idempotent: whether it may be put to a backend more than once, and to more than one.
            outlet: where the text goes while it comes.

        Raises:
            BackendRequestError: the backend found the request itself wrong; no other backend was asked.
            StreamInterruptedError: the backend failed after something had gone out; no other backend was asked.
            SlowReaderError: the stream was ended because nobody read on.
            NoInstanceError: every backend is discovered, and no instance is known.
            Exception: the last failure of a backend, or the last refusal if none was even asked; its notes tell what
                the other backends said.

        Cancellation: leaves the backend that is being asked; what was measured of the request is dropped, unless the
            deadline has passed.
        """
        tally = Tally()
        failures: list[tuple[str, Exception]] = []
        journey = self._choice.depart()
        with nullcontext() if journey is None else _charging(journey, deadline):
            for name in self._order(key):
                route = self._routes.get(name)
                if route is None:
                    continue  # it vanished while others were asked
                if failures:
                    self._tell_fall_back(*failures[-1], name)
                if journey is not None:
                    journey.turn_to(name)
                try:
                    completion = await route.complete(
                        prompt, deadline=deadline, tally=tally, idempotent=idempotent, outlet=outlet
                    )
                except (BackendRequestError, RequestError):
                    raise
                except Exception as error:  # noqa: BLE001 - re-raised below, once no other backend is left
                    failures.append((name, error))
                    self._tell_failure(name, error)
                    took_effect = (tally.attempts and not idempotent) or (outlet is not None and outlet.sent_bytes)
                    if took_effect or deadline.has_passed():
                        break
                else:
                    return Routed(completion=completion, route=route, attempts=tally.attempts)
            if not failures:
                raise NoInstanceError(backends=self._choice.discovered, retry_after_s=_RETRY_AFTER_S)
            try:
                raise _foremost(failures)
            finally:
                failures.clear()  # or this frame and the errors' tracebacks would keep each other alive

    def add(self, backend: str, route: Route) -> None:
        """Let `route`, to an instance of `backend`, take requests from now on."""
        self._routes[route.name] = route
        self._choice.add(backend, route.name)

    def remove(self, backend: str, route: Route) -> None:
        """Let `route` take no new requests; nothing happens if it takes none already."""
        if self._routes.get(route.name) is route:
            del self._routes[route.name]
            self._choice.remove(backend, route.name)

    def health(self) -> tuple[BackendHealth, ...]:
        """Return what each backend's mechanisms count, in the order of the settings."""
        loads = self._choice.loads
        return tuple(
            replace(health, latency_s=loads[health.name].cost_s()) if loads else health
            for health in (self._routes[name].health() for name in self._choice.names)
        )

    def _order(self, key: str) -> Sequence[str]:
        order = self._choice.order(key)
        if order and self._events is not None and self._choice.strategy is not RoutingStrategy.ORDERED:
            self._events.emit(RouteChosen(backend=order[0], strategy=self._choice.strategy.value))
        return order

    def _tell_failure(self, name: str, error: Exception) -> None:
        if self._events is not None and isinstance(error, BackendAuthenticationError):
            self._events.emit(CredentialsRefused(backend=name))

    def _tell_fall_back(self, failed: str, error: Exception, following: str) -> None:
        if self._events is not None:
            self._events.emit(FellBack(failed=failed, following=following, error=type(error).__name__))


@contextmanager
def _charging(journey: Journey, deadline: Deadline) -> Generator[None]:
    """End `journey` with the block, and charge it to the backends if that says something about them."""
    is_answer: bool | None = None
    try:
        yield
        is_answer = True
    except Exception as error:
        is_answer = None if classify(error).outcome is Outcome.IGNORED else False
        raise
    except BaseException as raised:
        # Cut at its deadline, the request was too slow for it; any other cancellation says nothing (adr/0011).
        is_answer = False if is_cancellation(raised) and deadline.has_passed() else None
        raise
    finally:
        # Lifted, the time was that of whoever read the stream.
        journey.end(is_answer=None if deadline.is_lifted else is_answer)


def _foremost(failures: list[tuple[str, Exception]]) -> Exception:
    real = [failure for failure in failures if not isinstance(failure[1], RefusedError)]
    chosen, foremost = (real or failures)[-1]
    for name, error in failures:
        if name != chosen:
            foremost.add_note(f"backend {name!r}: {type(error).__name__}: {error}")
    return foremost
