"""Brings any tenacity composition as a retry strategy; needs the extra ``tenacity``."""

from holdfast.adapters.tenacity.retry import TenacityStrategy

__all__ = ["TenacityStrategy"]
