"""The OpenAI-compatible gateway: a driving adapter. Needs the extra ``gateway``."""

from importlib import import_module

try:
    for driver in ("fastapi", "prometheus_client", "uvicorn"):
        import_module(driver)  # to say at once, and in one place, what is missing
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.gateway needs fastapi, prometheus-client and uvicorn: pip install 'holdfast[gateway]'",
        name=error.name,
    ) from error

from holdfast.adapters.gateway.api_keys import ApiKeyGate, anyone
from holdfast.adapters.gateway.application import build_gateway
from holdfast.adapters.gateway.history import History
from holdfast.adapters.gateway.router import holdfast_router
from holdfast.adapters.gateway.server import serve_gateway

__all__ = [
    "ApiKeyGate",
    "History",
    "anyone",
    "build_gateway",
    "holdfast_router",
    "serve_gateway",
]
