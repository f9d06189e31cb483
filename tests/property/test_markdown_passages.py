from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.adapters.sqlite.markdown_passages import split_markdown, split_plain_text

headings = st.sampled_from(["# A", "## B", "### C #", "#", "===", "---", "-"])
code = st.sampled_from(["```", "~~~", "````", "    code", "\ttab"])
others = st.sampled_from(
    ["", " ", "text", "two words", "- item", "1. one", "> quoted", "| cell |", "key: value", "\x0c"]
)
lines = st.lists(headings | code | others | st.just("a\u2028b") | st.just("x" * 12))
documents = st.builds(lambda parts, end: end.join(parts), lines, st.sampled_from(["\n", "\r\n", "\r"]))
words = st.text(st.characters(categories=["L"]), min_size=1)
bounds = st.integers(min_value=1, max_value=60)


@given(text=st.text() | documents, max_chars=bounds)
def test_split_plain_text_keeps_every_character_once_and_in_order(text: str, max_chars: int) -> None:
    pieces = [piece.text for piece in split_plain_text(text, name="n", max_chars=max_chars)]

    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(text=st.text() | documents, max_chars=bounds)
def test_split_pieces_never_exceed_the_bound_and_hold_something(text: str, max_chars: int) -> None:
    pieces = list(split_markdown(text, name="n", max_chars=max_chars))

    assert all(0 < len(piece.text.strip()) <= len(piece.text) <= max_chars for piece in pieces)


@given(text=documents, max_chars=bounds)
def test_split_markdown_keeps_order_and_skips_nothing_but_headings(text: str, max_chars: int) -> None:
    pieces = list(split_markdown(text, name="n", max_chars=max_chars))
    headings = {part for piece in pieces for part in (piece.title, *piece.heading.split(" > "))}

    rest = text
    skipped: list[str] = []
    for piece in pieces:
        before, found, rest = rest.partition(piece.text)
        assert found
        skipped.append(before)
    for gap in [*skipped, rest]:
        for line in gap.splitlines():
            heading = line.strip().strip("#=-").strip()
            assert not heading or any(heading in known for known in headings)


@given(bodies=st.lists(st.tuples(st.integers(1, 6), words, st.lists(words)), min_size=1), max_chars=bounds)
def test_split_generated_document_gives_back_its_bodies(
    bodies: list[tuple[int, str, list[str]]], max_chars: int
) -> None:
    bodies = [(level, heading[:100], [*paragraphs, "end"]) for level, heading, paragraphs in bodies]
    text = "".join(
        f"{'#' * level} {heading}\n\n{chr(10).join(paragraphs)}\n\n" for level, heading, paragraphs in bodies
    )

    pieces = [piece.text for piece in split_markdown(text, name="n", max_chars=max_chars)]

    assert "".join("".join(pieces).split()) == "".join("".join(paragraphs) for _, _, paragraphs in bodies)
