"""Which backend is tried first, and which ones after it.

Responsibility: put the backends in an order for each request.
Guarantees: every backend is in each order once, or every instance of it where these come and go; one that weighs
    nothing comes after all that weigh something; the same key gives the same order in every process, and adding a
    backend, or an instance of one, moves only the keys that it takes over; nothing awaits.
Not responsible for: trying them in that order, and whether a backend is well: an open breaker is passed over by falling
    back (`holdfast.application.routing`).
Sources: weighted choice without replacement: P. Efraimidis, P. Spirakis, "Weighted random sampling with a reservoir",
    Information Processing Letters 97(5), 2006; the same with a hash for chance is weighted rendezvous hashing, as in
    IETF draft-ietf-bess-weighted-hrw; two choices: M. Mitzenmacher, "The Power of Two Choices in Randomized Load
    Balancing", 1996, with the load of Finagle's `PeakEwma`; why these: adr/0021.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from holdfast.domain.route_load import Journey, RouteLoad
from holdfast.domain.validation import require, require_positive
from holdfast.ports.clock import Clock

__all__ = ["RouteChoice", "RoutingConfig", "RoutingStrategy", "check_weights"]

_HASH_BITS: Final = 53
"""As many as a float holds exactly."""


class RoutingStrategy(enum.StrEnum):
    """How the backend is chosen that is tried first."""

    ORDERED = "ordered"
    """Always the same order: that of the settings."""
    WEIGHTED = "weighted"
    """By chance, in proportion to the weights."""
    STICKY = "sticky"
    """By the request's key, in proportion to the weights: the same session, or else tenant, always the same backend."""
    FASTEST = "fastest"
    """Of two taken by chance, the one whose requests are over sooner, for those that are with it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingConfig:
    """In which order backends are tried.

    Args:
        strategy: see `RoutingStrategy`. Default ordered.
        weights: for weighted and sticky, how often each backend comes first, relative to the others; from 0, which is
            for backends that are only fallen back to. A backend that is not named weighs 1.
        ewma_decay_s: for fastest, seconds after which a latency weighs 1/e of what it did. Default 10, Finagle's
            `decayTime`.

    Raises:
        ConfigurationError: if a value is out of its range, or weights are given and nothing reads them.
    """

    strategy: RoutingStrategy = RoutingStrategy.ORDERED
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    ewma_decay_s: float = 10.0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            require(
                math.isfinite(weight) and weight >= 0,
                f"{name!r} must weigh a finite number of at least 0, not {weight!r}",
                path="routing.weights",
            )
        require(
            not self.weights or self.strategy in {RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY},
            f"are read by weighted and sticky only, and routing.strategy is {self.strategy.value}; leave one out",
            path="routing.weights",
        )
        require_positive("routing.ewma_decay_s", self.ewma_decay_s)


def check_weights(config: RoutingConfig, backends: Collection[str]) -> None:
    """Refuse weights that do not fit the backends.

    Raises:
        ConfigurationError: if one is for a backend that does not exist, or no backend weighs anything.
    """
    for name in config.weights:
        require(
            name in backends,
            f"names {name!r}, which is none of the backends: {', '.join(map(repr, backends))}",
            path="routing.weights",
        )
    require(
        any(config.weights.get(name, 1.0) for name in backends),
        "all of the backends weigh 0, so that none could come first; let one weigh more",
        path="routing.weights",
    )


class RouteChoice:
    """Puts backends in order. For one event loop.

    Args:
        backends: their names, in the order of the settings; at least one.
        config: see `RoutingConfig`.
        discovered: those of them whose instances come and go; they have none at first. Instances share the weight of
            their backend, and which of them comes first is chance, or the key's choice where routing is sticky; fastest
            chooses among the instances of all backends.
        clock: monotonic time.
        random: returns a number in [0, 1).

    Raises:
        ConfigurationError: if the weights do not fit the backends.

    Attributes:
        strategy: as configured.
        loads: of each backend or instance, by its name; empty unless the strategy goes by them.

    Example:
        >>> from holdfast.testing import ManualClock
        >>> config = RoutingConfig(strategy=RoutingStrategy.STICKY, weights={"new": 0.1})
        >>> choice = RouteChoice(["old", "new"], config, clock=ManualClock(), random=lambda: 0.5)
        >>> sum(choice.order(f"session {number}")[0] == "new" for number in range(1000))
        97
        >>> choice.order("session 1") == choice.order("session 1")
        True
    """

    def __init__(
        self,
        backends: Sequence[str],
        config: RoutingConfig = RoutingConfig(),
        *,
        discovered: Collection[str] = (),
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        check_weights(config, backends)
        self.strategy = config.strategy
        self.loads: dict[str, RouteLoad] = {}
        self._backends = tuple(backends)
        self._discovered = frozenset(discovered)
        self._names: dict[str, tuple[str, ...]] = dict.fromkeys(backends, ())
        self._weights = {name: config.weights.get(name, 1.0) for name in backends}
        self._ewma_decay_s = config.ewma_decay_s
        self._clock = clock
        self._random = random
        for name in backends:
            if name not in self._discovered:
                self.add(name, name)

    @property
    def discovered(self) -> tuple[str, ...]:
        """The backends whose instances come and go."""
        return tuple(name for name in self._backends if name in self._discovered)

    @property
    def names(self) -> Sequence[str]:
        """What there is now: backends and instances, in the order of the settings."""
        return [name for names in self._names.values() for name in names]

    def add(self, backend: str, instance: str) -> None:
        """Let `instance`, whose name is that of no other, be in every order from now on."""
        self._names[backend] = (*self._names[backend], instance)
        if self.strategy is RoutingStrategy.FASTEST:
            self.loads[instance] = RouteLoad(self._ewma_decay_s, self._clock)

    def remove(self, backend: str, instance: str) -> None:
        """Let `instance` be in no order any more; requests that asked it are counted out as they end."""
        self._names[backend] = tuple(name for name in self._names[backend] if name != instance)
        self.loads.pop(instance, None)

    def order(self, key: str) -> Sequence[str]:
        """Return the backends, or their instances, in the order in which they are to be tried for one request.

        Args:
            key: what shall always find the same one; only sticky reads it.

        Complexity: O(n log n) in the backends and instances; O(1) for ordered ones none of which are discovered.
        """
        match self.strategy:
            case RoutingStrategy.ORDERED:
                return self._instances_of(self._backends, lambda _: self._random())
            case RoutingStrategy.WEIGHTED:
                return self._by_weight(lambda _: self._random())
            case RoutingStrategy.STICKY:
                return self._by_weight(lambda name: _hash_ratio(key, name))
            case RoutingStrategy.FASTEST:
                return self._by_load()
            case _:
                assert_never(self.strategy)

    def depart(self) -> Journey | None:
        """Return what measures one request on its way; None where nothing is measured."""
        return Journey(self.loads, self._clock) if self.strategy is RoutingStrategy.FASTEST else None

    def _by_weight(self, chance: Callable[[str], float]) -> Sequence[str]:
        # A race: each backend arrives after a time that is exponential with its weight as the rate. It is first with a
        # probability in proportion to that, and so on among the rest. Sorting keeps those that never arrive in order.
        arrivals = {
            name: -math.log(1.0 - chance(name)) / weight if weight else math.inf
            for name, weight in self._weights.items()
        }
        return self._instances_of(sorted(arrivals, key=arrivals.__getitem__), chance)

    def _instances_of(self, backends: Sequence[str], chance: Callable[[str], float]) -> Sequence[str]:
        """Return `backends` with their instances in their places."""
        if not self._discovered:
            return backends
        # Drawn apart from the race of the backends, so that an instance more or less moves no key to another backend.
        return [name for backend in backends for name in sorted(self._names[backend], key=chance)]

    def _by_load(self) -> Sequence[str]:
        values = {name: load.value() for name, load in self.loads.items()}
        if not values:
            return ()
        by_load = sorted(values, key=values.__getitem__)
        first = min(self._two_by_chance(tuple(values)), key=values.__getitem__)
        by_load.remove(first)
        return [first, *by_load]

    def _two_by_chance(self, names: Sequence[str]) -> Sequence[str]:
        count = len(names)
        one = int(self._random() * count)
        if count == 1:
            return names
        other = int(self._random() * (count - 1))
        return names[one], names[other + (other >= one)]


def _hash_ratio(key: str, name: str) -> float:
    """Return a number in [0, 1) that depends on both, and on nothing else."""
    digest = hashlib.sha256(f"{key}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return math.ldexp(int.from_bytes(digest[:8], "big") >> (64 - _HASH_BITS), -_HASH_BITS)
