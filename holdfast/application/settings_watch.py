"""The layer of the settings that is kept in a store of parameters.

Responsibility: read it when the service opens, follow it while it runs, and let what changes take effect.
Guarantees: settings are rebuilt from all their sources and validated as a whole; a value that is refused changes
    nothing, and is told by one event; while the store is away, what it said last stays in force.
Not responsible for: when it is asked: see `holdfast.domain.blocking_query`; which settings need a restart: see
    `holdfast.application.live_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from holdfast.application.consistency import check_consistency
from holdfast.application.live_settings import LiveSettings, is_live
from holdfast.application.settings_sources import LoadedSettings
from holdfast.domain.blocking_query import BlockingQuery, QueryConfig
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from holdfast.ports.events import (
    EventSink,
    ParametersApplied,
    ParametersRefused,
    ParameterStoreLost,
    ParameterStoreRejoined,
)
from holdfast.ports.parameters import ParameterStore
from holdfast.ports.statistics import ParameterStatistics

__all__ = ["SettingsWatch", "read_parameters"]


async def read_parameters(
    loaded: LoadedSettings, store: ParameterStore, *, timeout_s: float, required: bool
) -> LoadedSettings:
    """Return the settings with what the store holds now; without it, if it is away and is not required.

    Args:
        loaded: from the other sources.
        store: asked once.
        timeout_s: seconds that it may take.
        required: whether a store that is away is an error.

    Raises:
        ConfigurationError: what it holds is no valid setting.
        StoreRefusedError: it will not answer until somebody mends what the message says.
        StoreUnavailableError: it is away, and is required.
    """
    try:
        values = await _answer(store, timeout_s)
    except StoreUnavailableError:
        if required:
            raise
        return loaded
    return loaded.with_parameters(values)


async def _answer(store: ParameterStore, timeout_s: float) -> Mapping[str, object]:
    with anyio.move_on_after(timeout_s):
        return (await store.parameters(index=0, wait_s=0.0))[1]
    raise StoreUnavailableError(f"did not answer within {timeout_s:g} s", store=store.name)


class SettingsWatch:
    """Follows the store from when it is entered with ``async with``.

    Args:
        loaded: the settings with which the service opened.
        store: what is followed.
        live: told of the settings that are in force from then on.
        backends: names of those that take the place of the ones in the settings; None for these.
        config: how often the store is asked.
        clock: monotonic time.
        random: returns a number in [0, 1).
        events: told of what was applied and refused, and of a store that is away.
    """

    _tasks: TaskGroup

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        loaded: LoadedSettings,
        store: ParameterStore,
        live: LiveSettings,
        *,
        backends: Collection[str] | None,
        config: QueryConfig,
        clock: Clock,
        random: Callable[[], float],
        events: EventSink,
    ) -> None:
        self._loaded = loaded
        self._store = store
        self._live = live
        self._backends = backends
        self._events = events
        self._query = BlockingQuery(self._ask, config, clock=clock, random=random)
        self._applied = self._refused = self._unused = 0

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._query.follow, self, name=f"follow the parameters in {self._store.name}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
        await self._tasks.__aexit__(None, None, None)

    def statistics(self) -> ParameterStatistics:
        """Return whether the store answers, and what became of what it said."""
        return ParameterStatistics(
            query=self._query.statistics(), applied=self._applied, refused=self._refused, unused=self._unused
        )

    def changed(self, content: Mapping[str, object]) -> None:
        """Let `content` take effect, if it is valid and differs from what is in force."""
        try:
            loaded = self._loaded.with_parameters(content)
            check_consistency(loaded.settings, backends=self._backends)
        except ConfigurationError as error:
            self._refused += 1
            self._events.emit(ParametersRefused(store=self._store.name, path=error.path))
            return
        changed = loaded.paths_changed_since(self._loaded)
        if not changed:
            self._unused += 1
            return
        self._loaded = loaded
        self._live.change_to(loaded.settings)
        self._applied += 1
        self._events.emit(
            ParametersApplied(
                store=self._store.name,
                changed=" ".join(path for path in changed if is_live(path)),
                at_restart=" ".join(path for path in changed if not is_live(path)),
            )
        )

    def lost(self, error: Exception) -> None:
        """Tell that the store is away, and that what it said last stays in force."""
        self._events.emit(
            ParameterStoreLost(
                store=self._store.name,
                error=type(error).__name__,
                is_refusal=isinstance(error, StoreRefusedError),
            )
        )

    def rejoined(self, away_s: float) -> None:
        """Tell that it is back."""
        self._events.emit(ParameterStoreRejoined(store=self._store.name, away_s=away_s))

    async def _ask(self, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        return await self._store.parameters(index=index, wait_s=wait_s)
