"""Settings that contradict each other.

Responsibility: refuse, at start, settings of which each is valid by itself and that cannot hold together.
Guarantees: a refusal names both paths; nothing was opened before.
Not responsible for: what is wrong with a single setting: its own class refuses that.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.application.settings import Settings
from holdfast.domain.validation import require

__all__ = ["check_consistency"]


def check_consistency(settings: Settings) -> None:
    """Raise for the first contradiction.

    Raises:
        ConfigurationError: whose path is one of the two settings, and whose message names the other.
    """
    require(
        settings.admission.max_bytes >= settings.max_request_bytes,
        f"{settings.admission.max_bytes} bytes have no room for a request of max_request_bytes, "
        f"{settings.max_request_bytes}; raise one or lower the other",
        path="admission.max_bytes",
    )
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
