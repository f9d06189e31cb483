"""What ``holdfast doctor`` tells.

Responsibility: list the settings in force with their sources, make the personas and validators, and try each adapter
    once.
Guarantees: a check that fails says why and does not keep the others from running; nothing is left open; no file and no
    folder is made.
Not responsible for: mending anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from anyio.to_thread import run_sync
from dependency_injector import providers

from holdfast.application.authenticated_service import Identity
from holdfast.application.consistency import check_consistency, shares_sessions
from holdfast.application.container import Backend, Container, Discovered, Model, Registry
from holdfast.application.gateway_settings import GatewaySettings, gateway_options
from holdfast.application.live_settings import is_live
from holdfast.application.prompt_settings import make_book
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings, flatten
from holdfast.application.settings_watch import read_parameters
from holdfast.application.shared_settings import SqliteSharedSettings
from holdfast.application.telemetry_settings import TelemetrySettings
from holdfast.domain.host_guard import HostGuard
from holdfast.ports.application import Check, Diagnosis, SettingInForce
from holdfast.ports.errors import ConfigurationError, HoldfastError, NoInstanceError
from holdfast.ports.parameters import ParameterStore

__all__ = ["diagnose"]

_PARAMETERS_TIMEOUT_S: Final = 10.0


async def diagnose(loaded: LoadedSettings, container: Container) -> Diagnosis:
    """Return the settings in force, one check for each part in use that can be wrong, and free memory."""
    store: ParameterStore | None = container.parameter_store()
    if store is None:
        return await _diagnose(loaded, container, [])
    with_parameters, check = await _check_parameters(loaded, store)
    override = providers.Object(with_parameters.settings)
    with container.settings.override(override):  # pyright: ignore[reportUnknownMemberType] - not typed there
        return await _diagnose(with_parameters, container, [check])


async def _diagnose(loaded: LoadedSettings, container: Container, first: list[Check]) -> Diagnosis:
    settings = tuple(
        SettingInForce(path=path, value=str(value), source=loaded.sources.get(path, "default"))
        for path, value in sorted(flatten(loaded.settings.model_dump(mode="json")))
    )
    checks = first + [await _check_backend(name, container) for name in loaded.settings.backends_in_use]
    checks.append(await _check_retriever(container))
    checks.append(await _check_sessions(container))
    if loaded.settings.personas:
        checks.append(_check_personas(container))
    if loaded.settings.validators:
        checks.append(_check_validators(container))
    if loaded.settings.telemetry != TelemetrySettings():
        checks.append(_check_telemetry(container))
    if loaded.settings.registry is not None:
        checks.append(await _check_registry(container))
    if loaded.settings.shared is not None:
        checks.append(await _check_shared(container))
    if loaded.settings.identity is not None:
        checks.append(await _check_identity(container))
    if loaded.settings.gateway != GatewaySettings():
        checks.append(await run_sync(_check_gateway, loaded.settings))
    available_bytes = container.host_memory().available_bytes()
    return Diagnosis(settings=settings, checks=tuple(checks), available_memory_bytes=available_bytes)


async def _check_parameters(loaded: LoadedSettings, store: ParameterStore) -> tuple[LoadedSettings, Check]:
    try:
        with_parameters = await read_parameters(loaded, store, timeout_s=_PARAMETERS_TIMEOUT_S, required=True)
        check_consistency(with_parameters.settings)
    except HoldfastError as error:
        return loaded, Check(name="parameters", passed=False, detail=str(error))
    paths = [path for path, source in with_parameters.sources.items() if source == "parameters"]
    later = [path for path in sorted(paths) if not is_live(path)]
    detail = f"ready: {len(paths)} settings in {store.name}"
    if later:
        detail += f"; a running service takes these at its next start: {', '.join(later)}"
    return with_parameters, Check(name="parameters", passed=True, detail=detail)


async def _check_backend(name: str, container: Container) -> Check:
    backend: Backend | Model | Discovered = container.backends()[name]
    try:
        match backend:
            case Backend():
                instance = await backend.provider.create()
                await backend.provider.close(instance)
                detail = "set up; not asked, which may cost"
            case Model():
                guard = HostGuard(container.host_memory(), container.settings().host_guard)
                guard.check(backend.loader.name, backend.loader.size_bytes)
                fits = "which fits" if guard.available_bytes() is not None else "and nothing tells whether they fit"
                detail = f"not loaded: a model of {backend.loader.size_bytes} bytes, {fits}"
            case Discovered():
                found = await _find(backend.service, container)
                if not found:
                    raise NoInstanceError(backends=(name,), retry_after_s=None)
                detail = f"service {backend.service!r} at {', '.join(found)}"
            case _:
                assert_never(backend)
    except HoldfastError as error:
        return Check(name=f"backend {name}", passed=False, detail=str(error))
    return Check(name=f"backend {name}", passed=True, detail=detail)


async def _check_identity(container: Container) -> Check:
    try:
        identity: Identity = await run_sync(container.identity)
        await identity.trust.find(identity.signer.did)
    except HoldfastError as error:
        return Check(name="identity", passed=False, detail=str(error))
    return Check(name="identity", passed=True, detail=identity.signer.did)


def _check_gateway(settings: Settings) -> Check:
    try:
        options = gateway_options(
            settings.gateway, max_request_bytes=settings.max_request_bytes, personas=settings.personas
        )
    except HoldfastError as error:
        return Check(name="gateway", passed=False, detail=str(error))
    return Check(name="gateway", passed=True, detail=f"set up; not started; keys: {len(options.keys)}")


async def _check_registry(container: Container) -> Check:
    try:
        await _find(_service_in_use(container), container)
    except HoldfastError as error:
        return Check(name="registry", passed=False, detail=str(error))
    return Check(name="registry", passed=True, detail="ready")


def _service_in_use(container: Container) -> str:
    """Return a service that this process has to do with, and so may read; any where there is none."""
    followed = (backend.service for backend in container.backends().values() if isinstance(backend, Discovered))
    registry: Registry | None = container.registry()
    own = None if registry is None else registry.instance
    return next(followed, "holdfast" if own is None else own.service)


async def _check_shared(container: Container) -> Check:
    shared = container.settings().shared
    database = shared.database if isinstance(shared, SqliteSharedSettings) else None
    detail = "nothing is shared"  # by whoever replaced the provider
    try:
        async with container.shared_stores() as stores:
            if stores is not None:
                to_make = await _find_to_make(database, setting="shared.database")
                if to_make is None:
                    await stores.store.epoch()
                detail = to_make or f"ready: {stores.store.name}"
    except HoldfastError as error:
        return Check(name="shared", passed=False, detail=str(error))
    return Check(name="shared", passed=True, detail=detail)


async def _find(service: str, container: Container) -> Sequence[str]:
    registry: Registry | None = container.registry()
    if registry is None:
        raise ConfigurationError("is needed for what is to be discovered; set its kind", path="registry")
    _, instances = await registry.services.instances(service, index=0, wait_s=0.0)
    return [instance.address for instance in instances]


async def _check_retriever(container: Container) -> Check:
    settings: Settings = container.settings()
    in_memory = settings.model_copy(update={"retrieval": settings.retrieval.model_copy(update={"index": None})})
    try:
        to_make = await _find_to_make(settings.retrieval.index, setting="retrieval.index")
        override = providers.Object(settings if to_make is None else in_memory)
        with container.settings.override(override):  # pyright: ignore[reportUnknownMemberType] - not typed there
            async with container.retriever() as retriever:
                if retriever is None:
                    return Check(name="retriever", passed=True, detail="left out: retrieval.folder is not set")
                await retriever.retrieve("holdfast", limit=1)
    except HoldfastError as error:
        return Check(name="retriever", passed=False, detail=str(error))
    return Check(name="retriever", passed=True, detail="ready" if to_make is None else f"ready; {to_make}")


async def _check_sessions(container: Container) -> Check:
    settings: Settings = container.settings()
    if shares_sessions(settings):
        return Check(name="sessions", passed=True, detail="kept in the store that is shared; see there")
    database = settings.sessions.database
    kept = "in a database" if database is not None else "in memory"
    try:
        to_make = await _find_to_make(database, setting="sessions.database")
        if to_make is not None:
            return Check(name="sessions", passed=True, detail=to_make)
        async with container.session_store() as store:
            detail = f"ready: {store.totals().sessions} {kept}"
    except HoldfastError as error:
        return Check(name="sessions", passed=False, detail=str(error))
    return Check(name="sessions", passed=True, detail=detail)


def _check_personas(container: Container) -> Check:
    settings: Settings = container.settings()
    try:
        names = make_book(settings.prompts, settings.personas).names
    except HoldfastError as error:
        return Check(name="personas", passed=False, detail=str(error))
    return Check(name="personas", passed=True, detail=f"ready: {', '.join(names)}")


def _check_telemetry(container: Container) -> Check:
    settings: TelemetrySettings = container.settings().telemetry
    try:
        container.telemetry()
    except HoldfastError as error:
        return Check(name="telemetry", passed=False, detail=str(error))
    told = [name for name in ("spans", "metrics", "json_logs", "log_prompts") if getattr(settings, name)]
    return Check(name="telemetry", passed=True, detail=f"ready: {', '.join(told)}" if told else "nothing is turned on")


def _check_validators(container: Container) -> Check:
    try:
        names = [rule.validator.name for rule in container.output_rules()]
    except HoldfastError as error:
        return Check(name="validators", passed=False, detail=str(error))
    return Check(name="validators", passed=True, detail=f"ready: {', '.join(names)}")


async def _find_to_make(path: Path | None, *, setting: str) -> str | None:
    """Return what is to be told of a file that is missing and made by whoever needs it first; None if it is there.

    Raises:
        ConfigurationError: it could not be made.
    """
    return None if path is None else await run_sync(partial(_to_make, path, setting=setting))


def _to_make(path: Path, *, setting: str) -> str | None:
    try:
        if path.exists():
            return None
        nearest = next(folder for folder in path.absolute().parents if folder.exists())
        can_be_made = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be looked at: {error.strerror}", path=setting) from error
    if not can_be_made:
        raise ConfigurationError(
            f"{str(path)!r} cannot be made: {str(nearest)!r} is no folder that may be written to", path=setting
        )
    return f"{path} will be made when it is needed"
