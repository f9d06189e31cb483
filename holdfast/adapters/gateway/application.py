"""The gateway as an application of its own.

Responsibility: the routes behind API keys, and an answer in the shape of OpenAI's API for whatever goes wrong.
Guarantees: a conversation is answered by the same code as in an application of one's own; a request whose end can be
    read in two ways is refused; a bug is an answer that tells nothing, and a line in the log.
Not responsible for: connections and the end of the process: see `holdfast.adapters.gateway.server`.
Source: RFC 9112, section 6.1 (request smuggling).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest

from holdfast.adapters.gateway.api_keys import ApiKeyGate
from holdfast.adapters.gateway.body_reading import BodyBounds
from holdfast.adapters.gateway.chat import Chat
from holdfast.adapters.gateway.client_presence import AsgiApplication, Message, Receive, Scope, Send
from holdfast.adapters.gateway.history import History
from holdfast.adapters.gateway.refusals import INTERNAL, bad_request, http_error_response
from holdfast.adapters.gateway.router import CHAT_PATH, holdfast_router, telling_errors
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.service import Service

__all__ = ["build_gateway"]


def build_gateway(
    service: Service, options: GatewayOptions | None = None, *, history: History | None = None
) -> AsgiApplication:
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
    gate = ApiKeyGate(chosen.keys)
    app.include_router(
        holdfast_router(
            service,
            tenant=gate,
            personas=chosen.personas,
            max_body_bytes=chosen.max_body_bytes,
            max_body_values=chosen.max_body_values,
            body_timeout_s=chosen.body_timeout_s,
            history=history,
        )
    )
    bounds = BodyBounds(
        max_bytes=chosen.max_body_bytes, max_values=chosen.max_body_values, timeout_s=chosen.body_timeout_s
    )
    return _Gateway(_conversations(Chat(service, bounds), gate), app)


def _conversations(chat: Chat, gate: ApiKeyGate) -> AsgiApplication:
    async def handle(http: HttpRequest) -> Response:
        return await chat.answer(http, await gate(http))

    answer = telling_errors(handle)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def tell(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            response = await answer(HttpRequest(scope, receive, tell))
            await response(scope, receive, tell)
        except Exception:  # a bug, re-raised for the server to log
            if not has_begun:
                await INTERNAL.response()(scope, receive, send)
            raise

    return application


async def _answer_http_error(_: HttpRequest, error: Exception) -> Response:
    # 404 and 405 are raised by the class that FastAPI's own derives from.
    status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
    return http_error_response(HTTPException(status, getattr(error, "detail", None), headers))


async def _answer_bug(_: HttpRequest, __: Exception) -> Response:
    return INTERNAL.response()


class _Gateway:
    """All routes; the one that is asked most goes past what FastAPI sets up for each request.

    A request that announces its length twice is refused, and the server closes the connection behind it.
    """

    def __init__(self, conversations: AsgiApplication, others: AsgiApplication) -> None:
        self._conversations = conversations
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_ambiguous(scope):
            response = _AMBIGUOUS.response()
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        elif _asks_for_a_conversation(scope):
            await self._conversations(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def _is_ambiguous(scope: Scope) -> bool:
    names = {name for name, _ in scope.get("headers", ())}
    return names >= {b"content-length", b"transfer-encoding"}


def _asks_for_a_conversation(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path == f"{scope.get('root_path', '')}{CHAT_PATH}"


_AMBIGUOUS: Final = bad_request("content-length and transfer-encoding exclude each other", code="framing")
