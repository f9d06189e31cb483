"""``holdfast ask``.

Responsibility: one question, one answer.
Guarantees: what the answer rests on, and which validators it did not pass, is printed with it.
Not responsible for: errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

import dataclasses

import anyio

from holdfast.adapters.cli.streams import printable, write_json, write_notice, write_out
from holdfast.ports.application import Application
from holdfast.ports.inference import Message, Role
from holdfast.ports.service import Reply, Request

__all__ = ["ask_question"]


def ask_question(application: Application, question: str, *, persona: str | None, as_json: bool) -> None:
    """Write the answer to `question`, by `persona` if one is named, then its sources.

    Raises:
        HoldfastError: as `Application.open_service` and `Service.submit`.
    """

    async def ask() -> Reply:
        async with application.open_service(notify=write_notice) as service:
            return await service.submit(Request(messages=(Message(role=Role.USER, content=question),), persona=persona))

    reply = anyio.run(ask)
    if as_json:
        write_json(dataclasses.asdict(reply))
        return
    lines = [reply.text]
    if reply.citations:
        lines += ["", "Sources:", *(f"  {citation.label}" for citation in reply.citations)]
    if reply.marks:
        lines += ["", f"Did not pass: {', '.join(reply.marks)}"]
    write_out(printable("".join(f"{line}\n" for line in lines)))
