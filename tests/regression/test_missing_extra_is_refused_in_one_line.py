"""A validator whose driver is not installed was shown to users as a traceback."""

from __future__ import annotations

import sys

import pytest

from holdfast.application.prompt_settings import JsonSchemaSettings, make_rules
from holdfast.ports.errors import ConfigurationError


def test_make_rules_without_the_driver_of_a_validator_names_the_setting_and_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [loaded for loaded in sys.modules if loaded.startswith("holdfast.adapters.jsonschema")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jsonschema", None)

    with pytest.raises(ConfigurationError, match=r"^validators\.v\.kind: .*'holdfast\[jsonschema\]'"):
        make_rules({"v": JsonSchemaSettings(kind="json_schema", json_schema={})})
