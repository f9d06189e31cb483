"""Settings that contradict each other.

Responsibility: refuse, at start, settings of which each is valid by itself and that cannot hold together.
Guarantees: a refusal names both paths; nothing was opened before.
Not responsible for: what is wrong with a single setting: its own class refuses that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Final

from holdfast.application.http_settings import HttpBackendSettings
from holdfast.application.settings import GuardSettings, LlamaCppSettings, ScriptedSettings, Settings
from holdfast.domain.door import MAX_TENANT_CHARS
from holdfast.domain.memory_ceiling import charge_bytes
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.route_choice import check_weights
from holdfast.domain.token_estimate import estimate_text_tokens
from holdfast.domain.validation import require
from holdfast.ports.gateway import is_loopback
from holdfast.ports.rate_store import SHARED_RATIO

__all__ = ["check_consistency", "check_time_to_load", "shares_sessions"]

_LEAST_SHARED_BURST: Final = 1 / (1 - SHARED_RATIO)
"""What a burst has to be for a process to get one of it while any number of others hold their shares."""


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
    largest_tokens = estimate_text_tokens(settings.max_request_bytes + settings.sessions.max_bytes)
    require(
        settings.admission.max_tokens >= largest_tokens,
        f"{settings.admission.max_tokens} tokens have no room for the {largest_tokens} or so of a request of "
        f"max_request_bytes, {settings.max_request_bytes}, that goes on with a session of sessions.max_bytes, "
        f"{settings.sessions.max_bytes}; raise one or lower the others",
        path="admission.max_tokens",
    )
    _check_memory(settings)
    require(
        settings.sessions.database is None or not shares_sessions(settings),
        "keeps sessions in a file, and shared.share keeps them in the store; leave this out, or sessions out of that",
        path="sessions.database",
    )
    require(
        settings.identity is None or settings.identity.max_message_bytes >= settings.max_request_bytes,
        f"a message has no room for a request of max_request_bytes, {settings.max_request_bytes}; raise this or lower "
        f"that",
        path="identity.max_message_bytes",
    )
    _check_gateway(settings)
    _check_shared_limits(settings)
    require(
        settings.only_backend is None or settings.only_backend in settings.backends,
        f"{settings.only_backend!r} is none of the backends: {_listed(settings.backends)}; choose one of these, or "
        f"say in backends.{settings.only_backend} what it is and where",
        path="only_backend",
    )
    _check_guard(settings.guard, "guard")
    for name, backend in settings.backends.items():
        if backend.guard is not None:
            _check_guard(backend.guard, f"backends.{name}.guard")
        require(
            not isinstance(backend, HttpBackendSettings) or backend.service is None or settings.registry is not None,
            "is to be found in a registry, and there is none; set registry.kind",
            path=f"backends.{name}.service",
        )
        if isinstance(backend, LlamaCppSettings) or (
            isinstance(backend, ScriptedSettings) and backend.model_bytes is not None
        ):
            guard, path = (
                (settings.guard, "guard") if backend.guard is None else (backend.guard, f"backends.{name}.guard")
            )
            check_time_to_load(guard, settings.models, path=path)
    _check_tenants("tenants", settings.tenants)
    _check_tenants("admission.weights", settings.admission.weights)
    check_weights(settings.routing, settings.backends_in_use if backends is None else backends)
    for name, persona in settings.personas.items():
        require(
            persona.prompt in settings.prompts,
            f"{persona.prompt!r} is none of prompts; known: {_listed(settings.prompts)}",
            path=f"personas.{name}.prompt",
        )
        for validator in persona.validators:
            require(
                validator in settings.validators,
                f"{validator!r} is none of validators; known: {_listed(settings.validators)}",
                path=f"personas.{name}.validators",
            )


def check_time_to_load(guard: GuardSettings, models: ModelSlotConfig, *, path: str) -> None:
    """Raise if an attempt at a backend that has to be loaded has less time than waiting and loading may take.

    It would be cut in the midst, and again each time, and the backend be blamed for it.

    Args:
        guard: what stands around the backend.
        models: how its model is loaded.
        path: of `guard`.

    Raises:
        ConfigurationError: which names both settings.
    """
    needed_s = models.wait_timeout_s + models.load_timeout_s
    require(
        guard.attempt_timeout_s >= needed_s,
        f"{guard.attempt_timeout_s:g} s end an attempt before models.wait_timeout_s and models.load_timeout_s do, "
        f"{needed_s:g} s together; raise it or lower them",
        path=f"{path}.attempt_timeout_s",
    )


def _check_memory(settings: Settings) -> None:
    sessions = settings.sessions
    largest_bytes = charge_bytes(settings.max_request_bytes + sessions.max_bytes)
    require(
        settings.max_memory_bytes >= largest_bytes,
        f"{settings.max_memory_bytes} bytes have no room for the {largest_bytes} that a request of max_request_bytes, "
        f"{settings.max_request_bytes}, counts when it goes on with a session of sessions.max_bytes, "
        f"{sessions.max_bytes}; raise one or lower the others",
        path="max_memory_bytes",
    )
    require(
        sessions.database is not None
        or shares_sessions(settings)
        or settings.max_memory_bytes >= largest_bytes + sessions.max_total_bytes,
        f"{settings.max_memory_bytes} bytes have no room for a request that counts {largest_bytes} beside the sessions "
        f"in memory of sessions.max_total_bytes, {sessions.max_total_bytes}; raise one, lower the other, or set "
        f"sessions.database",
        path="max_memory_bytes",
    )


def _check_gateway(settings: Settings) -> None:
    gateway = settings.gateway
    require(
        is_loopback(gateway.host) or bool(gateway.api_keys) or gateway.api_keys_file is not None,
        f"{gateway.host!r} can be reached from other machines, and nobody needs a key; set gateway.api_keys or "
        f"gateway.api_keys_file, or listen on 127.0.0.1",
        path="gateway.host",
    )
    require(
        gateway.max_body_bytes is None or gateway.max_body_bytes >= settings.max_request_bytes,
        f"{gateway.max_body_bytes} bytes have no room for a request of max_request_bytes, "
        f"{settings.max_request_bytes}; raise this or lower that",
        path="gateway.max_body_bytes",
    )


def _check_shared_limits(settings: Settings) -> None:
    if settings.shared is None or "rates" not in settings.shared.share:
        return
    limits = {"tenant_rate_limit": settings.tenant_rate_limit, "guard.rate_limit": settings.guard.rate_limit}
    limits |= {f"tenants.{name}.rate_limit": tenant.rate_limit for name, tenant in settings.tenants.items()}
    for name, backend in settings.backends.items():
        limits[f"backends.{name}.guard.rate_limit"] = None if backend.guard is None else backend.guard.rate_limit
    for path, limit in limits.items():
        most = math.inf if limit is None or limit.most_requests is None else limit.most_requests
        require(
            most >= _LEAST_SHARED_BURST,
            f"lets {most:g} requests through at once, of which no process gets a whole one while others share the "
            f"limit (shared.share); raise it to {_LEAST_SHARED_BURST:g}, or leave rates out there",
            path=f"{path}.burst_requests",
        )


def shares_sessions(settings: Settings) -> bool:
    """Return whether sessions are kept where several processes share them."""
    return settings.shared is not None and "sessions" in settings.shared.share


def _check_tenants(path: str, names: Iterable[str]) -> None:
    for name in names:
        require(
            0 < len(name) <= MAX_TENANT_CHARS,
            f"no request comes from a tenant whose name has {len(name)} characters; give it 1 to {MAX_TENANT_CHARS}",
            path=path,
        )


def _check_guard(guard: GuardSettings, path: str) -> None:
    require(
        guard.hedge is None or guard.pool.max_size > 1,
        f"asks a second time while the first attempt holds the one resource that {path}.pool.max_size, 1, allows; "
        f"raise that or leave this out",
        path=f"{path}.hedge",
    )
    lasts_s = guard.pool.acquire_timeout_s + guard.attempt_timeout_s
    require(
        guard.breaker.probe_timeout_s >= lasts_s,
        f"{guard.breaker.probe_timeout_s:g} s end a probe before {path}.pool.acquire_timeout_s and "
        f"{path}.attempt_timeout_s do, {lasts_s:g} s together, and a backend that takes so long would never be found "
        f"well; raise it or lower them",
        path=f"{path}.breaker.probe_timeout_s",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
