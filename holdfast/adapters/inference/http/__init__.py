"""Backends that are reached over HTTP: what OpenAI's and Anthropic's dialects share; needs the extra ``openai``."""

from holdfast.adapters.inference.http.address import checked_address
from holdfast.adapters.inference.http.api_key import checked_key
from holdfast.adapters.inference.http.backend import HttpBackend
from holdfast.adapters.inference.http.client import HttpClient
from holdfast.adapters.inference.http.config import HttpConfig
from holdfast.adapters.inference.http.provider import HttpBackendProvider, open_transport

__all__ = [
    "HttpBackend",
    "HttpBackendProvider",
    "HttpClient",
    "HttpConfig",
    "checked_address",
    "checked_key",
    "open_transport",
]
