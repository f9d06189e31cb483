"""The embedded answer path on documents as people write them: find passages, assemble the prompt, answer from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.domain.prompt_assembly import assemble, retrieval_query
from holdfast.ports.inference import Completion, Message, Role
from holdfast.ports.service import Request
from holdfast.testing import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

REPOSITORY = Path(__file__).parents[2]
HANDBOOK = REPOSITORY / "tests" / "data" / "handbook"


async def answer(question: str, *, folder: Path = HANDBOOK, include: tuple[str, ...] = ("**/*",)) -> Completion:
    request = Request(messages=(Message(role=Role.USER, content=question),))
    async with FtsRetriever(folder, clock=ManualClock(), include=include) as retriever:
        passages = await retriever.retrieve(retrieval_query(request), limit=10)
    return await ExtractiveBackend("embedded").complete(assemble(request, passages))


@pytest.mark.parametrize(
    ("question", "beginning", "label"),
    [
        (
            "Why is the outbox in Postgres?",
            "Option 1, because only one transaction can make both happen or neither.",
            "[decisions/0007-queue-in-postgres.md § Outcome]",
        ),
        (
            "why don't we use RabbitMQ?",
            "RabbitMQ cannot take part in a transaction of Postgres.",
            "[decisions/0007-queue-in-postgres.md § Outcome]",
        ),
        (
            "Why is a booking not retried?",
            "A call that times out may still have been taken by the carrier.",
            "[decisions/0009-no-retries-on-booking.md § Outcome]",
        ),
        (
            "How often are reading calls retried?",
            "Reading calls are retried up to four times.",
            "[decisions/0009-no-retries-on-booking.md § Outcome]",
        ),
        (
            "What does polling cost?",
            "Bad: polling costs about 30 queries per second, even at night.",
            "[decisions/0007-queue-in-postgres.md § Consequences]",
        ),
        (
            "How many parcels may one booking hold?",
            "what: parcels in one booking; limit: 40; why: the carriers' interface refuses more",
            "[README.md § Limits]",
        ),
        (
            "Which status does a booking over the limit get?",
            "A booking that exceeds a limit is refused with status 422 and never sent to a carrier.",
            "[README.md § Limits]",
        ),
        ("Which port does the service listen on?", "The service then listens on port 8085.", "[README.md § Getting"),
        ("How do I start everything?", "Start everything:\n```\nmake up", "[README.md § Getting started]"),
        ("Who knows about printers?", "Labels and printers: team Quay, e.g. Dr. Okafor.", "[README.md § Who to ask]"),
        (
            "Why must the label worker not be restarted?",
            "It forgets which labels were already printed, so that they come out twice.",
            "[runbooks/labels.md § Labels are stuck]",
        ),
        (
            "How do I move labels to another depot?",
            "send the labels to the neighbouring depot:\n```\nparcels labels move --from KIEL --to LUBECK\n```",
            "[runbooks/labels.md § Labels are stuck]",
        ),
        (
            "What resolution do scanners need?",
            "The scanners need 300 dpi.",
            "[runbooks/labels.md § Labels are unreadable]",
        ),
        ("When does Kiel open?", "Kiel opens at 5:30 and closes at 22:00.", "[hours.txt § hours]"),
        ("Why is Lubeck closed on Sundays?", "It is closed on Sundays, because the ferry does not run.", "[hours.txt"),
    ],
)
async def test_question_that_a_document_answers_is_answered_in_its_words_with_its_heading(
    question: str, beginning: str, label: str
) -> None:
    completion = await answer(question)

    first = completion.text.split("\n\n", maxsplit=1)[0]
    assert beginning in first
    assert label in first


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "Who won the world cup in 1998?",
        "How do I bake sourdough bread?",
        "How many moons does Jupiter have?",
    ],
)
async def test_question_that_no_document_answers_is_not_answered(question: str) -> None:
    completion = await answer(question)

    assert completion.citations == ()
    assert "this question" in completion.text


async def test_question_about_pybreaker_is_answered_by_its_decision_record() -> None:
    completion = await answer(
        "Why does pybreaker not own the breaker state?", folder=REPOSITORY, include=("README.md", "adr/*.md")
    )

    source = completion.citations[0].source
    assert source.startswith("adr/0004-")
    assert "because it counts cancellations" in completion.text.replace("\n", " ")
