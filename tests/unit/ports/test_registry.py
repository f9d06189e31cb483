from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from holdfast.ports.registry import ServiceInstance

ONE = ServiceInstance(service="asks", instance_id="asks-1", host="10.0.0.1", port=8080, metadata={"model": "tiny"})


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", "10.0.0.1:8080"), ("node-1.example", "node-1.example:8080"), ("2001:db8::7", "[2001:db8::7]:8080")],
)
def test_address_is_what_stands_in_a_url(host: str, address: str) -> None:
    assert replace(ONE, host=host).address == address


def test_instances_that_say_the_same_are_equal_and_hash_alike() -> None:
    other = replace(ONE, metadata={"model": "tiny"})

    assert other == ONE
    assert len({ONE, other}) == 1


def test_instances_that_differ_in_metadata_only_are_different() -> None:
    assert replace(ONE, metadata={"model": "large"}) != ONE


def test_instance_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ONE.port = 1  # type: ignore[misc] # which is what is tested
