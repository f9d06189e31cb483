"""Conversations as clients begin, look at and end them.

Responsibility: what a client may say of a conversation, and what it is told.
Guarantees: a name that a client chooses can be written into a path and into a header as it is; of what was said in a
    conversation only counts are told.
Not responsible for: who may begin one, and how many there may be: the service says that.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Request as HttpRequest
from fastapi import Response
from pydantic import Field

from holdfast.adapters.gateway.body_reading import BodyBounds, read_json
from holdfast.adapters.gateway.body_shape import Part, parse_body
from holdfast.adapters.gateway.json_text import JsonObject, json_response
from holdfast.ports.service import Service
from holdfast.ports.session import Session

__all__ = ["Conversations", "SessionBody"]


class SessionBody(Part):
    """What a conversation is begun with."""

    id: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z0-9][A-Za-z0-9._~-]{0,255}$",
            description="A name of your own, so that trying again makes no second one; without it one is made up.",
        ),
    ] = None
    system: Annotated[
        str | None, Field(min_length=1, description="Comes before all other messages, and is never dropped.")
    ] = None
    persona: Annotated[str | None, Field(description="Who answers, unless a request says otherwise.")] = None


class Conversations:
    """Begins, shows and ends conversations.

    Args:
        service: what keeps them.
        bounds: of a body.
    """

    def __init__(self, service: Service, bounds: BodyBounds) -> None:
        self._sessions = service.sessions
        self._bounds = bounds

    async def begin(self, http: HttpRequest, tenant: str) -> Response:
        """Begin the conversation that the body describes, and show it.

        Raises:
            RefusedRequestError: the body is wrong.
            ClientGoneError: the client left.
            HoldfastError: as `Sessions.create`.
        """
        body = parse_body(SessionBody, await read_json(http, self._bounds))
        session_id = await self._sessions.create(
            tenant=tenant, system=body.system, persona=body.persona, session_id=body.id
        )
        session = await self._sessions.open(session_id, tenant=tenant)
        return json_response(_document(session), status=201, headers={"location": f"sessions/{session_id}"})

    async def show(self, session_id: str, tenant: str) -> Response:
        """Tell how much there is of a conversation; that counts as a use of it.

        Raises:
            HoldfastError: as `Sessions.open`.
        """
        return json_response(_document(await self._sessions.open(session_id, tenant=tenant)))

    async def end(self, session_id: str, tenant: str) -> Response:
        """Forget a conversation.

        Raises:
            HoldfastError: as `Sessions.delete`.
        """
        await self._sessions.delete(session_id, tenant=tenant)
        return json_response({"id": session_id, "object": "session.deleted", "deleted": True})


def _document(session: Session) -> JsonObject:
    head = session.head
    return {
        "id": head.session_id,
        "object": "session",
        "version": head.version,
        "persona": head.persona,
        "turns": len(session.turns),
        "messages": (session.system is not None) + sum(len(turn.messages) for turn in session.turns),
        "size_bytes": session.size_bytes,
    }
