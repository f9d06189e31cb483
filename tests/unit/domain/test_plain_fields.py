from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.domain.plain_fields import PlainFields


def fields(**values: object) -> PlainFields:
    return PlainFields(values)


def test_fields_of_the_right_types_are_taken_one_by_one() -> None:
    found = fields(a="x", b=None, c=0, d=1.5, e=2, f=True, g=["x", "y"], h=[["x", "y"]], i={"j": "z"})

    assert (found.text("a"), found.text_or_none("b"), found.count("c")) == ("x", None, 0)
    assert (found.number("d"), found.number("e"), found.truth("f")) == (1.5, 2.0, True)
    assert (found.texts("g"), found.rows("h", length=2)) == (("x", "y"), [("x", "y")])
    assert found.inner("i").text("j") == "z"
    found.end()


@pytest.mark.parametrize("value", [None, 1, "x", ["x"]])
def test_fields_of_what_is_no_object_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no object"):
        PlainFields(value)


@pytest.mark.parametrize(
    ("take", "values"),
    [
        (lambda found: found.text("a"), [None, 1, True, ["x"], {}]),
        (lambda found: found.text_or_none("a"), [1, False, ["x"]]),
        (lambda found: found.count("a"), [None, -1, 1.0, True, "1"]),
        (lambda found: found.number("a"), [None, -0.5, True, "1"]),
        (lambda found: found.truth("a"), [None, 0, 1, "true"]),
        (lambda found: found.texts("a"), [None, "x", [1], ["x", None], {"x": 1}]),
        (lambda found: found.rows("a", length=2), [None, "x", ["xy"], [["x"]], [["x", "y", "z"]], [["x", 1]]]),
        (lambda found: found.inner("a"), [None, "x", []]),
    ],
)
def test_field_of_another_type_is_refused_and_not_repeated(
    take: Callable[[PlainFields], object], values: list[object]
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=r"^(a is |no object)"):
            take(fields(a=value))


def test_field_that_is_not_there_or_was_taken_is_refused() -> None:
    found = fields(a="x")
    found.text("a")

    with pytest.raises(ValueError, match="a is not there"):
        found.text("a")
    with pytest.raises(ValueError, match="b is not there"):
        found.text_or_none("b")
    assert not found.has("a")


def test_end_with_fields_left_is_refused() -> None:
    found = fields(a="x", b="secret")
    found.text("a")

    with pytest.raises(ValueError, match=r"^a field that is not known$"):
        found.end()


def test_fields_taken_leave_what_was_read_as_it_is() -> None:
    read: dict[str, object] = {"a": "x"}

    PlainFields(read).text("a")

    assert read == {"a": "x"}
