"""Limits and weights were taken for tenants of which the door lets no request in."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.application.consistency import check_consistency
from holdfast.application.settings import Settings
from holdfast.ports.errors import ConfigurationError
from tests.fakes.refusal import refusal


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"tenants": {"": {}}}, "tenants"),
        ({"tenants": {"a" * 257: {}}}, "tenants"),
        ({"admission": {"weights": {"": 2}}}, "admission.weights"),
    ],
)
def test_check_consistency_tenant_that_the_door_refuses_is_refused(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"give it 1 to 256$") as refused:
        check_consistency(Settings.model_validate(given))

    assert refused.value.path == path


def test_check_consistency_tenant_with_the_longest_name_is_taken() -> None:
    given = {"tenants": {"a" * 256: {}}, "admission": {"weights": {"b" * 256: 2}}}

    assert refusal(check_consistency, Settings.model_validate(given)) is None
