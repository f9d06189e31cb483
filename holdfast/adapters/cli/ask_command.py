"""``holdfast ask``.

Responsibility: one question, one answer.
Guarantees: what the answer rests on is printed with it.
Not responsible for: errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

import dataclasses

import anyio

from holdfast.adapters.cli.streams import printable, write_json, write_out
from holdfast.ports.application import Application
from holdfast.ports.inference import Message, Role
from holdfast.ports.service import Reply, Request

__all__ = ["ask_question"]


def ask_question(application: Application, question: str, *, as_json: bool) -> None:
    """Write the answer to `question`, then its sources.

    Raises:
        HoldfastError: as `Application.open_service` and `Service.submit`.
    """

    async def ask() -> Reply:
        async with application.open_service() as service:
            return await service.submit(Request(messages=(Message(role=Role.USER, content=question),)))

    reply = anyio.run(ask)
    if as_json:
        write_json(dataclasses.asdict(reply))
        return
    lines = [reply.text]
    if reply.citations:
        lines += ["", "Sources:", *(f"  {citation.label}" for citation in reply.citations)]
    write_out(printable("".join(f"{line}\n" for line in lines)))
