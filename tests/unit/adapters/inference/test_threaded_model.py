from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from holdfast.adapters.inference import threaded_model
from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.adapters.inference.threaded_model import ThreadedModelLoader
from holdfast.ports.errors import BackendError, BackendProtocolError, BackendUnavailableError, ConfigurationError
from holdfast.ports.inference import InferenceBackend
from holdfast.testing import VirtualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


class Library:
    """Blocking functions, as a library of models has them."""

    def __init__(self) -> None:
        self.may_load = threading.Event()
        self.may_load.set()
        self.is_loading = threading.Event()
        self.was_unloaded = threading.Event()
        self.loaded: list[InferenceBackend] = []
        self.unloaded: list[InferenceBackend] = []
        self.threads: set[threading.Thread] = set()
        self.load_error: Exception | None = None
        self.unload_error: Exception | None = None

    def load(self) -> InferenceBackend:
        self.threads.add(threading.current_thread())
        self.is_loading.set()
        assert self.may_load.wait(60.0)
        if self.load_error is not None:
            raise self.load_error
        backend = ScriptedBackend.repeating("model", "yes", clock=VirtualClock())
        self.loaded.append(backend)
        return backend

    def unload(self, backend: InferenceBackend) -> None:
        self.threads.add(threading.current_thread())
        self.unloaded.append(backend)
        self.was_unloaded.set()
        if self.unload_error is not None:
            raise self.unload_error

    def loader(self, give_up_after_s: float = 60.0) -> ThreadedModelLoader:
        return ThreadedModelLoader(
            "model", size_bytes=1000, load=self.load, unload=self.unload, give_up_after_s=give_up_after_s
        )


async def wait_for(event: threading.Event) -> None:
    assert await anyio.to_thread.run_sync(event.wait, 60.0)


async def load_cancelled(library: Library, loader: ThreadedModelLoader, then: Callable[[], None]) -> None:
    """Cancel a load while it goes on in its thread, and do `then` after that."""

    async def cancel() -> None:
        await wait_for(library.is_loading)
        scope.cancel()
        then()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with anyio.CancelScope() as scope:
            await loader.load()

    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("size_bytes", 0),
        ("size_bytes", -1),
        ("give_up_after_s", -0.1),
        ("give_up_after_s", math.inf),
        ("give_up_after_s", math.nan),
    ],
)
def test_loader_with_a_number_out_of_its_range_is_refused_with_its_path(path: str, value: float) -> None:
    given: dict[str, Any] = {"size_bytes": 1, path: value}

    with pytest.raises(ConfigurationError) as caught:
        ThreadedModelLoader("model", load=Library().load, **given)

    assert caught.value.path == path


async def test_load_and_unload_run_in_worker_threads() -> None:
    library = Library()
    loader = library.loader()
    backend = await loader.load()
    await loader.unload(backend)

    assert library.loaded == library.unloaded == [backend]
    assert threading.current_thread() not in library.threads


async def test_load_that_raises_is_unavailable_with_its_cause() -> None:
    library = Library()
    library.load_error = OSError("no such file")
    with pytest.raises(BackendUnavailableError, match="'model': cannot be loaded: no such file") as caught:
        await library.loader().load()

    assert caught.value.__cause__ is library.load_error


async def test_unload_that_raises_is_unavailable_with_its_cause() -> None:
    library = Library()
    loader = library.loader()
    backend = await loader.load()
    library.unload_error = OSError("still busy")
    with pytest.raises(BackendUnavailableError, match="'model': cannot be unloaded: still busy") as caught:
        await loader.unload(backend)

    assert caught.value.__cause__ is library.unload_error


async def test_error_that_a_backend_may_raise_comes_as_it_is() -> None:
    library = Library()
    loader = library.loader()
    backend = await loader.load()
    library.load_error = library.unload_error = BackendProtocolError("not a model", backend="model")
    caught: list[BackendError] = []
    for work in (loader.load, lambda: loader.unload(backend)):
        with pytest.raises(BackendProtocolError) as info:
            await work()
        caught.append(info.value)

    assert caught == [library.load_error] * 2


async def test_load_cancelled_in_its_midst_waits_for_the_thread_and_unloads_what_it_brings() -> None:
    library = Library()
    library.may_load.clear()
    await load_cancelled(library, library.loader(), library.may_load.set)

    assert len(library.loaded) == 1
    assert library.unloaded == library.loaded


async def test_load_cancelled_in_its_midst_that_fails_then_ends_as_cancelled() -> None:
    library = Library()
    library.may_load.clear()
    library.load_error = OSError("no such file")
    await load_cancelled(library, library.loader(), library.may_load.set)

    assert library.unloaded == []


async def test_load_that_is_given_up_is_unloaded_by_its_thread_when_it_comes() -> None:
    library = Library()
    library.may_load.clear()
    await load_cancelled(library, library.loader(give_up_after_s=0.01), lambda: None)
    assert library.loaded == []

    library.may_load.set()
    await wait_for(library.was_unloaded)

    assert len(library.loaded) == 1
    assert library.unloaded == library.loaded


async def test_load_cancelled_before_it_began_loads_nothing() -> None:
    library = Library()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await library.loader().load()

    assert scope.cancelled_caught
    assert library.loaded == []


async def in_place(work: Callable[[], None], **_: object) -> None:
    """As a worker thread that is done before its task can hear of it."""
    work()
    await checkpoint()


@pytest.mark.parametrize("unload_error", [None, OSError("still busy")])
async def test_load_cancelled_after_the_thread_handed_over_unloads_it(
    unload_error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded_model, "run_sync", in_place)
    library = Library()
    library.unload_error = unload_error
    with anyio.CancelScope() as scope:
        scope.cancel()
        await library.loader().load()

    assert scope.cancelled_caught
    assert len(library.loaded) == 1
    assert library.unloaded == library.loaded


async def test_load_cancelled_after_the_thread_handed_over_lets_go_of_what_needs_no_unload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threaded_model, "run_sync", in_place)
    library = Library()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ThreadedModelLoader("model", size_bytes=1000, load=library.load).load()

    assert scope.cancelled_caught
    assert len(library.loaded) == 1


async def test_thread_that_begins_after_the_load_was_cancelled_finds_it_called_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Callable[[], None]] = []

    async def late(work: Callable[[], None], **_: object) -> None:
        begun.append(work)
        await anyio.sleep_forever()

    monkeypatch.setattr(threaded_model, "run_sync", late)
    library = Library()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await library.loader().load()
    begun[0]()

    assert scope.cancelled_caught
    assert library.loaded == []
