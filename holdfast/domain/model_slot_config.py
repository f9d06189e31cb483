"""What can be set about model slots.

Responsibility: the numbers, with their defaults and where these come from.
Guarantees: a value that exists is valid.
Not responsible for: what the slots do with them: see `holdfast.domain.model_slot`; how much memory stays free: see
    `holdfast.domain.host_guard`.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.validation import require_at_least, require_positive

__all__ = ["ModelSlotConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSlotConfig:
    """How many models are in memory, and how long each step of a change may take.

    Args:
        max_loaded: models in memory at once, those that come or go included, from 1; default 1: a model is chosen to
            fill the machine.
        max_waiters: callers that may wait at once, from 1; default 100, as in `PoolConfig`, unmeasured.
        max_idle_s: seconds after which a model that nobody uses is unloaded, looked at every 5 s; default None: it
            stays until its slot is needed.
        wait_timeout_s: seconds that a caller waits for a slot; default 10, unmeasured.
        load_timeout_s: seconds that loading may take after that; default 20, so that both together fit into the 30 that
            one attempt at a backend has by default; unmeasured.
        unload_timeout_s: seconds that a loader's `unload` may take; default 10, unmeasured.
        settle_timeout_s: seconds after an unload in which the memory is awaited back, from 0; default 5, unmeasured.
        close_timeout_s: seconds that users have to be done when the slots close; default 10, as in `PoolConfig`.

    Raises:
        ConfigurationError: if a value is out of its range.
    """

    max_loaded: int = 1
    max_waiters: int = 100
    max_idle_s: float | None = None
    wait_timeout_s: float = 10.0
    load_timeout_s: float = 20.0
    unload_timeout_s: float = 10.0
    settle_timeout_s: float = 5.0
    close_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        require_at_least("models.max_loaded", self.max_loaded, 1)
        require_at_least("models.max_waiters", self.max_waiters, 1)
        if self.max_idle_s is not None:
            require_positive("models.max_idle_s", self.max_idle_s)
        require_positive("models.wait_timeout_s", self.wait_timeout_s)
        require_positive("models.load_timeout_s", self.load_timeout_s)
        require_positive("models.unload_timeout_s", self.unload_timeout_s)
        require_at_least("models.settle_timeout_s", self.settle_timeout_s, 0)
        require_positive("models.close_timeout_s", self.close_timeout_s)
