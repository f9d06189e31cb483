from __future__ import annotations

from typing import Any

import pytest

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize("audience", ["a", "a" * 255, "ä" * 127, "holdfast.example:443"])
def test_config_audience_of_printable_text_is_taken(audience: str) -> None:
    assert AuthenticationConfig(audience=audience).audience == audience


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"audience": ""}, "identity.audience"),
        ({"audience": "a" * 256}, "identity.audience"),
        ({"audience": "ä" * 128}, "identity.audience"),
        ({"audience": "a\n"}, "identity.audience"),
        ({"audience": "\ud800"}, "identity.audience"),
        ({"roles": ()}, "identity.roles"),
        ({"max_message_bytes": 1023}, "identity.max_message_bytes"),
        ({"max_lifetime_s": 0.0}, "identity.max_lifetime_s"),
        ({"max_lifetime_s": float("nan")}, "identity.max_lifetime_s"),
        ({"max_skew_s": -1.0}, "identity.max_skew_s"),
        ({"session_s": float("inf")}, "identity.session_s"),
        ({"max_sessions": 0}, "identity.max_sessions"),
        ({"max_remembered": 0}, "identity.max_remembered"),
    ],
)
def test_config_wrong_value_is_refused_with_its_path(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuthenticationConfig(**{"audience": "a", **wrong})

    assert caught.value.path == path


def test_config_session_that_ends_before_its_challenge_is_refused_with_both_paths_named() -> None:
    with pytest.raises(ConfigurationError, match=r"identity\.session_s: .*identity\.max_lifetime_s"):
        AuthenticationConfig(audience="a", session_s=29.0)
