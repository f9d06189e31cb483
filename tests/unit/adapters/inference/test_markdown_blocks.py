from __future__ import annotations

import pytest

from holdfast.adapters.inference.markdown_blocks import Block, Kind, read_blocks


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("one\ntwo\n\nthree", [(Kind.PARAGRAPH, "one two"), (Kind.PARAGRAPH, "three")], id="paragraphs"),
        pytest.param("- a\n  b\n* c\n+ d", [(Kind.ITEM, "a b"), (Kind.ITEM, "c"), (Kind.ITEM, "d")], id="items"),
        pytest.param("1. a\n12) b", [(Kind.ITEM, "a"), (Kind.ITEM, "b")], id="numbered-items"),
        pytest.param("- [ ] a\n- [x] b", [(Kind.ITEM, "a"), (Kind.ITEM, "b")], id="tasks"),
        pytest.param("- a\n    - b", [(Kind.ITEM, "a"), (Kind.ITEM, "b")], id="nested-items"),
        pytest.param(
            "text\n- a\n\ntext", [(Kind.PARAGRAPH, "text"), (Kind.ITEM, "a"), (Kind.PARAGRAPH, "text")], id="mix"
        ),
        pytest.param("> one\n> > two", [(Kind.PARAGRAPH, "one two")], id="quotation"),
        pytest.param("# A\ntext\n## B ##", [(Kind.PARAGRAPH, "text")], id="headings"),
        pytest.param("A\n===\ntext\n\nB\n-\nmore", [(Kind.PARAGRAPH, "text"), (Kind.PARAGRAPH, "more")], id="setext"),
        pytest.param("a\n\n---\n***\n_ _ _\nb", [(Kind.PARAGRAPH, "a"), (Kind.PARAGRAPH, "b")], id="rules"),
        pytest.param("- a\n---", [(Kind.ITEM, "a")], id="rule-below-an-item"),
        pytest.param("[a]: https://a.example\ntext", [(Kind.PARAGRAPH, "text")], id="link-definition"),
        pytest.param("```sh\na | b\n# c\n```", [(Kind.CODE, "```\na | b\n# c\n```")], id="code"),
        pytest.param("~~~~\n```\n~~~\n~~~~", [(Kind.CODE, "```\n```\n~~~\n```")], id="tilde-code"),
        pytest.param("   ```\n     a\n   b\n   ```", [(Kind.CODE, "```\n  a\nb\n```")], id="indented-code-fence"),
        pytest.param("```\na", [(Kind.CODE, "```\na\n```")], id="unclosed-code"),
        pytest.param("```\n```", [], id="empty-code"),
        pytest.param("```\n" + "a\n" * 13 + "```", [], id="long-code"),
        pytest.param("```a``` is code", [(Kind.PARAGRAPH, "```a``` is code")], id="code-span-at-the-start"),
        pytest.param("|a|b|\n|-|:-:|\n|1|2|", [(Kind.ROW, "a: 1; b: 2")], id="table"),
        pytest.param("a | b\n--- | ---\n1 | 2", [(Kind.ROW, "a: 1; b: 2")], id="table-without-borders"),
        pytest.param("| |b|\n|-|-|\n|1| |\n|3|4|5|", [(Kind.ROW, "1"), (Kind.ROW, "3; b: 4; 5")], id="uneven-table"),
        pytest.param("|1|2|\n|3|4|", [(Kind.ROW, "1; 2"), (Kind.ROW, "3; 4")], id="table-cut-off-its-header"),
        pytest.param("|a|\n|-|\n|x \\| y|", [(Kind.ROW, "a: x | y")], id="border-in-a-cell"),
        pytest.param(
            "|a|\n|-|\n|1|\n\nb | c", [(Kind.ROW, "a: 1"), (Kind.PARAGRAPH, "b | c")], id="text-after-a-table"
        ),
    ],
)
def test_read_markdown_gives_its_blocks(markdown: str, expected: list[tuple[Kind, str]]) -> None:
    assert read_blocks(markdown) == [Block(kind, text) for kind, text in expected]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        pytest.param("[text](https://a.example/b) and [other][1]", "text and other", id="links"),
        pytest.param("[`adr/1`](adr/1.md)", "`adr/1`", id="code-in-a-link"),
        pytest.param("[![picture](a.svg)](b) ![alt](c)", "picture alt", id="pictures"),
        pytest.param(
            "<https://a.example> <mailto:a@a.example>", "https://a.example mailto:a@a.example", id="addresses"
        ),
        pytest.param("claim[^1] stands", "claim stands", id="footnote"),
        pytest.param("**bold** *it* ***both*** in**side**", "bold it both in**side", id="emphasis"),
        pytest.param(
            "2 * 3 * 4 and snake_case and __init__", "2 * 3 * 4 and snake_case and __init__", id="no-emphasis"
        ),
        pytest.param("`**kwargs` and `[a](b)`", "`**kwargs` and `a`", id="code-span"),
        pytest.param("a &lt; b &amp; c&nbsp;d", "a < b & c d", id="entities"),
        pytest.param("1\\. \\*not\\* it", "1. *not* it", id="escapes"),
        pytest.param("a<br>b <!-- hidden --> <b>c</b>", "ab c", id="tags"),
        pytest.param("a < b > c", "a < b > c", id="comparison"),
    ],
)
def test_read_paragraph_is_rendered_as_its_reader_sees_it(markdown: str, expected: str) -> None:
    assert [block.text for block in read_blocks(markdown)] == [expected]


@pytest.mark.parametrize(
    "markdown",
    [
        pytest.param("[" * 200_000, id="brackets"),
        pytest.param("[a](" * 50_000, id="links"),
        pytest.param("`" * 200_000, id="backticks"),
        pytest.param("` " * 100_000, id="spans"),
        pytest.param("*" * 200_000, id="stars"),
        pytest.param("*a " * 60_000, id="openers"),
        pytest.param("<a" * 100_000, id="tags"),
        pytest.param("<!--" * 50_000, id="comments"),
        pytest.param("|" * 200_000, id="cells"),
        pytest.param("-" * 200_000 + "x", id="almost-a-rule"),
        pytest.param("a\n" + "|-" * 100_000 + "x", id="almost-a-table"),
        pytest.param("> " * 100_000, id="quotations"),
        pytest.param(" " * 200_000 + "x", id="spaces"),
        pytest.param("\\" * 200_000, id="backslashes"),
        pytest.param("```\n" * 50_000, id="fences"),
    ],
)
@pytest.mark.timeout(60)  # quadratic work would take longer
def test_read_hostile_text_ends(markdown: str) -> None:
    assert sum(len(block.text) for block in read_blocks(markdown)) <= 3 * len(markdown)
