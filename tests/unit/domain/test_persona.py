from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any, Literal

import pytest

from holdfast.domain.persona import MAX_RECOGNISED_CHARS, ChosenBy, Persona, PersonaBook
from holdfast.ports.errors import ConfigurationError, RequestError
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role
from holdfast.ports.service import Request

MEMORY = Persona(name="memory", prompt="You know allocators.", triggers=("memory", "leak"))
SQL = Persona(name="sql", prompt="You know databases.", triggers=("query", "leak"))
POET = Persona(name="Poet", prompt="You rhyme.", parameters=Parameters(temperature=0.9, max_tokens=50))
BOOK = PersonaBook([MEMORY, SQL, POET])
QUESTION = Request(messages=(Message(role=Role.USER, content="why?"),))


def recognised(text: str, book: PersonaBook = BOOK) -> str | None:
    persona = book.recognised(text)
    return None if persona is None else persona.name


@pytest.mark.parametrize("name", ["memory", "MEMORY", "Memory"])
def test_named_in_any_case_returns_the_persona(name: str) -> None:
    assert BOOK.named(name) is MEMORY


@pytest.mark.parametrize("name", ["", "mem", "memory ", "memory\0", "straße"])
def test_named_unknown_is_a_value_error_naming_the_valid_ones(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        BOOK.named(name)

    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == f"persona: there is no {name!r}; known: memory, sql, Poet"


def test_named_where_there_are_no_personas_says_so() -> None:
    with pytest.raises(RequestError, match=r"^persona: there is no 'x'; known: none$"):
        PersonaBook().named("x")


def test_find_unknown_returns_none() -> None:
    assert BOOK.find("nobody") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("how much memory does it take", "memory"),
        ("MEMORY!", "memory"),
        ("(memory)", "memory"),
        ("memory_usage", "memory"),
        ("a slow query", "sql"),
        ("memory, query, query", "sql"),
        ("query, memory", "memory"),
        ("query query memory memory", "memory"),
        ("leak", "memory"),
        ("memoryless leakage of queries", None),
        ("", None),
        (" \n\t", None),
        ("you rhyme, poet", None),
    ],
)
def test_recognised_text_gives_the_persona_with_most_hits_and_of_equals_the_first(
    text: str, expected: str | None
) -> None:
    assert recognised(text) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        ("größe", "Welche GRÖSSE hat es?"),
        ("straße", "in der STRASSE"),
        ("café", "au CAFÉ, vite"),
        ("σοφός", "ΣΟΦΌΣ"),
        ("हिन्दी", "क्या यह हिन्दी है"),
        ("内存", "内存 泄漏"),
        ("λ", "Λ-Kalkül"),
    ],
)
def test_recognised_trigger_beyond_ascii_is_found_however_it_is_encoded(
    form: Literal["NFC", "NFD"], trigger: str, text: str
) -> None:
    book = PersonaBook([replace(MEMORY, triggers=(trigger,))])

    assert recognised(unicodedata.normalize(form, text), book) == "memory"


def test_recognised_trigger_that_is_a_part_of_a_word_with_marks_is_not_found() -> None:
    book = PersonaBook([replace(MEMORY, triggers=("caf", "cafe", "ह"))])

    assert recognised("café हिन्दी", book) is None
    assert recognised(unicodedata.normalize("NFD", "café"), book) is None


@pytest.mark.parametrize("text", [".*", "(a+)+$", "[", "memor.", "\\bmemory\\b[", "m" * 5000, "\ud800", "\0"])
def test_recognised_text_that_looks_like_a_pattern_is_only_text(text: str) -> None:
    assert recognised(text) is None


