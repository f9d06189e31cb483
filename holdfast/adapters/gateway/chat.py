"""Answering conversations.

Responsibility: one request, from its headers and body to its answer.
Guarantees: the request ends when its client leaves, streamed or not.
Not responsible for: who the client is, and paths: see `holdfast.adapters.gateway.router`.
"""

from __future__ import annotations

import itertools
import secrets
import time

from fastapi import Request as HttpRequest
from fastapi import Response

from holdfast.adapters.gateway.answers import Answer, outcome_headers
from holdfast.adapters.gateway.body_reading import BodyBounds, ClientGoneError, RefusedRequestError, read_json
from holdfast.adapters.gateway.body_shape import parse_body
from holdfast.adapters.gateway.chat_body import ChatBody, ChosenModel
from holdfast.adapters.gateway.client_presence import while_connected
from holdfast.adapters.gateway.event_stream import StreamedAnswer
from holdfast.adapters.gateway.json_text import json_response
from holdfast.adapters.gateway.refusals import bad_request, refusal_of
from holdfast.adapters.gateway.request_headers import RequestHeaders
from holdfast.ports.errors import HoldfastError
from holdfast.ports.service import Request, Service

__all__ = ["Chat"]


class Chat:
    """Answers conversations.

    Args:
        service: what answers.
        bounds: of a body.
    """

    def __init__(self, service: Service, bounds: BodyBounds) -> None:
        self._service = service
        self._bounds = bounds
        self._name, self._numbers = secrets.token_hex(8), itertools.count(1)

    async def answer(self, http: HttpRequest, tenant: str) -> Response:
        """Return the answer to the conversation in `http`, whole or to be streamed, or what the service said instead.

        Raises:
            RefusedRequestError: a header or the body is wrong.
            ClientGoneError: the client left.
        """
        headers = RequestHeaders.of(http.headers)
        body = parse_body(ChatBody, await read_json(http, self._bounds))
        answer = Answer(answer_id=self._new_id(), created_s=int(time.time()), model=body.model)
        # Under one name in the reply, the log and the trace, whoever gave it.
        request_id = headers.request_id or answer.answer_id
        request = _request(body, headers, tenant, request_id=request_id)
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            return StreamedAnswer(self._service, request, answer, request_id=request_id, with_usage=with_usage)
        try:
            reply = await while_connected(http.scope, http.receive, lambda: self._service.submit(request))
        except HoldfastError as error:
            response = refusal_of(error).response()
        else:
            if reply is None:
                raise ClientGoneError
            response = json_response(answer.whole(reply), headers=outcome_headers(reply))
        response.headers["x-request-id"] = request_id
        return response

    def _new_id(self) -> str:
        # Like no other of any process; asking the system for chance each time takes as long as reading a body.
        return f"chatcmpl-{self._name}{next(self._numbers):08x}"


def _request(body: ChatBody, headers: RequestHeaders, tenant: str, *, request_id: str) -> Request:
    chosen = ChosenModel.of(body.model)
    if chosen.persona is not None and headers.persona not in {None, chosen.persona}:
        message = "x-holdfast-persona: is another persona than that of model; name one of them"
        raise RefusedRequestError(bad_request(message, param="x-holdfast-persona", code="invalid_header"))
    return Request(
        messages=tuple(message.message for message in body.messages),
        tenant=tenant,
        model=chosen.model,
        parameters=body.parameters,
        priority=headers.priority,
        timeout_s=headers.timeout_s,
        session_id=headers.session_id,
        persona=chosen.persona or headers.persona,
        no_cache=headers.no_cache,
        idempotency_key=headers.idempotency_key,
        request_id=request_id,
        trace=headers.trace,
    )
