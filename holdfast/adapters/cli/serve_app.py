"""The command that serves.

Responsibility: turn its arguments into settings, and start the gateway with them.
Guarantees: importing it loads no server; an option wins over every other source of the same setting.
Not responsible for: the work itself: see `holdfast.adapters.cli.serve_command`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from holdfast.adapters.cli.error_exit import errors_to_exit
from holdfast.adapters.cli.settings_option import parse_settings
from holdfast.ports.application import Application
from holdfast.ports.gateway import GatewayServer

__all__ = ["add_serve"]

_Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on; gateway.host.")]
_Port = Annotated[
    int | None, typer.Option("--port", metavar="PORT", help="Port, 0 for any; gateway.port.", min=0, max=65535)
]
_Set = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="A setting, such as timeout_s=10; again for more.")
]


def add_serve(
    app: typer.Typer, load: Callable[[Mapping[str, Any]], Application], load_server: Callable[[], GatewayServer]
) -> None:
    """Add ``serve`` to the command line.

    Args:
        app: the command line.
        load: returns the application for the settings given as arguments.
        load_server: returns what serves; called when the command runs.
    """

    @app.command()
    def serve(
        *,
        host: _Host = None,
        port: _Port = None,
        settings: _Set = [],  # noqa: B006 - typer's way to say none
    ) -> None:
        """Serve an OpenAI-compatible API, metrics and a status page.

        SIGINT or SIGTERM ends it, once the requests that run have finished.

        Exit codes: 0 stopped, requests that ran then included; 2 bad usage or settings; 3 stopped at once.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.serve_command import run_gateway  # noqa: PLC0415 - loads an event loop

            options = [*settings]
            options += [
                f"gateway.{name}={value}" for name, value in (("host", host), ("port", port)) if value is not None
            ]
            run_gateway(load(parse_settings(options)), load_server())
