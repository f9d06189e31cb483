from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.ports.errors import BackendRequestError, ConfigurationError
from holdfast.ports.inference import Citation, Message, Parameters, Prompt, ResponseFormat, Role, Usage
from holdfast.ports.retrieval import Passage

pytestmark = pytest.mark.anyio

BACKEND = ExtractiveBackend("embedded")
POOL = Passage(
    source="pool.md",
    heading="Purpose",
    text="It was written in 1998. The pool lends connections, because making one takes long. It holds ten at most.",
    score=2.0,
)
BREAKER = Passage(
    source="breaker.md", heading="Opening", text="The breaker opens after five failures in a row.", score=1.0
)


def prompt(question: str, *passages: Passage, response_format: ResponseFormat = ResponseFormat.TEXT) -> Prompt:
    return Prompt(
        messages=(Message(role=Role.USER, content=question),),
        passages=passages,
        parameters=Parameters(response_format=response_format),
    )


async def ask(question: str, *passages: Passage) -> str:
    return (await BACKEND.complete(prompt(question, *passages))).text


async def test_complete_answers_with_the_sentence_that_fits_and_cites_it() -> None:
    completion = await BACKEND.complete(prompt("When does the breaker open?", POOL, BREAKER))

    assert completion.text == "The breaker opens after five failures in a row. [breaker.md § Opening]"
    assert completion.citations == (Citation(source="breaker.md", heading="Opening"),)


async def test_complete_says_that_no_language_model_answered() -> None:
    completion = await BACKEND.complete(prompt("When does the breaker open?", BREAKER))

    assert completion.model == "extractive"
    assert completion.usage == Usage()


async def test_complete_sentences_of_one_passage_share_a_citation_in_its_order() -> None:
    text = "A lease ends once. Something else entirely. A lease is returned to the pool when it ends."
    passage = Passage(source="lease.md", heading="Leases", text=text, score=1.0)

    assert await ask("How does a lease end in the pool?", passage) == (
        "A lease ends once. A lease is returned to the pool when it ends. [lease.md § Leases]"
    )


async def test_complete_passages_come_best_first_each_in_a_paragraph_of_its_own() -> None:
    one = Passage(source="a.md", heading="A", text="The writer of the journal is one process.", score=2.0)
    two = Passage(source="b.md", heading="B", text="Every journal has a writer, as every pool has a keeper.", score=1.0)

    text = await ask("Who is the writer of the journal?", two, one)

    assert text == (
        "The writer of the journal is one process. [a.md § A]\n\n"
        "Every journal has a writer, as every pool has a keeper. [b.md § B]"
    )


async def test_complete_same_statement_in_two_passages_is_said_once() -> None:
    twin = Passage(source="copy.md", heading="Opening", text=BREAKER.text, score=0.5)

    assert await ask("When does the breaker open?", BREAKER, twin) == (
        "The breaker opens after five failures in a row. [breaker.md § Opening]"
    )


async def test_complete_never_gives_more_sentences_than_it_may() -> None:
    text = " ".join(f"The breaker of kind {kind} opens." for kind in ("one", "two", "three", "four", "five"))
    passage = Passage(source="a.md", heading="A", text=text, score=1.0)

    three = await BACKEND.complete(prompt("Which breaker opens?", passage))
    one = await ExtractiveBackend("embedded", max_sentences=1).complete(prompt("Which breaker opens?", passage))

    assert three.text.count("opens.") == 3
    assert one.text.count("opens.") == 1


async def test_complete_statement_too_long_to_read_is_left_out() -> None:
    passage = Passage(source="a.md", heading="A", text="breaker " * 100 + "opens. The breaker opens.", score=1.0)

    assert await ask("Which breaker opens?", passage) == "The breaker opens. [a.md § A]"


@pytest.mark.parametrize(
    ("question", "better", "worse"),
    [
        ("Why is there a pool?", "A pool is there, because connecting takes long.", "A pool is there for everyone."),
        (
            "Why is there a pool?",
            "Connecting to it takes long. So there is a pool.",
            "The pool is there. Use the pool.",
        ),
        ("Why is there a pool?", "A pool exists so that nobody waits long.", "A pool exists for everyone."),
        ("Why is there a pool?", "A pool, because making one takes long.", "A pool, so that nobody waits."),
        ("How many waiters has the pool?", "The pool has 100 waiters.", "The pool has waiters in line."),
        ("Does the pool grow?", "The pool grows on demand, slowly.", "Does the pool grow?"),
        ("Which test covers the pool?", "This test covers the pool in full.", "`tests/test_pool.py::test_covers`"),
        ("Where is the pool?", "The pool is in memory.", "The pool is in memory" + ", and so on" * 20 + "."),
    ],
)
async def test_complete_prefers_the_statement_that_suits_the_question(question: str, better: str, worse: str) -> None:
    passages = [
        Passage(source=f"{name}.md", heading="Pool", text=text, score=1.0)
        for name, text in (("worse", worse), ("better", better))
    ]

    assert (await BACKEND.complete(prompt(question, *passages))).citations[0].source == "better.md"


