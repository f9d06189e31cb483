"""The routes.

Responsibility: what is offered under which path, and that every error comes in the shape of OpenAI's API.
Guarantees: a client is known before anything of its body is read; health is answered whatever else is going on.
Not responsible for: connections, limits of headers, and the end of the process: see
    `holdfast.adapters.gateway.server`.
"""

# No `from __future__ import annotations` here: FastAPI would look for the dependency `tenant` among the names of the
# module, and it is an argument.

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from holdfast.adapters.gateway.api_keys import anyone
from holdfast.adapters.gateway.body_reading import BodyBounds, ClientGoneError, RefusedRequestError
from holdfast.adapters.gateway.chat import Chat
from holdfast.adapters.gateway.chat_body import ANY_MODEL, ChatBody
from holdfast.adapters.gateway.history import History
from holdfast.adapters.gateway.json_text import json_response
from holdfast.adapters.gateway.metrics import Metrics
from holdfast.adapters.gateway.openapi import body_schema, header_schema
from holdfast.adapters.gateway.refusals import http_error_response, refusal_of, unread_response
from holdfast.adapters.gateway.request_headers import HEADERS
from holdfast.adapters.gateway.sessions import Conversations, SessionBody
from holdfast.adapters.gateway.status_page import StatusPage
from holdfast.ports.errors import HoldfastError
from holdfast.ports.gateway import GatewayOptions
from holdfast.ports.service import Service
from holdfast.ports.statistics import ServiceState

__all__ = ["CHAT_PATH", "holdfast_router", "telling_errors"]

CHAT_PATH: Final = "/v1/chat/completions"
_SESSIONS_PATH: Final = "/v1/sessions"

_DEFAULTS: Final = GatewayOptions()
_CLIENT_CLOSED: Final = 499  # nobody reads it; nginx' number for a client that has left


