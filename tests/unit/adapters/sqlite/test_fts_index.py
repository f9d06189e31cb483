from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.adapters.sqlite.document_folder import Stamp
from holdfast.adapters.sqlite.fts_index import FtsIndex
from holdfast.adapters.sqlite.markdown_passages import Piece

STAMP = Stamp(1, 1)


@pytest.fixture
def index() -> Iterator[FtsIndex]:
    index = FtsIndex(None, origin="here")
    yield index
    index.close()


def piece(text: str, heading: str = "H") -> Piece:
    return Piece(title="T", heading=heading, text=text)


def test_search_words_found_too_often_together_goes_by_the_rarest(index: FtsIndex) -> None:
    index.put("common.md", STAMP, [piece("common")] * 3000)
    index.put("rare.md", STAMP, [piece("rare")])

    assert [passage.source for passage in index.search(("common", "rare"), 5)] == ["rare.md"]


def test_search_one_word_found_too_often_is_searched_for_all_the_same(index: FtsIndex) -> None:
    index.put("common.md", STAMP, [piece("common")] * 3001)

    assert len(index.search(("common", "missing"), 5)) == 5


def test_search_words_that_can_all_be_afforded_count_all(index: FtsIndex) -> None:
    index.put("common.md", STAMP, [piece("common")] * 2999)
    index.put("rare.md", STAMP, [piece("rare")])

    assert len(index.search(("common", "rare"), 5000)) == 3000


def test_search_equal_scores_come_in_order_of_source_and_heading(index: FtsIndex) -> None:
    index.put("b.md", STAMP, [piece("word", "Y"), piece("word", "X")])
    index.put("a.md", STAMP, [piece("word", "Z")])

    found = [(passage.source, passage.heading) for passage in index.search(("word",), 5)]

    assert found == [("a.md", "Z"), ("b.md", "X"), ("b.md", "Y")]


def test_put_that_fails_changes_nothing(index: FtsIndex) -> None:
    index.put("a.md", STAMP, [piece("alpha")])

    def failing() -> Iterator[Piece]:
        yield piece("beta")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the very one
        index.put("a.md", Stamp(2, 2), failing())

    assert index.stamps() == {"a.md": STAMP}
    assert len(index.search(("alpha",), 5)) == 1
    assert index.search(("beta",), 5) == ()
