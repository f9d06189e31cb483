"""What ``holdfast doctor`` tells.

Responsibility: list the settings in force with their sources, and try each adapter once.
Guarantees: a check that fails says why and does not keep the others from running; nothing is left open.
Not responsible for: mending anything.
"""

from __future__ import annotations

from anyio.to_thread import run_sync

from holdfast.adapters.system.memory import available_memory_bytes
from holdfast.application.authenticated_service import Identity
from holdfast.application.container import Container
from holdfast.application.settings import LoadedSettings, flatten
from holdfast.ports.application import Check, Diagnosis, SettingInForce
from holdfast.ports.errors import HoldfastError

__all__ = ["diagnose"]


async def diagnose(loaded: LoadedSettings, container: Container) -> Diagnosis:
    """Return the settings in force, one check for each adapter in use, and free memory."""
    settings = tuple(
        SettingInForce(path=path, value=str(value), source=loaded.sources.get(path, "default"))
        for path, value in sorted(flatten(loaded.settings.model_dump(mode="json")))
    )
    checks = [await _check_backend(name, container) for name in loaded.settings.backends]
    checks.append(await _check_retriever(container))
    if loaded.settings.identity is not None:
        checks.append(await _check_identity(container))
    return Diagnosis(settings=settings, checks=tuple(checks), available_memory_bytes=available_memory_bytes())


async def _check_backend(name: str, container: Container) -> Check:
    provider = container.backends()[name].provider
    try:
        instance = await provider.create()
        await provider.close(instance)
    except HoldfastError as error:
        return Check(name=f"backend {name}", passed=False, detail=str(error))
    return Check(name=f"backend {name}", passed=True, detail="ready")


async def _check_identity(container: Container) -> Check:
    try:
        identity: Identity = await run_sync(container.identity)
        await identity.trust.find(identity.signer.did)
    except HoldfastError as error:
        return Check(name="identity", passed=False, detail=str(error))
    return Check(name="identity", passed=True, detail=identity.signer.did)


async def _check_retriever(container: Container) -> Check:
    try:
        async with container.retriever() as retriever:
            if retriever is None:
                return Check(name="retriever", passed=True, detail="left out: retrieval.folder is not set")
            await retriever.retrieve("holdfast", limit=1)
    except HoldfastError as error:
        return Check(name="retriever", passed=False, detail=str(error))
    return Check(name="retriever", passed=True, detail="ready")