class _Route(APIRoute):
    """Answers errors of Holdfast, and those of the application around it, as OpenAI's API does."""

    def get_route_handler(self) -> Callable[[HttpRequest], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        return telling_errors(super().get_route_handler())


def telling_errors(
    handle: Callable[[HttpRequest], Coroutine[Any, Any, Response]],
) -> Callable[[HttpRequest], Coroutine[Any, Any, Response]]:
    """Return what answers as `handle` does, and with a refusal where that raises an error of Holdfast or of HTTP."""

    async def answer(http: HttpRequest) -> Response:
        try:
            return await handle(http)
        except RefusedRequestError as error:
            return error.refusal.response()
        except HoldfastError as error:
            return refusal_of(error).response()
        except HTTPException as error:  # raised by a dependency of the application
            return http_error_response(error)
        except RequestValidationError as error:  # as above
            return unread_response(error)
        except ClientGoneError:
            return Response(status_code=_CLIENT_CLOSED)

    return answer


def holdfast_router(  # noqa: PLR0913 - one for each thing that an application may say otherwise
    service: Service,
    *,
    tenant: Callable[..., Any] = anyone,
    personas: Sequence[str] = (),
    max_body_bytes: int = _DEFAULTS.max_body_bytes,
    max_body_values: int = _DEFAULTS.max_body_values,
    body_timeout_s: float = _DEFAULTS.body_timeout_s,
    history: History | None = None,
) -> APIRouter:
    """Return the routes of the gateway, for a FastAPI application of your own.

    ``POST /v1/chat/completions``, ``/v1/sessions``, ``GET /v1/models``, ``/healthz``, ``/readyz``, ``/metrics`` and
    ``/status``. Include it where the service is open, in the lifespan of the application. Who may ask is the
    application's to say, with dependencies of the router and with `tenant`.

    Args:
        service: what answers; it is neither opened nor closed.
        tenant: a dependency, as for ``Depends``, that returns the name of the tenant that asks, or raises
            `HTTPException`; the default lets everyone in as one tenant.
        personas: names that clients may choose as a model.
        max_body_bytes: the largest body that is read.
        max_body_values: how many values of JSON it may have.
        body_timeout_s: seconds in which a body has to come.
        history: what the charts of the status page show; None for one that only grows while somebody looks.

    Example:
        >>> import anyio
        >>> from fastapi import FastAPI
        >>> from holdfast import open_orchestrator
        >>> async def main() -> list[str]:
        ...     app = FastAPI()
        ...     async with open_orchestrator() as orchestrator:
        ...         app.include_router(holdfast_router(orchestrator), prefix="/llm")
        ...         return sorted(app.openapi()["paths"])[:2]
        >>> anyio.run(main)
        ['/llm/healthz', '/llm/metrics']
    """
    router = APIRouter(route_class=_Route, tags=["holdfast"])
    bounds = BodyBounds(max_bytes=max_body_bytes, max_values=max_body_values, timeout_s=body_timeout_s)
    _add_api(router, Chat(service, bounds), tenant)
    _add_sessions(router, Conversations(service, bounds), tenant)
    _add_models(router, service, [ANY_MODEL, *(f"{ANY_MODEL}:{persona}" for persona in personas)], tenant)
    _add_probes(router, service)
    _add_status(router, Metrics(service), StatusPage(service, history or History()), tenant)
    return router


def _add_api(router: APIRouter, chat: Chat, tenant: Callable[..., Any]) -> None:
    @router.post(
        CHAT_PATH, openapi_extra=body_schema(ChatBody) | header_schema(HEADERS), summary="Answer a conversation"
    )
    async def complete(http: HttpRequest, tenant: Annotated[str, Depends(tenant)]) -> Response:
        """Answer a conversation, whole or, with `stream`, while the answer comes."""
        return await chat.answer(http, tenant)


def _add_sessions(router: APIRouter, conversations: Conversations, tenant: Callable[..., Any]) -> None:
    @router.post(
        _SESSIONS_PATH, status_code=201, openapi_extra=body_schema(SessionBody), summary="Begin a conversation"
    )
    async def begin(http: HttpRequest, tenant: Annotated[str, Depends(tenant)]) -> Response:
        """Begin a conversation; `x-holdfast-session` with its id goes on with it."""
        return await conversations.begin(http, tenant)

    @router.get(f"{_SESSIONS_PATH}/{{session_id}}", summary="Show a conversation")
    async def show(session_id: str, tenant: Annotated[str, Depends(tenant)]) -> Response:
        """Tell how much there is of a conversation, and nothing that was said in it."""
        return await conversations.show(session_id, tenant)

    @router.delete(f"{_SESSIONS_PATH}/{{session_id}}", summary="End a conversation")
    async def end(session_id: str, tenant: Annotated[str, Depends(tenant)]) -> Response:
        """Forget a conversation."""
        return await conversations.end(session_id, tenant)


def _add_models(router: APIRouter, service: Service, names: Sequence[str], tenant: Callable[..., Any]) -> None:
    began_s = int(time.time())

    @router.get("/v1/models", dependencies=[Depends(tenant)], summary="List what can be asked for")
    async def models() -> Response:
        """List the names that `model` may have here; any other is handed to the backends as it is."""
        backends = [backend.name for backend in service.health().backends]
        entries = [
            {"id": name, "object": "model", "created": began_s, "owned_by": ANY_MODEL, "backends": backends}
            for name in names
        ]
        return json_response({"object": "list", "data": entries})


def _add_probes(router: APIRouter, service: Service) -> None:
    @router.get("/healthz", summary="Say whether the process is alive")
    async def healthz() -> Response:
        """Answer as long as the process does."""
        return json_response({"status": "ok"})

    @router.get("/readyz", summary="Say whether requests are taken")
    async def readyz() -> Response:
        """Answer 200 while requests are taken, and 503 from the moment at which the service is to end."""
        state = service.health().state
        return json_response({"status": state.value}, status=200 if state is ServiceState.READY else 503)


def _add_status(router: APIRouter, metrics: Metrics, page: StatusPage, tenant: Callable[..., Any]) -> None:
    known = [Depends(tenant)]

    @router.get("/metrics", dependencies=known, summary="Give every count in Prometheus' format")
    async def give_metrics(http: HttpRequest) -> Response:
        """Give what every mechanism counts."""
        content, media_type = metrics.render(http.headers.get("accept", ""))
        return Response(content, headers={"content-type": media_type})

    @router.get("/status", dependencies=known, summary="Show how things are")
    async def status() -> Response:
        """Show how things are, on one page that keeps itself up to date."""
        return page.response()

    @router.get("/status.json", dependencies=known, summary="Give what the status page shows")
    async def status_values() -> Response:
        """Give the values of the status page, by their place in it."""
        return json_response(page.values())
