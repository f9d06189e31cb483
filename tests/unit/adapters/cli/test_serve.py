"""``holdfast serve`` over an application and a server that a test makes up."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Callable, Iterator

import anyio
import pytest
import typer
from typer.testing import CliRunner

from holdfast.adapters.cli import add_serve, build_app
from holdfast.ports.batch import StopSignal
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import GatewayOptions, GatewayServer
from holdfast.ports.service import Service
from tests.fakes.application import REPLY, FakeApplication, FakeService


class FakeServer:
    """Says that it listens, and waits for a signal, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.served: list[tuple[Service, GatewayOptions]] = []
        self.stopped = False

    async def __call__(
        self, service: Service, options: GatewayOptions, *, stop: StopSignal, on_listening: Callable[[str], None]
    ) -> None:
        self.served.append((service, options))
        if self._error is not None:
            raise self._error
        on_listening("http://127.0.0.1:8000")
        os.kill(os.getpid(), signal.SIGTERM)
        with anyio.fail_after(10):
            await stop.wait()
        self.stopped = True


def command_line(application: FakeApplication, server: GatewayServer) -> typer.Typer:
    app = build_app(application.load)
    add_serve(app, application.load, lambda: server)
    return app


@pytest.fixture(autouse=True)
def collector() -> Iterator[tuple[int, int, int]]:
    """Give the thresholds of the garbage collector, and put it back in order: `serve` has a process of its own."""
    thresholds = gc.get_threshold()
    yield thresholds
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def service() -> FakeService:
    return FakeService(answer=REPLY)


def test_serve_says_where_it_listens_and_ends_with_0_after_a_signal(service: FakeService) -> None:
    server, application = FakeServer(), FakeApplication(service=service, gateway=GatewayOptions(port=9999))

    outcome = CliRunner().invoke(command_line(application, server), ["serve"])

    assert outcome.exit_code == 0
    assert "listening on http://127.0.0.1:8000" in outcome.stderr
    assert "stopping" in outcome.stderr
    assert server.stopped
    assert server.served == [(service, GatewayOptions(port=9999))]
    assert application.open == 0


def test_serve_is_reachable_once_it_listens_and_not_before(service: FakeService) -> None:
    application, happened = FakeApplication(service=service), list[str]()

    async def reach() -> None:
        assert application.reachable is not None
        await application.reachable()
        happened.append("reachable")

    async def serve(
        service: Service,
        options: GatewayOptions,
        *,
        stop: StopSignal,
        on_listening: Callable[[str], None],
    ) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reach)
            await anyio.wait_all_tasks_blocked()
            happened.append("listens")
            on_listening("http://127.0.0.1:8000")
            assert not stop.is_set()

    outcome = CliRunner().invoke(command_line(application, serve), ["serve"])

    assert outcome.exit_code == 0
    assert happened == ["listens", "reachable"]


def test_serve_tells_what_could_not_be_asked(service: FakeService) -> None:
    application = FakeApplication(service=service, notice="redis cannot be asked")

    outcome = CliRunner().invoke(command_line(application, FakeServer()), ["serve"])

    assert outcome.stderr.startswith("holdfast: redis cannot be asked\nholdfast: listening on ")


def test_serve_spares_what_is_wired_the_search_for_garbage_and_searches_the_rest_less_often(
    service: FakeService, collector: tuple[int, int, int]
) -> None:
    spared_before = gc.get_freeze_count()

    CliRunner().invoke(command_line(FakeApplication(service=service), FakeServer()), ["serve"])

    assert gc.get_freeze_count() > spared_before + 1000
    assert gc.get_threshold() == (10_000, *collector[1:])


def test_serve_spares_no_garbage_that_is_there_when_it_begins(service: FakeService) -> None:
    class Ring:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()  # so that nothing else takes it away
    ring = weakref.ref(Ring())

    CliRunner().invoke(command_line(FakeApplication(service=service), FakeServer()), ["serve"])

    assert ring() is None


def test_serve_host_and_port_win_over_settings(service: FakeService) -> None:
    application = FakeApplication(service=service)

    CliRunner().invoke(
        command_line(application, FakeServer()),
        ["serve", "--host", "::1", "--port", "0", "--set", "gateway.port=1", "--set", "timeout_s=5"],
    )

    assert application.arguments == [{"gateway": {"port": 0, "host": "::1"}, "timeout_s": 5}]


def test_serve_error_is_one_line_and_its_exit_code(service: FakeService) -> None:
    server = FakeServer(ConfigurationError("cannot listen on here", path="gateway.port"))

    outcome = CliRunner().invoke(command_line(FakeApplication(service=service), server), ["serve"])

    assert outcome.exit_code == 2
    assert outcome.stderr == "holdfast: gateway.port: cannot listen on here\n"


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_serve_port_that_is_none_is_refused(service: FakeService, port: str) -> None:
    outcome = CliRunner().invoke(
        command_line(FakeApplication(service=service), FakeServer()), ["serve", "--port", port]
    )

    assert outcome.exit_code == 2
