"""``holdfast serve``.

Responsibility: run the gateway until a signal, and say where it listens.
Guarantees: nobody finds it in the registry before it listens; the first SIGINT or SIGTERM drains it and ends with
    `ExitCode.COMPLETE`; the second ends at once.
Not responsible for: serving: see `holdfast.ports.gateway`.
"""

from __future__ import annotations

import anyio

from holdfast.adapters.cli.garbage_collection import spare_what_stays
from holdfast.adapters.cli.stop_signals import stop_signal
from holdfast.adapters.cli.streams import write_notice
from holdfast.ports.application import Application
from holdfast.ports.gateway import GatewayServer

__all__ = ["run_gateway"]


def run_gateway(application: Application, serve: GatewayServer) -> None:
    """Serve until a signal, then drain.

    Raises:
        HoldfastError: as `Application.open_service` and `GatewayServer`; may come in an exception group.
    """

    async def run() -> None:
        listening = anyio.Event()

        def begin(address: str) -> None:
            spare_what_stays()
            write_notice(f"listening on {address}")
            listening.set()

        async with (
            stop_signal(_show_stopping) as stop,
            application.open_service(notify=write_notice, reachable=listening.wait) as service,
        ):
            await serve(service, application.gateway_options(), stop=stop, on_listening=begin)

    anyio.run(run)


def _show_stopping() -> None:
    write_notice("stopping; requests that run may finish. Once more to stop at once.")
