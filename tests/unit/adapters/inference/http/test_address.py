from __future__ import annotations

import traceback

import pytest

from holdfast.adapters.inference.http import checked_address
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://host/a%20b//", "https://host/a%20b"),
    ],
)
def test_address_of_http_is_kept_without_a_slash_at_its_end(given: str, kept: str) -> None:
    assert checked_address(given, path="backends.b.base_url") == kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "must be like http://127.0.0.1:8080/v1, in ASCII"),
        ("127.0.0.1:8080", "must be like"),
        ("ftp://host/v1", "must be like"),
        ("http:///v1", "must be like"),
        ("http://host:0/v1", "must be like"),
        ("http://ho st/v1", "must be like"),
        ("http://host/\r\nx: y", "must be like"),
        ("http://hóst/v1", "must be like"),
        ("http://host:99999/v1", "must be like"),
        ("http://[::1/v1", "must be like"),
        ("http://host/v1?a=b", "must have no query and no fragment"),
        ("http://host/v1#a", "must have no query and no fragment"),
    ],
)
def test_address_that_is_none_is_refused_in_one_line(given: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^backends\.b\.base_url: ") as caught:
        checked_address(given, path="backends.b.base_url")

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://me:hunter2@host/v1", "api_key"),
        ("http://hunter2@host/v1", "api_key"),
        ("http://:hunter2@host/v1", "api_key"),
        ("http://me:hunter2", "must be like"),
        ("me:hunter2@host", "must be like"),
        ("http://[me:hunter2@host", "must be like"),
        ("http://me:hunter2@\N{CARE OF}host", "must be like"),
    ],
)
def test_address_with_a_password_is_refused_without_repeating_it(given: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        checked_address(given, path="backends.b.base_url")

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
