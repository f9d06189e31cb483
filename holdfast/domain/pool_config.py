"""What can be set about a pool.

Responsibility: the numbers of one pool, with their defaults and where these come from.
Guarantees: a value that exists is valid.
Not responsible for: what the pool does with them: see `holdfast.domain.pool`.
Sources: HikariCP (`HikariConfig`, `HikariPool`), whose defaults have served more pools than anyone's.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.validation import require, require_at_least, require_positive

__all__ = ["PoolConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many resources a pool keeps, for how long, and how long callers wait for one.

    Args:
        max_size: resources that may exist at once, those being made and unmade included; default 10, HikariCP.
        min_size: resources kept open even if nobody needs them; default 0: none is made before it is asked for.
        max_waiters: callers that may wait at once, at least 1; default 100, unmeasured.
        max_creating: resources made at once, so that a cold start does not flood the peer; default 2, unmeasured.
        max_uses: leases after which a resource is replaced; default None: any number.
        max_lifetime_s: seconds after which a resource is replaced, less up to 2.5 % so that those made together do
            not end together; default 1800, HikariCP. A lease that is out is not cut short.
        max_idle_s: seconds of idleness after which a resource beyond `min_size` is closed; default 600, HikariCP.
        validate_after_idle_s: seconds of idleness after which a resource is validated before it is leased, from 0;
            default 0.5, HikariCP's `aliveBypassWindowMs`.
        acquire_timeout_s: seconds a caller waits; default 5, unmeasured.
        create_timeout_s: seconds that making a resource may take; default 30, HikariCP's `connectionTimeout`.
        upkeep_timeout_s: seconds that validating, resetting or closing a resource may take each; default 5,
            HikariCP's `validationTimeout`.
        creation_backoff_s: seconds without creation after a failed one, half of it random; each further failure
            makes it longer by half; default 0.25, HikariCP.
        max_creation_backoff_s: the longest that it gets; default 2.5, half of `acquire_timeout_s`, so that a caller
            who waits meets the peer's error rather than a timeout.
        leak_warning_s: seconds after which a lease that is still out is warned about; default 60, unmeasured.
        close_timeout_s: seconds that leases have to come back when the pool closes; default 10, HikariCP's shutdown.
    """

    max_size: int = 10
    min_size: int = 0
    max_waiters: int = 100
    max_creating: int = 2
    max_uses: int | None = None
    max_lifetime_s: float = 1800.0
    max_idle_s: float = 600.0
    validate_after_idle_s: float = 0.5
    acquire_timeout_s: float = 5.0
    create_timeout_s: float = 30.0
    upkeep_timeout_s: float = 5.0
    creation_backoff_s: float = 0.25
    max_creation_backoff_s: float = 2.5
    leak_warning_s: float = 60.0
    close_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that make no pool.

        Raises:
            ConfigurationError: naming the field, its value and the remedy.
        """
        require_at_least("pool.max_size", self.max_size, 1)
        require(
            0 <= self.min_size <= self.max_size,
            f"must be from 0 to pool.max_size, {self.max_size!r}, not {self.min_size!r}",
            path="pool.min_size",
        )
        require_at_least("pool.max_waiters", self.max_waiters, 1)
        require_at_least("pool.max_creating", self.max_creating, 1)
        if self.max_uses is not None:
            require_at_least("pool.max_uses", self.max_uses, 1)
        require_positive("pool.max_lifetime_s", self.max_lifetime_s)
        require_positive("pool.max_idle_s", self.max_idle_s)
        require_at_least("pool.validate_after_idle_s", self.validate_after_idle_s, 0)
        require_positive("pool.acquire_timeout_s", self.acquire_timeout_s)
        require_positive("pool.create_timeout_s", self.create_timeout_s)
        require_positive("pool.upkeep_timeout_s", self.upkeep_timeout_s)
        require_positive("pool.creation_backoff_s", self.creation_backoff_s)
        require_at_least("pool.max_creation_backoff_s", self.max_creation_backoff_s, self.creation_backoff_s)
        require_positive("pool.leak_warning_s", self.leak_warning_s)
        require_positive("pool.close_timeout_s", self.close_timeout_s)
