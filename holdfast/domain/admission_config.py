"""What can be set about admission.

Responsibility: the numbers of one admission queue, with their defaults and where these come from.
Guarantees: a value that exists is valid.
Not responsible for: what the queue does with them: see `holdfast.domain.admission`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.domain.validation import require, require_at_least, require_positive

__all__ = ["AdmissionConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionConfig:
    """What may wait, who gets how much, and what happens when there is too much of it.

    Args:
        max_waiting: entries that may wait, of all tenants together; default 1000, unmeasured.
        max_bytes: bytes of the entries that wait, together; default 64 MiB, unmeasured.
        max_tokens: estimated tokens of the entries that wait, together; default 20,000,000, which is about what
            `max_bytes` of text are, with the answers; unmeasured.
        ageing_s: seconds of waiting that are worth one level of priority: bulk work, four levels below critical, goes
            before critical work that comes more than four times as long after it; default 5 s, unmeasured.
        weights: share of each tenant beside others that wait at the same priority, by name; 1 for those not named.
        burst_tokens: how much of the share that it left unused, while others waited, a tenant gets before them once it
            comes back, in tokens for a weight of 1; 0 for none. Default 65,536, measured in adr/0016.
        overload_after_s: seconds for which a tenant's line at one priority is not empty, and in the last two thirds of
            which more comes than is served, before it passes for overloaded, and its newest entry goes first until it
            is empty; default 10 s, measured in adr/0017.
        overload_timeout_s: seconds that an entry may wait in an overloaded line before it is shed; before one has
            waited for as long, no line is overloaded. Default 5 s, measured in adr/0017.

    Raises:
        ConfigurationError: if a bound is below 1, a weight or a time is not above 0, or `burst_tokens` is below 0.
    """

    max_waiting: int = 1000
    max_bytes: int = 64 * 1024 * 1024
    max_tokens: int = 20_000_000
    ageing_s: float = 5.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    burst_tokens: int = 65_536
    overload_after_s: float = 10.0
    overload_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        require_at_least("admission.max_waiting", self.max_waiting, 1)
        require_at_least("admission.max_bytes", self.max_bytes, 1)
        require_at_least("admission.max_tokens", self.max_tokens, 1)
        require_positive("admission.ageing_s", self.ageing_s)
        for tenant, weight in self.weights.items():
            require(
                math.isfinite(weight) and weight > 0,
                f"{tenant!r} must weigh a finite number above 0, not {weight!r}",
                path="admission.weights",
            )
        require_at_least("admission.burst_tokens", self.burst_tokens, 0)
        require_positive("admission.overload_after_s", self.overload_after_s)
        require_positive("admission.overload_timeout_s", self.overload_timeout_s)
