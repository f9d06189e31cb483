"""The command line: a driving adapter. Needs the extra ``cli``."""

from holdfast.adapters.cli.app import build_app

__all__ = ["build_app"]
