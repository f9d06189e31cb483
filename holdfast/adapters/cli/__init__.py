"""The command line: a driving adapter. Needs the extra ``cli``."""

from holdfast.adapters.cli.app import build_app
from holdfast.adapters.cli.identity_app import build_identity_app
from holdfast.adapters.cli.serve_app import add_serve

__all__ = [
    "add_serve",
    "build_app",
    "build_identity_app",
]
