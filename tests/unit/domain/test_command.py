from __future__ import annotations

import pytest

from holdfast.domain.command import Command, CommandAnswer, Said, answer_command, read_message
from holdfast.domain.persona import Persona, PersonaBook
from holdfast.ports.errors import RequestError

BOOK = PersonaBook([Persona(name="memory", prompt="You know allocators."), Persona(name="SQL", prompt="You know SQL.")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("/expert", Said(text="", command=Command.LIST)),
        ("/expert \n", Said(text="", command=Command.LIST)),
        ("/EXPERT", Said(text="", command=Command.LIST)),
        ("/expert status", Said(text="", command=Command.STATUS)),
        ("/expert  Status ", Said(text="", command=Command.STATUS)),
        ("/expert off", Said(text="", command=Command.OFF)),
        ("/expert off now, please", Said(text="now, please", command=Command.OFF)),
        ("/expert memory", Said(text="", name="memory")),
        ("/expert memory  ", Said(text="", name="memory")),
        ("/expert Memory why is\nit slow? ", Said(text="why is\nit slow? ", name="Memory")),
        ("/expert\tmemory\nwhy?", Said(text="why?", name="memory")),
        ("/expert statuses", Said(text="", name="statuses")),
        ("/expert /expert off", Said(text="off", name="/expert")),
    ],
)
def test_read_message_with_a_command_at_its_beginning_is_one(content: str, said: Said) -> None:
    assert read_message(content) == said


@pytest.mark.parametrize(
    "content",
    [
        "",
        "why?",
        "/",
        "//",
        "/help",
        "/experts disagree",
        "/expert-mode",
        "/expert: why?",
        "/exper",
        " /expert off",
        "\n/expert off",
        "\ufeff/expert off",
        "expert off",
        "/ expert off",
        "what does /expert off do?",
        "//experts",
        "/usr/bin/expert",
        "//host/share",
    ],
)
def test_read_message_that_is_no_command_is_ordinary_text_as_it_is(content: str) -> None:
    assert read_message(content) == Said(text=content)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("//expert off", "/expert off"),
        ("//expert", "/expert"),
        ("///expert x", "//expert x"),
        ("//Expert\n", "/Expert\n"),
    ],
)
def test_read_message_with_one_more_slash_is_the_text_without_it(content: str, text: str) -> None:
    assert read_message(content) == Said(text=text)


def answer(content: str, *, kept: str | None = None, in_session: bool = True) -> CommandAnswer | None:
    return answer_command(read_message(content), BOOK, kept=kept, in_session=in_session)


@pytest.mark.parametrize("content", ["why?", "//expert off", "/expert memory why?"])
def test_answer_to_a_question_is_left_to_a_backend(content: str) -> None:
    assert answer(content) is None


@pytest.mark.parametrize("in_session", [True, False])
def test_answer_to_the_bare_command_lists_the_personas_and_changes_nothing(in_session: bool) -> None:
    listed = answer("/expert", kept="memory", in_session=in_session)

    assert listed is not None
    assert listed.text.startswith("There are memory, SQL. /expert NAME question asks one of them,")
    assert listed.keeps == "memory"


@pytest.mark.parametrize(
    ("kept", "in_session", "text"),
    [
        ("memory", True, "This session keeps memory."),
        (None, True, "This session keeps no persona. There are memory, SQL."),
        ("gone", True, "This session keeps gone, which is not there any more. There are memory, SQL."),
        (None, False, "There is no session to keep a persona. There are memory, SQL."),
    ],
)
def test_answer_to_status_says_what_is_kept_and_changes_nothing(kept: str | None, in_session: bool, text: str) -> None:
    assert answer("/expert status", kept=kept, in_session=in_session) == CommandAnswer(text=text, keeps=kept)


@pytest.mark.parametrize(
    ("kept", "in_session", "text"),
    [
        ("memory", True, "memory is not kept any more."),
        (None, True, "No persona was kept."),
        (None, False, "No persona was kept."),
    ],
)
def test_answer_to_off_keeps_none_any_more(kept: str | None, in_session: bool, text: str) -> None:
    assert answer("/expert off", kept=kept, in_session=in_session) == CommandAnswer(text=text, keeps=None)


def test_answer_to_a_name_alone_keeps_it_as_the_settings_write_it() -> None:
    assert answer("/expert sql", kept="memory") == CommandAnswer(
        text="SQL answers in this session from now on. /expert off ends that.", keeps="SQL"
    )


def test_answer_to_a_name_alone_without_a_session_is_refused_saying_what_to_do() -> None:
    with pytest.raises(
        RequestError, match=r"without a session, /expert memory holds for one question; write it behind"
    ):
        answer("/expert memory", in_session=False)


@pytest.mark.parametrize("content", ["/expert nobody", "/expert nobody why?", "/expert statuses"])
def test_answer_to_an_unknown_name_is_refused_naming_the_valid_ones(content: str) -> None:
    with pytest.raises(RequestError, match=r"^persona: there is no '\w+'; known: memory, SQL$"):
        answer(content)


@pytest.mark.parametrize("command", ["status", "off"])
def test_answer_to_a_command_with_something_behind_it_is_refused(command: str) -> None:
    with pytest.raises(RequestError, match=rf"^messages: nothing follows /expert {command}; send the question"):
        answer(f"/expert {command} please")
