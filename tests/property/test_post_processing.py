from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.post_processing import strip_json_fences

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
containers = st.lists(values) | st.dictionaries(st.text(), values)
documents = st.builds(json.dumps, containers, indent=st.sampled_from([None, 2]), ensure_ascii=st.booleans())
line_ends = st.sampled_from(["\n", "\r\n"])
fences = st.sampled_from(["```", "````", "~~~"])
prose = st.text(st.characters(exclude_characters="`~{[", exclude_categories=["Cs"]))
markdown = st.lists(st.sampled_from(["```", "````", "~~~", "`", "json", "{", "]", " ", "\n", "\r\n", '"', "x"])).map(
    "".join
)


@given(
    document=documents,
    fence=fences,
    end=line_ends,
    before=prose,
    after=prose,
)
def test_fenced_json_with_prose_around_comes_out_whole(
    document: str, fence: str, end: str, before: str, after: str
) -> None:
    stripped = strip_json_fences(f"{before}\n{fence}json{end}{document}{end}{fence}{end}{after}")

    assert stripped == document


@given(document=documents)
def test_plain_json_is_returned_as_it_is(document: str) -> None:
    assert strip_json_fences(document) is document


@given(text=markdown)
def test_any_text_gives_itself_or_a_part_of_itself(text: str) -> None:
    assert strip_json_fences(text) in text
