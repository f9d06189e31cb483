"""Commands and personas under any text."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.command import Command, Said, answer_command, read_message
from holdfast.domain.persona import PARAMETER_NAMES, Persona, PersonaBook
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.service import Request

TEXTS = st.text(max_size=60) | st.from_regex(
    r"\s?/{0,3}(expert|EXPERT)?\s?(off|status|memory)?\s?.{0,9}", fullmatch=True
)
WORDS = st.from_regex(r"[a-zäßσ]{1,3}", fullmatch=True)
SHARED = st.sampled_from(["ab", "bc", "cd"])
BOOKS = st.lists(st.lists(SHARED, max_size=3), min_size=1, max_size=4).map(
    lambda triggers: PersonaBook(
        Persona(name=f"p{number}", prompt="Be brief.", triggers=tuple(words)) for number, words in enumerate(triggers)
    )
)
BOOK = PersonaBook([Persona(name="memory", prompt="You know allocators.", triggers=("memory",))])


@given(TEXTS)
def test_reading_any_message_never_fails_and_loses_nothing_of_an_ordinary_one(content: str) -> None:
    said = read_message(content)

    if said.command is None and said.name is None:
        assert said.text in {content, content[1:]}
    else:
        assert content.endswith(said.text)


@given(TEXTS)
def test_any_text_can_be_asked_as_it_is(text: str) -> None:
    escaped = text if read_message(text) == Said(text=text) else f"/{text}"

    assert read_message(escaped) == Said(text=text)


@given(st.from_regex(r"\S+", fullmatch=True), st.text().filter(lambda text: text == text.lstrip() != ""))
def test_command_with_a_name_and_a_question_reads_back_as_both(name: str, question: str) -> None:
    said = read_message(f"/expert {name} {question}")

    if name.casefold() in {"off", "status"}:
        assert said == Said(text=question, command=Command(name.casefold()))
    else:
        assert said == Said(text=question, name=name)


@given(TEXTS, st.none() | st.sampled_from(["memory", "gone"]), st.booleans())
def test_answering_any_message_gives_an_answer_or_a_question_or_a_refusal(
    content: str, kept: str | None, in_session: bool
) -> None:
    said = read_message(content)
    try:
        answer = answer_command(said, BOOK, kept=kept, in_session=in_session)
    except RequestError:
        assert said != Said(text=said.text)
        return

    if answer is None:
        assert said.command is None
        assert said.text or said == Said(text="")
    else:
        assert said.text == ""
        assert answer.text
        assert answer.keeps in {None, kept, "memory"}


@given(BOOKS, st.lists(SHARED | WORDS, max_size=12))
def test_recognising_counts_whole_words_and_prefers_the_first_of_equals(book: PersonaBook, words: list[str]) -> None:
    personas = [book.named(name) for name in book.names]
    hits = [sum(words.count(trigger) for trigger in set(persona.triggers)) for persona in personas]

    found = book.recognised(" ".join(words))

    assert found == (personas[hits.index(max(hits))] if max(hits) else None)


@given(BOOKS, TEXTS)
def test_recognising_any_text_is_deterministic_and_does_not_depend_on_case(book: PersonaBook, text: str) -> None:
    found = book.recognised(text)

    assert book.recognised(text) == found
    assert book.recognised(text.casefold()) == found


OWN = st.builds(
    Parameters,
    temperature=st.none() | st.sampled_from([0.0, 0.5]),
    max_tokens=st.none() | st.just(3),
    seed=st.none() | st.just(0),
    stop=st.sampled_from([(), ("end",)]),
)


@given(OWN, OWN, st.frozensets(st.sampled_from(PARAMETER_NAMES)))
def test_each_parameter_comes_from_the_request_if_it_is_set_and_allowed_otherwise_from_the_persona(
    own: Parameters, default: Parameters, allowed: frozenset[str]
) -> None:
    request = Request(messages=(Message(role=Role.USER, content="why?"),), parameters=own)
    persona = replace(BOOK.named("memory"), parameters=default, allowed_parameters=allowed)
    given_by_request = {name for name in PARAMETER_NAMES if getattr(own, name) not in {None, (), "text"}}
    try:
        merged = persona.instructed(request).parameters
    except RequestError:
        assert not given_by_request <= allowed
        return

    assert given_by_request <= allowed
    for name in PARAMETER_NAMES:
        assert getattr(merged, name) == getattr(own if name in given_by_request else default, name)
