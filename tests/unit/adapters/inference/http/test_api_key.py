from __future__ import annotations

import pytest

from holdfast.adapters.inference.http import checked_key
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize("key", ["k", "sk-secret", "!~", "k" * 4096])
def test_checked_key_that_a_header_can_hold_is_given_back(key: str) -> None:
    assert checked_key(key, path="backends.b.api_key") == key


@pytest.mark.parametrize("key", ["", "a b", "a\nb: c", "ключ", "a\x7f", "k" * 4097])
def test_checked_key_that_could_break_a_header_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^backends\.b\.api_key: is no key: .* visible ASCII") as caught:
        checked_key(key, path="backends.b.api_key")

    assert not key or key not in str(caught.value)
