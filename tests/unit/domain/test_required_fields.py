from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.required_fields import RequiredFields
from holdfast.ports.errors import ConfigurationError

ORDER = RequiredFields(name="order", fields=("id", "order.total", "order.lines"))


@pytest.mark.parametrize(
    "text",
    [
        '{"id": 7, "order": {"total": 1, "lines": []}}',
        ' {"order": {"lines": 0, "total": null, "more": 1}, "id": ""}\n',
    ],
)
def test_check_object_with_every_field_passes_whatever_they_hold(text: str) -> None:
    assert ORDER.check(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"order": {"total": 1, "lines": []}}', "lacks the field 'id'"),
        ('{"id": 7}', "lacks the fields 'order.total', 'order.lines'"),
        ('{"id": 7, "order": null}', "lacks the fields 'order.total', 'order.lines'"),
        ('{"id": 7, "order": [{"total": 1}], "order.total": 1}', "lacks the fields 'order.total', 'order.lines'"),
        ("{}", "lacks the fields 'id', 'order.total', 'order.lines'"),
        ('[{"id": 7}]', "is no JSON object"),
        ('"id"', "is no JSON object"),
        ("null", "is no JSON object"),
        ("It is 42.", "is no JSON from line 1, column 1 on"),
        ('```json\n{"id": 7}\n```', "is no JSON from line 1, column 1 on"),
    ],
)
def test_check_text_without_every_field_says_which(text: str, problem: str) -> None:
    assert ORDER.check(text) == problem


def test_check_text_beyond_the_bound_is_not_read() -> None:
    bounded = RequiredFields(name="order", fields=("id",), max_chars=9)

    assert bounded.check('{"id": 7}') is None
    assert bounded.check('{"id": 77}') == "has more than the 9 characters that are checked"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": ()}, r"^validators\.order\.fields: name at least one field$"),
        ({"fields": ("id", "")}, r"^validators\.order\.fields: '' is no dotted path$"),
        ({"fields": ("a..b",)}, r"^validators\.order\.fields: 'a\.\.b' is no dotted path$"),
        ({"fields": (".a",)}, r"^validators\.order\.fields: '\.a' is no dotted path$"),
        ({"max_chars": 0}, r"^validators\.order\.max_chars: .* at least 1, not 0$"),
    ],
)
def test_validator_that_could_not_work_is_refused_with_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RequiredFields(**{"name": "order", "fields": ("id",)} | changes)
