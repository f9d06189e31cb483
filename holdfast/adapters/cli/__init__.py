"""The command line: a driving adapter. Needs the extra ``cli``."""

from holdfast.adapters.cli.app import build_app
from holdfast.adapters.cli.identity_app import build_identity_app

__all__ = [
    "build_app",
    "build_identity_app",
]
