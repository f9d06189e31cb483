"""A scripted backend from its settings, to see how a service stands while its backend does not.

Responsibility: turn `ScriptedSettings` into a script, and into a model that has to be loaded first.
Guarantees: each kind of fault is the error that a real backend's adapter raises for it.
Not responsible for: following the script: see `holdfast.adapters.inference.scripted`.
"""

from __future__ import annotations

from typing import assert_never

from holdfast.adapters.inference.scripted import Answer, Fault, Hang, ScriptedBackend, Step, in_turn
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.application.settings import ScriptedSettings
from holdfast.ports.clock import Clock
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
)

__all__ = ["scripted_backend", "scripted_model"]

_SAID = "the settings say so"


def scripted_backend(name: str, settings: ScriptedSettings, *, clock: Clock) -> ScriptedBackend:
    """Return a backend that does the same for every prompt, as `settings` say."""
    return ScriptedBackend(name, in_turn(_step(name, settings)), clock=clock)


def scripted_model(name: str, settings: ScriptedSettings, *, size_bytes: int, clock: Clock) -> ScriptedModelLoader:
    """Return a loader of that backend, as a model of `size_bytes` of which nothing is allocated."""
    return ScriptedModelLoader(name, scripted_backend(name, settings, clock=clock), size_bytes=size_bytes, clock=clock)


def _step(name: str, settings: ScriptedSettings) -> Step:
    error: BackendError
    match settings.fault:
        case None:
            return Answer(text=settings.reply, delay_s=settings.delay_s)
        case "hang":
            return Hang()
        case "unavailable":
            error = BackendUnavailableError(_SAID, backend=name)
        case "throttled":
            error = BackendThrottledError(backend=name, retry_after_s=1.0)
        case "protocol":
            error = BackendProtocolError(_SAID, backend=name)
        case "request":
            error = BackendRequestError(_SAID, backend=name)
        case "authentication":
            error = BackendAuthenticationError(_SAID, backend=name)
        case _:
            assert_never(settings.fault)
    return Fault(error=error, delay_s=settings.delay_s)
