"""Content on the line of the opening fence lost a carriage return, so the JSON was not a part of the text any more."""

from __future__ import annotations

from holdfast.domain.post_processing import strip_json_fences


def test_content_on_the_line_of_the_fence_keeps_its_line_end() -> None:
    assert strip_json_fences('```json {\r\n  "a": 1\r\n}\r\n```') == '{\r\n  "a": 1\r\n}'
