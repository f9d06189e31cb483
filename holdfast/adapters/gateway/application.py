"""The gateway as an application of its own.

Responsibility: the routes behind API keys, and an answer in the shape of OpenAI's API for whatever goes wrong.
Guarantees: a request whose end can be read in two ways is refused; a bug is an answer that tells nothing, and a line
    in the log.
Not responsible for: connections and the end of the process: see `holdfast.adapters.gateway.server`.
Source: RFC 9112, section 6.1 (request smuggling).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest

from holdfast.adapters.gateway.api_keys import ApiKeyGate
from holdfast.adapters.gateway.client_presence import AsgiApplication, Receive, Scope, Send
from holdfast.adapters.gateway.history import History
from holdfast.adapters.gateway.refusals import INTERNAL, bad_request, http_error_response
from holdfast.adapters.gateway.router import holdfast_router
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.service import Service

__all__ = ["build_gateway"]


def build_gateway(
    service: Service, options: GatewayOptions | None = None, *, history: History | None = None
) -> FastAPI:
    """Return an ASGI application that offers `service`, for a server of your own.

    Args:
        service: what answers; it is neither opened nor closed.
        options: who is let in, and the bounds of a body; those of connections are the server's to hold.
        history: what the charts of the status page show; None for one that only grows while somebody looks.
    """
    chosen = options or GatewayOptions()
    app = FastAPI(
        title="Holdfast",
        version=version("holdfast"),
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        exception_handlers=dict.fromkeys((HTTPException, 404, 405), _answer_http_error),
    )
    app.add_exception_handler(Exception, _answer_bug)
    app.add_middleware(_Unambiguous)
    app.include_router(
        holdfast_router(
            service,
            tenant=ApiKeyGate(chosen.keys),
            personas=chosen.personas,
            max_body_bytes=chosen.max_body_bytes,
            body_timeout_s=chosen.body_timeout_s,
            history=history,
        )
    )
    return app


async def _answer_http_error(_: HttpRequest, error: Exception) -> Response:
    # 404 and 405 are raised by the class that FastAPI's own derives from.
    status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
    return http_error_response(HTTPException(status, getattr(error, "detail", None), headers))


async def _answer_bug(_: HttpRequest, __: Exception) -> Response:
    return INTERNAL.response()


class _Unambiguous:
    """Refuses a request that announces its length twice, and lets the server close the connection behind it."""

    def __init__(self, app: AsgiApplication) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        if {b"content-length", b"transfer-encoding"} <= names:
            response = _AMBIGUOUS.response()
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


_AMBIGUOUS: Final = bad_request("content-length and transfer-encoding exclude each other", code="framing")
