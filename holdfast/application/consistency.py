"""Settings that contradict each other.

Responsibility: refuse, at start, settings of which each is valid by itself and that cannot hold together.
Guarantees: a refusal names both paths; nothing was opened before.
Not responsible for: what is wrong with a single setting: its own class refuses that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.route_choice import check_weights
from holdfast.domain.validation import require

__all__ = ["check_consistency"]


def check_consistency(settings: Settings, *, backends: Collection[str] | None = None) -> None:
    """Raise for the first contradiction.

    Args:
        settings: valid one by one.
        backends: names of those that take the place of the ones in the settings; None for these.

    Raises:
        ConfigurationError: whose path is one of the two settings, and whose message names the other.
    """
    require(
        settings.admission.max_bytes >= settings.max_request_bytes + settings.sessions.max_bytes,
        f"{settings.admission.max_bytes} bytes have no room for a request of max_request_bytes, "
        f"{settings.max_request_bytes}, that goes on with a session of sessions.max_bytes, "
        f"{settings.sessions.max_bytes}; raise one or lower the others",
        path="admission.max_bytes",
    )
    require(
        settings.identity is None or settings.identity.max_message_bytes >= settings.max_request_bytes,
        f"a message has no room for a request of max_request_bytes, {settings.max_request_bytes}; raise this or lower "
        f"that",
        path="identity.max_message_bytes",
    )
    _check_guard(settings.guard, "guard")
    for name, backend in settings.backends.items():
        if backend.guard is not None:
            _check_guard(backend.guard, f"backends.{name}.guard")
    check_weights(settings.routing, settings.backends if backends is None else backends)
    for name, persona in settings.personas.items():
        require(
            persona.prompt in settings.prompts,
            f"{persona.prompt!r} is none of prompts; there are {_listed(settings.prompts)}",
            path=f"personas.{name}.prompt",
        )
        for validator in persona.validators:
            require(
                validator in settings.validators,
                f"{validator!r} is none of validators; there are {_listed(settings.validators)}",
                path=f"personas.{name}.validators",
            )


def _check_guard(guard: GuardSettings, path: str) -> None:
    require(
        guard.hedge is None or guard.pool.max_size > 1,
        f"asks a second time while the first attempt holds the one resource that {path}.pool.max_size, 1, allows; "
        f"raise that or leave this out",
        path=f"{path}.hedge",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
