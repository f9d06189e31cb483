"""What several services of one process share, as processes share a server.

Responsibility: `SharedStore` without a server, and everything that can be kept in one, for tests in which several
    services stand for several processes.
Guarantees: those of the ports, as long as the process lives.
Not responsible for: other processes; forgetting: it keeps something of every limit, budget and breaker that it ever
    heard of.
"""

from __future__ import annotations

from anyio.lowlevel import checkpoint

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.adapters.memory.rates import MemoryRates
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.ports.clock import Clock
from holdfast.ports.shared_store import SharedStore

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps everything until the process ends, or it is lost. For one event loop.

    Args:
        clock: the store's time.

    Attributes:
        answers: shared answers.
        breakers: shared circuit breakers.
        rates: shared rate limits.
        budgets: shared retry budgets.
        sessions: shared conversations.
    """

    def __init__(self, *, clock: Clock) -> None:
        self.answers = MemoryAnswers(clock=clock)
        self.breakers = MemoryBreakers(clock=clock)
        self.rates = MemoryRates(clock=clock)
        self.budgets = MemoryBudgets(clock=clock)
        self.sessions = MemorySessions(clock=clock)
        self._lost = 0

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return "memory"

    async def epoch(self) -> str:
        """Return the name of the present contents; see `SharedStore.epoch`."""
        await checkpoint()
        return str(self._lost)

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty."""
        self._lost += 1
        for part in (self.answers, self.breakers, self.rates, self.budgets, self.sessions):
            part.lose()


_: type[SharedStore] = MemoryStore
