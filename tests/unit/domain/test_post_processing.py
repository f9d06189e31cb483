from __future__ import annotations

import pytest

from holdfast.domain.post_processing import post_process, strip_json_fences
from holdfast.ports.inference import Citation, Completion, Parameters, ResponseFormat, Usage

JSON = Parameters(response_format=ResponseFormat.JSON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('```json\n{"a": 1}\n```', '{"a": 1}', id="tagged"),
        pytest.param('```JSON\n{"a": 1}\n```', '{"a": 1}', id="tag-in-capitals"),
        pytest.param("```json5\n{a: 1}\n```", "{a: 1}", id="json5"),
        pytest.param('```json title="x"\n{"a": 1}\n```', '{"a": 1}', id="tag-with-attributes"),
        pytest.param('```\n{"a": 1}\n```', '{"a": 1}', id="untagged-object"),
        pytest.param("```\n[1, 2]\n```", "[1, 2]", id="untagged-array"),
        pytest.param("```json\n42\n```", "42", id="tagged-scalar"),
        pytest.param('~~~json\n{"a": 1}\n~~~', '{"a": 1}', id="tildes"),
        pytest.param('`````json\n{"a": "```"}\n`````', '{"a": "```"}', id="longer-fence"),
        pytest.param('```json\r\n{"a": 1}\r\n```\r\n', '{"a": 1}', id="crlf"),
        pytest.param('  \n```json\n\n  {"a":\n 1}\n\n```\n ', '{"a":\n 1}', id="blank-lines-and-indentation"),
        pytest.param('   ```json\n   {"a": 1}\n   ```', '{"a": 1}', id="indented-fence"),
        pytest.param('```json\n{"a": 1}', '{"a": 1}', id="unclosed"),
        pytest.param('```json\n{"a": 1}```', '{"a": 1}', id="closing-fence-on-the-last-line"),
        pytest.param('```json {"a": 1}```', '{"a": 1}', id="one-line"),
        pytest.param('```{"a": 1}```', '{"a": 1}', id="one-line-untagged"),
        pytest.param('```json {"a":\n1}\n```', '{"a":\n1}', id="content-on-the-opening-line"),
        pytest.param('```\n```json\n{"a": 1}\n```\n```', '{"a": 1}', id="nested"),
        pytest.param('````markdown\n\n```json\n{"a": 1}\n```\n````', '{"a": 1}', id="nested-in-markdown"),
        pytest.param('Sure:\n\n```json\n{"a": 1}\n```\n\nAnything else?', '{"a": 1}', id="prose-around"),
        pytest.param('```python\nprint()\n```\n```json\n{"a": 1}\n```', '{"a": 1}', id="other-language-beside"),
        pytest.param('```print()``` gives\n```json\n{"a": 1}\n```', '{"a": 1}', id="code-span-before"),
        pytest.param('```json\n{"a": "x\u2028```y"}\n```', '{"a": "x\u2028```y"}', id="line-separator-in-a-string"),
        pytest.param('```json\n```\n```json\n{"a": 1}\n```', '{"a": 1}', id="empty-block-before"),
    ],
)
def test_strip_one_json_block_returns_its_content(text: str, expected: str) -> None:
    assert strip_json_fences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("no", id="prose"),
        pytest.param(' {"a": "```json\\n{}\\n```"}\n', id="plain-object-holding-a-fence"),
        pytest.param("\n[1, 2]", id="plain-array"),
        pytest.param("```\nnot json\n```", id="untagged-prose"),
        pytest.param('```python\n{"a": 1}\n```', id="another-language"),
        pytest.param('```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```', id="two-blocks"),
        pytest.param('``\n{"a": 1}\n``', id="fence-too-short"),
        pytest.param("```json\n\n```", id="nothing-inside"),
        pytest.param("```", id="a-fence-alone"),
    ],
)
def test_strip_without_one_json_block_returns_the_same_text(text: str) -> None:
    assert strip_json_fences(text) is text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("```json\n" * 150_000, id="only-openings"),
        pytest.param("```\n" * 250_000, id="only-fences"),
        pytest.param("`" * 1_000_000, id="one-endless-fence"),
        pytest.param("```json" + " " * 1_000_000 + "x", id="endless-info"),
        pytest.param("```json\n" + " \n" * 500_000, id="blank-block"),
        pytest.param("```json\n[" + "`` " * 330_000, id="almost-closing"),
    ],
)
@pytest.mark.timeout(20)  # quadratic work would take hours
def test_strip_hostile_megabyte_ends(text: str) -> None:
    assert len(strip_json_fences(text)) <= len(text)


def test_post_process_json_replaces_nothing_but_the_text() -> None:
    completion = Completion(
        text="```json\n{}\n```",
        model="m",
        usage=Usage(input_tokens=1, output_tokens=2),
        citations=(Citation(source="a.md", heading="A"),),
    )

    processed = post_process(completion, JSON)

    assert processed == Completion(text="{}", model="m", usage=completion.usage, citations=completion.citations)


def test_post_process_plain_json_returns_the_same_completion() -> None:
    completion = Completion(text="{}", model="m")

    assert post_process(completion, JSON) is completion


def test_post_process_text_keeps_its_fences() -> None:
    completion = Completion(text="```json\n{}\n```", model="m")

    assert post_process(completion, Parameters()) is completion