def test_recognised_text_is_searched_up_to_its_bound_and_half_a_word_is_no_word() -> None:
    filling = "x " * (MAX_RECOGNISED_CHARS // 2 - 4)

    assert recognised(f"{filling}memory") == "memory"
    assert recognised(f"{filling}memory  ") == "memory"
    assert recognised(f"{filling}  memoryless") is None
    assert recognised(f"{'x ' * MAX_RECOGNISED_CHARS}memory") is None
    assert recognised(" " * 2 * MAX_RECOGNISED_CHARS) is None
    assert recognised("x" * 2 * MAX_RECOGNISED_CHARS) is None


def test_recognised_trigger_given_twice_counts_once() -> None:
    book = PersonaBook([MEMORY, replace(SQL, triggers=("query", "QUERY"))])

    assert recognised("query memory", book) == "memory"


@pytest.mark.parametrize(
    ("requested", "commanded", "kept", "text", "expected"),
    [
        ("sql", "memory", "poet", "memory", ("sql", ChosenBy.NAME)),
        (None, "memory", "poet", "query", ("memory", ChosenBy.COMMAND)),
        (None, None, "poet", "query", ("Poet", ChosenBy.SESSION)),
        (None, None, None, "query", ("sql", ChosenBy.TEXT)),
        (None, None, None, "why?", None),
        (None, None, "gone", "query", ("sql", ChosenBy.TEXT)),
        (None, None, "gone", "why?", None),
    ],
)
def test_choose_takes_the_first_of_name_command_session_and_text(
    requested: str | None,
    commanded: str | None,
    kept: str | None,
    text: str,
    expected: tuple[str, ChosenBy] | None,
) -> None:
    chosen = BOOK.choose(requested=requested, commanded=commanded, kept=kept, text=text)

    assert (None if chosen is None else (chosen.persona.name, chosen.chosen_by)) == expected


@pytest.mark.parametrize(("requested", "commanded"), [("nobody", None), (None, "nobody"), ("sql", "nobody")])
def test_choose_unknown_name_is_refused_also_where_another_one_would_win(
    requested: str | None, commanded: str | None
) -> None:
    with pytest.raises(RequestError, match=r"there is no 'nobody'; known: memory, sql, Poet"):
        BOOK.choose(requested=requested, commanded=commanded, kept=None, text="why?")


def test_instructed_request_gets_the_name_and_the_parameters_that_it_does_not_set() -> None:
    request = replace(QUESTION, persona="POET", parameters=Parameters(temperature=0.0, seed=7))

    assert POET.instructed(request) == replace(
        QUESTION, persona="Poet", parameters=Parameters(temperature=0.0, seed=7, max_tokens=50)
    )


def test_instructed_request_keeps_every_parameter_of_its_own() -> None:
    own = Parameters(
        temperature=0.0, top_p=0.5, max_tokens=9, seed=0, stop=("end",), response_format=ResponseFormat.JSON
    )
    persona = replace(MEMORY, parameters=Parameters(temperature=1.0, top_p=1.0, max_tokens=1, seed=1, stop=("a", "b")))

    assert persona.instructed(replace(QUESTION, parameters=own)).parameters == own


def test_instructed_request_that_sets_what_is_not_allowed_is_refused_naming_what_is() -> None:
    persona = replace(MEMORY, allowed_parameters=frozenset({"max_tokens", "seed"}))

    allowed = persona.instructed(replace(QUESTION, parameters=Parameters(max_tokens=9)))

    assert allowed.parameters.max_tokens == 9
    with pytest.raises(
        RequestError,
        match=r"^parameters\.temperature: persona 'memory' does not leave it .*; it allows max_tokens, seed$",
    ):
        persona.instructed(replace(QUESTION, parameters=Parameters(temperature=0.0)))


def test_instructed_request_of_a_persona_that_allows_nothing_may_still_set_nothing() -> None:
    persona = replace(POET, allowed_parameters=frozenset())

    assert persona.instructed(QUESTION).parameters == POET.parameters
    with pytest.raises(RequestError, match=r"it allows none$"):
        persona.instructed(replace(QUESTION, parameters=Parameters(response_format=ResponseFormat.JSON)))


def test_label_is_the_name_and_a_version_that_prompt_and_parameters_change() -> None:
    labels = {
        persona.label
        for persona in (
            MEMORY,
            replace(MEMORY, name="other"),
            replace(MEMORY, prompt="You know garbage collectors."),
            replace(MEMORY, parameters=Parameters(seed=1)),
        )
    }

    assert len(labels) == 4
    assert all(label.split()[0] in {"memory", "other"} for label in labels)
    assert replace(MEMORY, triggers=(), allowed_parameters=frozenset()).label == MEMORY.label


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, r"^personas\.: a persona's name is one printable word$"),
        ({"name": "two words"}, r"^personas\.two words: a persona's name is one printable word$"),
        ({"name": " x"}, r"one printable word"),
        ({"name": "x\x1b"}, r"one printable word"),
        ({"name": "Status"}, r"^personas\.Status: is a command; choose another name$"),
        ({"name": "off"}, r"^personas\.off: is a command; choose another name$"),
        ({"prompt": " \n"}, r"^personas\.memory\.prompt: must not be blank$"),
        ({"triggers": ("memory", "out of")}, r"^personas\.memory\.triggers: a trigger is one word, not 'out of'$"),
        ({"triggers": ("",)}, r"^personas\.memory\.triggers: a trigger is one word, not ''$"),
        ({"triggers": ("c++",)}, r"^personas\.memory\.triggers: a trigger is one word, not 'c\+\+'$"),
        (
            {"allowed_parameters": frozenset({"seed", "sed", "model"})},
            r"^personas\.memory\.allowed_parameters: model, sed: no such parameter; known: temperature, top_p, ",
        ),
        (
            {"parameters": Parameters(top_p=2.0)},
            r"^personas\.memory\.parameters\.top_p: must be above 0 and at most 1, not 2\.0$",
        ),
    ],
)
def test_persona_that_could_not_work_is_refused_with_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(MEMORY, **changes)


def test_book_with_two_names_that_differ_in_case_only_is_refused_with_both() -> None:
    with pytest.raises(ConfigurationError, match=r"^personas\.MEMORY: is the same name as personas\.memory;"):
        PersonaBook([MEMORY, SQL, replace(MEMORY, name="MEMORY")])
