from __future__ import annotations

import pytest

from holdfast.adapters.inference.statements import Statement, read_statements


def texts(markdown: str) -> list[str]:
    return [statement.text for statement in read_statements(markdown)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"], id="ends"),
        pytest.param("Use it, e.g. Here, i.e. There, etc. Always.", None, id="abbreviations"),
        pytest.param("Ask Dr. Okafor (cf. Fig. 3).", None, id="titles-and-references"),
        pytest.param(
            "By K. Sparck Jones. In 1972. Read it.", ["By K. Sparck Jones.", "In 1972.", "Read it."], id="initial"
        ),
        pytest.param("Version 9.2.1 costs 0.5 s. Fine.", ["Version 9.2.1 costs 0.5 s.", "Fine."], id="numbers"),
        pytest.param("It ends. pybreaker begins.", ["It ends.", "pybreaker begins."], id="name-in-lower-case"),
        pytest.param(
            "Wait... and see… or not. Done… Yes.", ["Wait... and see… or not.", "Done…", "Yes."], id="ellipsis"
        ),
        pytest.param('He said "so." She (went.) Off.', ['He said "so."', "She (went.)", "Off."], id="closing-marks"),
        pytest.param('It (too) is "one" of [them] here.', None, id="closing-marks-within"),
        pytest.param("Call `a. b` now. Then `c.` Go.", ["Call `a. b` now.", "Then `c.` Go."], id="code-spans"),
        pytest.param("第一句。第二句！Third.", ["第一句。", "第二句！", "Third."], id="full-width"),
        pytest.param("Is it so?! It is.", ["Is it so?!", "It is."], id="two-marks"),
        pytest.param("no end at all", None, id="no-end"),
        pytest.param(". Odd", [".", "Odd"], id="a-stop-alone"),
    ],
)
def test_read_paragraph_is_split_into_sentences(text: str, expected: list[str] | None) -> None:
    assert texts(text) == (expected or [text])


def test_read_short_list_after_a_colon_is_one_statement() -> None:
    assert texts("Before. It fails:\n\n- on reading;\n- on writing.\n\nAfter.") == [
        "Before.",
        "It fails: on reading; on writing.",
        "After.",
    ]


def test_read_long_list_after_a_colon_is_one_statement_each_in_its_context() -> None:
    items = [f"item number {number} " + "word " * 50 for number in range(3)]

    statements = read_statements("Reasons:\n" + "\n".join(f"- {item}" for item in items))

    assert statements == [Statement(text=item.strip(), context="Reasons:") for item in items]


def test_read_list_without_an_introduction_is_split_into_sentences() -> None:
    assert read_statements("Text.\n\n- One. Two.\n- Three") == [
        Statement(text="Text."),
        Statement(text="One."),
        Statement(text="Two."),
        Statement(text="Three"),
    ]


def test_read_table_rows_are_statements_in_the_context_of_its_introduction() -> None:
    assert read_statements("The limits:\n\n|a|b|\n|-|-|\n|1|2|\n\nText.") == [
        Statement(text="a: 1; b: 2", context="The limits:"),
        Statement(text="Text."),
    ]


def test_read_code_stands_with_the_line_before_it() -> None:
    assert texts("Install. Then run it:\n```\nmake\n```\n```\nmake test\n```") == [
        "Install.",
        "Then run it:\n```\nmake\n```",
        "```\nmake test\n```",
    ]


def test_read_code_below_a_list_item_stands_with_that_item() -> None:
    assert texts("Steps:\n1. Look.\n2. Move it:\n   ```\n   mv\n   ```") == ["Look.", "Move it:\n```\nmv\n```"]


@pytest.mark.parametrize("markdown", ["Nothing follows:", "Left out:\n```\n" + "a\n" * 13 + "```", "", "- see:"])
def test_read_introduction_of_nothing_says_nothing(markdown: str) -> None:
    assert texts(markdown) == []


def test_read_introduction_before_another_paragraph_is_left_out() -> None:
    assert texts("Note this:\n\nIt works.") == ["It works."]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("." * 200_000, id="stops"),
        pytest.param(". " * 100_000, id="stops-and-spaces"),
        pytest.param("a. " * 60_000 + "`", id="sentences"),
        pytest.param("` a. b " * 30_000, id="open-code-span"),
        pytest.param("e.g. " * 40_000, id="abbreviations"),
        pytest.param("。" * 200_000, id="full-width-stops"),
        pytest.param('."' * 100_000, id="closing-marks"),
    ],
)
@pytest.mark.timeout(60)  # quadratic work would take longer
def test_read_hostile_text_keeps_every_letter(text: str) -> None:
    assert len("".join("".join(texts(text)).split())) == len("".join(text.split()))
