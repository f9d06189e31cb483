from __future__ import annotations

from dataclasses import replace

from holdfast.domain.prompt_assembly import assemble, retrieval_query
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.retrieval import Passage
from holdfast.ports.service import Request
from holdfast.ports.trace import TraceContext

QUESTION = Message(role=Role.USER, content="Why?")
REQUEST = Request(
    messages=(QUESTION,), model="m", parameters=Parameters(temperature=0.5, stop=("x",)), idempotency_key="own"
)


def passage(text: str, *, source: str = "a.md", heading: str = "A > B") -> Passage:
    return Passage(source=source, heading=heading, text=text, score=1.0)


def test_query_of_a_conversation_is_the_last_user_message() -> None:
    request = Request(
        messages=(
            Message(role=Role.USER, content="first"),
            Message(role=Role.USER, content="second"),
            Message(role=Role.ASSISTANT, content="third"),
        )
    )

    assert retrieval_query(request) == "second"


def test_query_without_a_user_message_is_empty() -> None:
    assert retrieval_query(Request(messages=(Message(role=Role.SYSTEM, content="be brief"),))) == ""


def test_assemble_without_passages_leaves_the_conversation_alone() -> None:
    prompt = assemble(REQUEST, ())

    assert prompt.messages == (QUESTION,)
    assert prompt.passages == ()


def test_assemble_hands_on_model_parameters_and_key() -> None:
    prompt = assemble(REQUEST, ())

    assert (prompt.model, prompt.parameters, prompt.idempotency_key) == ("m", REQUEST.parameters, "own")


def test_assemble_with_a_key_given_takes_it_in_place_of_the_requests() -> None:
    assert assemble(REQUEST, (), idempotency_key="given").idempotency_key == "given"


def test_assemble_request_within_a_trace_hands_it_on() -> None:
    trace = TraceContext(trace_id="1" * 32, span_id="2" * 16)

    assert assemble(replace(REQUEST, trace=trace), ()).trace is trace


def test_assemble_renders_passages_best_first_into_one_system_message() -> None:
    passages = (passage("\nfirst text\n"), passage("second text", source="b.md", heading="C"))

    prompt = assemble(REQUEST, passages)

    assert prompt.passages == passages
    assert prompt.messages[1:] == (QUESTION,)
    assert prompt.messages[0].role is Role.SYSTEM
    assert prompt.messages[0].content.endswith(
        "that stands in them.\n\n[a.md § A > B]\nfirst text\n\n[b.md § C]\nsecond text"
    )


def test_assemble_keeps_the_callers_own_system_message_behind_the_passages() -> None:
    own = Message(role=Role.SYSTEM, content="be brief")

    prompt = assemble(Request(messages=(own, QUESTION)), (passage("text"),))

    assert prompt.messages[1:] == (own, QUESTION)


def test_assemble_passage_that_exactly_fits_is_taken() -> None:
    only = passage("é")
    size_bytes = len("\n\n[a.md § A > B]\né".encode())

    assert assemble(REQUEST, (only,), max_passage_bytes=size_bytes).passages == (only,)
    assert assemble(REQUEST, (only,), max_passage_bytes=size_bytes - 1).passages == ()


def test_assemble_passage_that_does_not_fit_is_left_out_whole_and_smaller_ones_follow() -> None:
    large, small = passage("x" * 200), passage("y" * 20)

    prompt = assemble(REQUEST, (small, large, small), max_passage_bytes=100)

    assert prompt.passages == (small, small)
    assert "xx" not in prompt.messages[0].content


def test_assemble_passages_that_all_exceed_the_bound_adds_no_system_message() -> None:
    assert assemble(REQUEST, (passage("text"),), max_passage_bytes=0).messages == (QUESTION,)


def test_assemble_passage_with_a_lone_surrogate_is_rendered() -> None:
    assert "\ud800" in assemble(REQUEST, (passage("a\ud800b"),)).messages[0].content


def test_assemble_instructions_are_a_system_message_in_front_of_the_passages() -> None:
    prompt = assemble(REQUEST, (passage("text"),), instructions="be brief")

    assert prompt.messages[0] == Message(role=Role.SYSTEM, content="be brief")
    assert prompt.messages[1].content.endswith("[a.md § A > B]\ntext")
    assert prompt.messages[2:] == (QUESTION,)


def test_assemble_instructions_without_passages_stand_alone() -> None:
    assert assemble(REQUEST, (), instructions="be brief").messages == (
        Message(role=Role.SYSTEM, content="be brief"),
        QUESTION,
    )
