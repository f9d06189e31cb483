"""The whole program, as a command line or another host sees it.

Responsibility: open a service, open a batch, look at one, say how the gateway is served, and how things are.
Guarantees: nothing is opened before it is asked for; every value is frozen.
Not responsible for: answering requests: see `holdfast.ports.service`; running batches: see `holdfast.ports.batch`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.ports.batch import Batch
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.journal import BatchSummary
from holdfast.ports.service import Service

__all__ = ["Application", "Check", "Diagnosis", "SettingInForce"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInForce:
    """One setting: its dotted path, its value as text, and the source it came from."""

    path: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether one part is ready, and what it found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """How things are.

    Args:
        settings: every setting, in order of its path.
        checks: one for each adapter in use, and for the personas and the validators where there are any.
        available_memory_bytes: what can be allocated without swapping; None where the system does not tell.
    """

    settings: tuple[SettingInForce, ...]
    checks: tuple[Check, ...]
    available_memory_bytes: int | None


class Application(Protocol):
    """Holdfast with its settings loaded.

    Idempotency: each may be called any number of times. Cancellation: what was opened is closed. Errors:
    `ConfigurationError`, `RetrievalError` and `BatchError`.
    """

    def open_service(
        self, *, notify: Callable[[str], None], reachable: Callable[[], Awaitable[None]] | None = None
    ) -> AbstractAsyncContextManager[Service]:
        """Open the service for the length of an ``async with`` block.

        Args:
            notify: told, in a sentence for the user, what could not be asked and is done without.
            reachable: returns once others can reach it; it is put into the registry then, as what the settings say.
                None where nobody can, as with the one that a question or a batch opens.
        """
        ...

    def open_batch(self, folder: Path, *, notify: Callable[[str], None]) -> AbstractAsyncContextManager[Batch]:
        """Open the batch kept in `folder`, with a service behind it, for the length of an ``async with`` block.

        Args:
            folder: made by the first run.
            notify: told as by `open_service`, and of what takes long but is being mended.
        """
        ...

    async def batch_summary(self, folder: Path) -> BatchSummary:
        """Return the batch kept in `folder` in numbers; all 0 when there is none."""
        ...

    def gateway_options(self) -> GatewayOptions:
        """Return how the gateway is to be served; asked while the service is open, by all settings that it goes by."""
        ...

    async def diagnose(self) -> Diagnosis:
        """Return the settings in force, what each adapter can reach, and free memory."""
        ...
