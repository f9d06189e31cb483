"""What one orchestrator shares with other processes, put together.

Responsibility: the link to the store, and the part of each mechanism that is kept there; nothing of it where nothing is
    shared.
Guarantees: making it asks nobody: the link does when it is opened, after all that it keeps up to date was made.
Not responsible for: which store there is: see `holdfast.application.shared_stores`; what is shared by whom: see
    `holdfast.application.wiring`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

from holdfast.application.shared_stores import SharedStores
from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.event_hub import EventHub
from holdfast.domain.shared_answers import SharedAnswers
from holdfast.domain.shared_breaker import SharedBreaker
from holdfast.domain.shared_budgets import SharedBudgets
from holdfast.domain.shared_rates import SharedRates
from holdfast.domain.store_link import StoreLink
from holdfast.ports.clock import Clock
from holdfast.ports.session import SessionStore

__all__ = ["SharedParts"]

_make_token: Final = partial(secrets.token_hex, 8)


class SharedParts:
    """What is shared.

    Args:
        stores: where it is kept; None shares nothing.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told of all of it.

    Attributes:
        link: follows the store; to be opened when everything else has been made.
        rates: of backends and tenants.
        budgets: of retries.
        sessions: the conversations.
    """

    def __init__(
        self, stores: SharedStores | None, *, clock: Clock, random: Callable[[], float], events: EventHub
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._random = random
        self._events = events
        self.link: StoreLink | None = None
        self.rates: SharedRates | None = None
        self.budgets: SharedBudgets | None = None
        self.sessions: SessionStore | None = None
        if stores is None:
            return
        self.link = StoreLink(stores.store, stores.link, clock=clock, random=random, events=events)
        self.sessions = stores.sessions
        refresh_s = stores.link.refresh_s
        if stores.rates is not None:
            self.rates = SharedRates(
                stores.rates, link=self.link, refresh_s=refresh_s, make_token=_make_token, clock=clock
            )
        if stores.budgets is not None:
            self.budgets = SharedBudgets(
                stores.budgets, link=self.link, refresh_s=refresh_s, make_token=_make_token, clock=clock
            )

    def share_breaker(self, breaker: CircuitBreaker) -> SharedBreaker | None:
        """Let the processes share `breaker`; return what ends that, None where breakers are not shared."""
        stores = self._stores
        if stores is None or self.link is None or stores.breakers is None:
            return None
        return SharedBreaker(
            breaker, stores.breaker_sharing, store=stores.breakers, link=self.link, make_token=_make_token
        )

    def answers(self, *, window_s: float, instance: str) -> SharedAnswers | None:
        """Return what shares answers, to be opened; None where they are not shared."""
        stores = self._stores
        if stores is None or self.link is None or stores.answers is None:
            return None
        return SharedAnswers(
            stores.answers,
            self.link,
            stores.answer_sharing,
            window_s=window_s,
            instance=instance,
            clock=self._clock,
            random=self._random,
            events=self._events,
        )
