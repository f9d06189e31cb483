"""The program: the command line in front of the application.

Responsibility: the one place that puts a driving adapter and the application together.
Guarantees: the application, with its settings and adapters, is imported only when a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from holdfast.ports.application import Application
from holdfast.ports.gateway import GatewayServer
from holdfast.ports.identity_desk import KeyDesk, TrustDesk

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from holdfast.adapters.cli.app import build_app  # noqa: PLC0415 - needs the extra
        from holdfast.adapters.cli.identity_app import build_identity_app  # noqa: PLC0415 - likewise
        from holdfast.adapters.cli.serve_app import add_serve  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        sys.exit(f"holdfast: the command line needs {error.name!r}; install it with: pip install 'holdfast[cli]'")
    app = build_app(_load)
    add_serve(app, _load, _load_server)
    app.add_typer(build_identity_app(_open_desks), name="identity")
    app()


def _load(arguments: Mapping[str, Any]) -> Application:
    from holdfast.application.program import Program  # noqa: PLC0415 - loaded when a command needs it
    from holdfast.application.settings_sources import load_settings  # noqa: PLC0415 - likewise

    return Program(load_settings(arguments=arguments))


def _load_server() -> GatewayServer:
    try:
        from holdfast.adapters.gateway import serve_gateway  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        sys.exit(f"holdfast: {error}")
    return serve_gateway


def _open_desks() -> tuple[KeyDesk, TrustDesk]:
    try:
        from holdfast.application.identity_desk import FileKeyDesk, FileTrustDesk  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        sys.exit(f"holdfast: {error}")
    return FileKeyDesk(), FileTrustDesk()


if __name__ == "__main__":
    main()
