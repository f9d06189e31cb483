"""For an unknown key of a backend or a validator, a key of another kind was proposed, which is refused as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.application.settings_sources import load_settings
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ({"validators": {"v": {"kind": "pattern", "must_match": "a", "fields": ["a"]}}}, "validators.v.kind"),
        ({"validators": {"v": {"kind": "pattern", "must_mach": "a"}}}, "validators.v.must_match"),
        ({"validators": {"v": {"kind": "required_fields", "feilds": ["a"], "fields": ["a"]}}}, "validators.v.fields"),
        ({"backends": {"b": {"kind": "extractive", "guarde": {}}}}, "backends.b.guard"),
        ({"backends": {"b": {"kind": "extractive", "delay_s": 1}}}, "backends.b.kind"),
    ],
)
def test_load_settings_unknown_key_names_the_nearest_of_the_chosen_kind(
    given: dict[str, Any], nearest: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path, given)

    assert refused.value.nearest == nearest