async def test_complete_why_question_prefers_what_stands_under_reasons() -> None:
    options = Passage(source="adr.md", heading="Options", text="The outbox could be a queue.", score=1.0)
    outcome = Passage(source="adr.md", heading="Outcome", text="The outbox shares one transaction.", score=1.0)

    assert (await ask("Why an outbox?", options, outcome)).startswith("The outbox shares")
    assert (await ask("What of the outbox?", options, outcome)).startswith("The outbox could")


async def test_complete_word_in_the_heading_counts_for_the_text_below() -> None:
    text = "Five failures in a row."
    passages = [
        Passage(source="a.md", heading="Pool > Opening", text=text, score=1.0),
        Passage(source="b.md", heading="Breaker > Opening", text=text.replace("Five", "Six"), score=1.0),
    ]

    assert (await ask("breaker failures", *passages)).startswith("Six failures")


async def test_complete_listing_stands_on_lines_of_its_own() -> None:
    passage = Passage(source="a.md", heading="Start", text="To start the pool:\n```\nmake pool\n```", score=1.0)

    assert await ask("How do I start the pool?", passage) == ("To start the pool:\n```\nmake pool\n```\n[a.md § Start]")


async def test_complete_two_statements_around_a_listing_stay_apart_from_it() -> None:
    text = "The pool starts with this.\n\n```\nstart pool now please\n```\n\nThe pool may also start itself."
    passage = Passage(source="a.md", heading="Start", text=text, score=1.0)

    assert await ask("start pool", passage) == (
        "The pool starts with this.\n```\nstart pool now please\n```\nThe pool may also start itself. [a.md § Start]"
    )


@pytest.mark.parametrize("question", ["What is the capital of France?", "What is it?", "", "¿?"])
async def test_complete_question_that_nothing_fits_says_so_and_cites_nothing(question: str) -> None:
    completion = await BACKEND.complete(prompt(question, POOL, BREAKER))

    assert completion.text == "None of the passages that were found answers this question."
    assert completion.citations == ()


async def test_complete_question_of_which_too_little_is_met_is_not_answered() -> None:
    assert "None of the passages" in await ask("Which breaker recipe uses flour, yeast and salt?", BREAKER)


async def test_complete_without_passages_says_that_none_was_found() -> None:
    assert await ask("When does the breaker open?") == "No passage was found for this question."


async def test_complete_answers_the_last_question_of_the_user() -> None:
    messages = (
        Message(role=Role.USER, content="Why does the pool lend connections?"),
        Message(role=Role.ASSISTANT, content="Because."),
        Message(role=Role.USER, content="When does the breaker open?"),
        Message(role=Role.ASSISTANT, content="Well"),
    )

    completion = await BACKEND.complete(Prompt(messages=messages, passages=(POOL, BREAKER)))

    assert completion.citations == (Citation(source="breaker.md", heading="Opening"),)


async def test_complete_prompt_without_a_user_is_refused() -> None:
    with pytest.raises(BackendRequestError, match="'embedded'"):
        await BACKEND.complete(Prompt(messages=(Message(role=Role.SYSTEM, content="breaker"),), passages=(BREAKER,)))


async def test_complete_json_gives_answer_and_citations_apart() -> None:
    asked = prompt("When does the breaker öffnen, I mean open?", BREAKER, response_format=ResponseFormat.JSON)

    completion = await BACKEND.complete(asked)

    assert json.loads(completion.text) == {
        "answer": "The breaker opens after five failures in a row.",
        "citations": [{"source": "breaker.md", "heading": "Opening"}],
    }
    assert completion.citations == (Citation(source="breaker.md", heading="Opening"),)


async def test_complete_json_when_nothing_fits_says_so_in_the_answer() -> None:
    asked = prompt("Why?", BREAKER, response_format=ResponseFormat.JSON)

    assert json.loads((await BACKEND.complete(asked)).text) == {
        "answer": "None of the passages that were found answers this question.",
        "citations": [],
    }


@pytest.mark.parametrize("score", [math.nan, math.inf, -1.0, 0.0])
async def test_complete_score_that_says_nothing_is_not_used(score: float) -> None:
    passage = Passage(source="breaker.md", heading="Opening", text=BREAKER.text, score=score)

    assert (await ask("When does the breaker open?", passage)).startswith("The breaker opens")


@pytest.mark.slow
def test_complete_in_another_process_gives_the_same_answer() -> None:
    script = """
import anyio
from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.ports.inference import Message, Prompt, Role
from holdfast.ports.retrieval import Passage
words = [f"w{number}" for number in range(12)]
text = " ".join(f"{' '.join(words[start:start + 6])}." for start in range(7))
passages = tuple(Passage(source=f"{name}.md", heading="H", text=text, score=1.0) for name in "ab")
message = Message(role=Role.USER, content=" ".join(words))
print(anyio.run(ExtractiveBackend("b").complete, Prompt(messages=(message,), passages=passages)).text)
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(outputs) == 1


@pytest.mark.parametrize("max_sentences", [0, -1])
def test_backend_that_may_say_nothing_is_refused(max_sentences: int) -> None:
    with pytest.raises(ConfigurationError, match="max_sentences"):
        ExtractiveBackend("embedded", max_sentences=max_sentences)
