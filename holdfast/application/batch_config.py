"""The settings of a batch.

Responsibility: how a file of requests is run.
Guarantees: refused at construction, naming the setting, when a value cannot work.
Not responsible for: which file, and where its results go: the caller says that for each batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.domain.validation import require_at_least, require_between

__all__ = ["BatchConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How a file of requests is run.

    Args:
        concurrency: items in flight at once, each a task from the start; 10 000 at most, default 8, both unmeasured.
        max_line_bytes: the longest line taken, in bytes, which is held in memory; 1 GiB at most, unmeasured; default
            1 MiB, the longest request that the service takes.
        max_crashes: how often the process may die with an item in hand, within one run, before the item is given up;
            default 3, unmeasured.
        stop_grace_s: seconds that items in flight have to end after a stop was asked for; default 30, Kubernetes'
            default termination grace period.
        max_refused_wait_s: seconds that one item waits in all to be submitted again, when a breaker or the admission
            queue refused it; a wait that would exceed them is not begun, and the refusal is recorded as its failure;
            0: it never waits; default 300, the longest that a breaker stays open.
    """

    concurrency: int = 8
    max_line_bytes: int = 1024 * 1024
    max_crashes: int = 3
    stop_grace_s: float = 30.0
    max_refused_wait_s: float = 300.0

    def __post_init__(self) -> None:
        require_between("batch.concurrency", self.concurrency, 1, 10_000)
        require_between("batch.max_line_bytes", self.max_line_bytes, 1, 1024**3)
        require_at_least("batch.max_crashes", self.max_crashes, 1)
        require_at_least("batch.stop_grace_s", self.stop_grace_s, 0.0)
        require_at_least("batch.max_refused_wait_s", self.max_refused_wait_s, 0.0)
