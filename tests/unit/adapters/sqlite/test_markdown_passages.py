from __future__ import annotations

import pytest

from holdfast.adapters.sqlite.markdown_passages import Piece, split_markdown, split_plain_text


def pieces(text: str, *, max_chars: int = 1000) -> list[tuple[str, str]]:
    return [(piece.heading, piece.text) for piece in split_markdown(text, name="notes", max_chars=max_chars)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(" \n\n\t\n", [], id="blank"),
        pytest.param("just text\n", [("notes", "just text")], id="no-heading"),
        pytest.param("# A\n\ntext\n", [("A", "text")], id="title-only"),
        pytest.param("before\n# A\ntext", [("notes", "before"), ("A", "text")], id="text-before-the-title"),
        pytest.param("# A\na\n## B\nb\n### C\nc", [("A", "a"), ("B", "b"), ("B > C", "c")], id="trail-without-title"),
        pytest.param("# A\na\n# B\n## C\nc", [("A", "a"), ("B > C", "c")], id="two-tops-are-no-titles"),
        pytest.param("## B\nb\n# A\na", [("B", "b"), ("A", "a")], id="the-top-comes-second"),
        pytest.param("# A\n## B\n### C\n## D\nd", [("B > C", "### C"), ("D", "d")], id="nothing-under-a-heading"),
        pytest.param("# A\n", [("A", "# A")], id="nothing-but-a-title"),
        pytest.param("# A #\ntext", [("A", "text")], id="closed-heading"),
        pytest.param("# C#\ntext", [("C#", "text")], id="hash-in-the-heading"),
        pytest.param("   ###### F\ntext", [("F", "text")], id="deepest-and-indented"),
        pytest.param("# `Pool` and **[why](https://a.example/b)**\nx", [("Pool and why", "x")], id="inline-markup"),
        pytest.param("A\n===\na\n\nB\n---\nb", [("A", "a"), ("B", "b")], id="setext"),
        pytest.param("A\nB\n===\na", [("A B", "a")], id="setext-of-two-lines"),
        pytest.param("# A\r\n\r\ntext\r\n\r\nmore\r\n", [("A", "text\r\n\r\nmore")], id="crlf"),
        pytest.param("---\ntitle: x\n---\n# A\na", [("notes", "---\ntitle: x\n---"), ("A", "a")], id="front-matter"),
        pytest.param("---\nA\n---\na", [("notes", "---"), ("A", "a")], id="a-rule-is-no-front-matter"),
        pytest.param("---\nkey: 1\n...\n# A\na", [("notes", "---\nkey: 1\n..."), ("A", "a")], id="front-matter-dots"),
    ],
)
def test_split_document_gives_passages_under_their_headings(text: str, expected: list[tuple[str, str]]) -> None:
    assert pieces(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("```\n# a\n```", id="in-a-fence"),
        pytest.param("~~~sh\n# a\n```\n# b\n~~~", id="in-a-tilde-fence"),
        pytest.param("````\n```\n# a\n````", id="in-a-longer-fence"),
        pytest.param("```\n# a\nb\n===", id="in-an-unclosed-fence"),
        pytest.param("- x\n\n      ```\n# a\n      ```", id="in-a-fence-within-a-list"),
        pytest.param("    # a", id="indented-code"),
        pytest.param("\t# a", id="indented-by-a-tab"),
        pytest.param("#a", id="hashtag"),
        pytest.param("####### a", id="seven"),
        pytest.param("#\ntext", id="nothing-in-it"),
        pytest.param("# **\ntext", id="only-markup-in-it"),
        pytest.param("# " + "long " * 40, id="too-long-to-cite"),
        pytest.param("> a\n---", id="rule-after-a-quotation"),
        pytest.param("- a\n---", id="rule-after-a-list"),
        pytest.param("| a |\n---", id="rule-after-a-table"),
        pytest.param("a\n\n---\nb", id="rule-after-a-blank-line"),
        pytest.param("---\na", id="rule-at-the-top"),
        pytest.param("***\n---\n", id="rule-after-a-rule"),
        pytest.param("---\nkey: never closed\n", id="unclosed-front-matter"),
    ],
)
def test_split_line_that_only_looks_like_a_heading_stays_text(text: str) -> None:
    split = pieces(text)

    assert {heading for heading, _ in split} == {"notes"}
    assert " ".join(body for _, body in split).split() == text.split()


def test_split_heading_after_a_closed_fence_counts() -> None:
    assert pieces("```\n# a\n```\n# B\nb") == [("notes", "```\n# a\n```"), ("B", "b")]


def test_split_document_with_a_title_names_it_in_every_piece() -> None:
    split = list(split_markdown("# A\na\n## B\nb", name="notes", max_chars=1000))

    assert split == [Piece(title="A", heading="A", text="a"), Piece(title="A", heading="B", text="b")]


def test_split_long_section_is_cut_between_paragraphs() -> None:
    assert pieces("# A\n" + "aaaa\n\nbbbb\n\ncccc", max_chars=12) == [("A", "aaaa\n\nbbbb"), ("A", "cccc")]


def test_split_long_list_is_cut_between_items() -> None:
    text = "- one\n  more\n- two\n  more"

    assert pieces(text, max_chars=20) == [("notes", "- one\n  more"), ("notes", "- two\n  more")]


def test_split_long_paragraph_is_cut_between_lines_then_words_then_letters() -> None:
    assert [text for _, text in pieces("aa\nbb cc\ndddddd", max_chars=5)] == ["aa", "bb", "cc", "ddddd", "d"]


def test_split_long_fence_is_cut_between_its_lines() -> None:
    assert [text for _, text in pieces("```\naa\nbb\n```", max_chars=7)] == ["```\naa", "bb\n```"]


def test_split_piece_keeps_the_indentation_of_its_first_line() -> None:
    assert pieces("\n\n    code\n") == [("notes", "    code")]


def test_split_plain_text_takes_no_line_for_a_heading() -> None:
    split = list(split_plain_text("# a\nb\n===\n\nc", name="notes", max_chars=10))

    assert split == [
        Piece(title="notes", heading="notes", text="# a\nb\n==="),
        Piece(title="notes", heading="notes", text="c"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#" * 1_000_000, id="hashes"),
        pytest.param("# " + "[" * 1_000_000, id="brackets-in-a-heading"),
        pytest.param("# " + "[a](" * 250_000, id="links-in-a-heading"),
        pytest.param("a\n" * 300_000 + "---", id="a-heading-of-many-lines"),
        pytest.param("-" * 1_000_000 + "x", id="almost-an-underline"),
        pytest.param("a\n-\n" * 200_000, id="many-setext-headings"),
        pytest.param("# a\n" * 200_000, id="many-headings"),
        pytest.param("`" * 1_000_000, id="backticks"),
        pytest.param(" " * 1_000_000, id="spaces"),
        pytest.param("- " * 500_000 + "x", id="almost-a-rule"),
        pytest.param("a b " * 250_000, id="one-long-line"),
    ],
)
@pytest.mark.timeout(30)  # quadratic work would take hours
def test_split_hostile_megabyte_ends_in_bounded_pieces(text: str) -> None:
    assert all(len(piece.text) <= 2000 for piece in split_markdown(text, name="notes", max_chars=2000))
