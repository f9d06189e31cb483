"""Settings that change while the service runs.

Responsibility: which settings take effect at once, and telling each part that reads them.
Guarantees: whoever follows is told of the whole, validated settings, and told once for each change.
Not responsible for: where a change comes from: see `holdfast.application.settings_watch`.

A part that follows goes on with its state and its counts: those under way keep what they were promised.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final

from holdfast.application.guard_settings import GuardSettings
from holdfast.application.settings import BackendSettings, Settings

__all__ = ["LiveSettings", "is_live"]

_LIVE: Final = (
    "timeout_s",
    "max_request_bytes",
    "max_in_flight",
    "admission",
    "tenants",
    "tenant_rate_limit",
    "retrieval.limit",
    "guard.attempt_timeout_s",
    "guard.stream_idle_timeout_s",
    "guard.retry",
    "guard.breaker",
    "guard.rate_limit",
    "log_events",
)


def is_live(path: str) -> bool:
    """Return whether a change of the setting at the dotted path takes effect at once, and not at the next start.

    Example:
        >>> is_live("guard.rate_limit.requests_per_minute"), is_live("backends.a.guard.pool.max_size")
        (True, False)
    """
    section, _, below = path.partition(".")
    if section == "backends":
        path = below.partition(".")[2]  # the guard of its own, after its name
    return any(path == live or path.startswith(f"{live}.") for live in _LIVE)


class LiveSettings:
    """Tells parts of the service what the settings are now. For one event loop.

    Args:
        settings: with which the service was opened.
        without_parameters: from the other sources than the store of parameters.
    """

    def __init__(self, settings: Settings, *, without_parameters: Settings) -> None:
        self.settings = settings
        self._made_from = (settings, without_parameters)
        self._followers: list[Callable[[Settings], None]] = []

    def guard_of(self, backend: str, made_with: GuardSettings) -> GuardSettings:
        """Return what stands around `backend` now.

        Args:
            backend: its name.
            made_with: what it was made with; where that did not come from the settings, it stays.
        """
        chosen = self.settings.backends.get(backend)
        own = None if chosen is None else chosen.guard
        if any(made_with is settings.guard for settings in self._made_from):
            return own or self.settings.guard
        if any(made_with is opened.guard for opened in self._opened(backend)):
            return made_with if chosen is None else own or self.settings.guard
        return made_with

    def _opened(self, backend: str) -> Iterator[BackendSettings]:
        return (settings.backends[backend] for settings in self._made_from if backend in settings.backends)

    @contextmanager
    def followed_by(self, follower: Callable[[Settings], None]) -> Generator[None]:
        """Tell `follower` of every change for the length of a ``with`` block.

        It is called synchronously, and must not raise: the settings are valid.
        """
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    def change_to(self, settings: Settings) -> None:
        """Let `settings` be in force."""
        self.settings = settings
        for follower in tuple(self._followers):
            follower(settings)
