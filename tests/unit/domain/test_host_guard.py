from __future__ import annotations

import pytest

from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.domain.host_guard import HostGuard, HostGuardConfig
from holdfast.ports.errors import ConfigurationError, HostMemoryError, RefusedError
from tests.fakes.refusal import refusal

GIB = 1024**3


def guard(free_bytes: int | None, reserve_bytes: int = 0) -> HostGuard:
    return HostGuard(FixedHostMemory(free_bytes), HostGuardConfig(reserve_bytes=reserve_bytes))


def test_check_of_a_model_that_fits_exactly_passes() -> None:
    assert refusal(guard(1000, reserve_bytes=400).check, "llama", 600) is None


def test_check_of_a_model_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(HostMemoryError) as caught:
        guard(1000, reserve_bytes=400).check("llama", 601)

    error = caught.value
    assert (error.model, error.needed_bytes, error.available_bytes) == ("llama", 1001, 1000)
    assert isinstance(error, MemoryError)
    assert isinstance(error, RefusedError)


def test_check_twice_refuses_with_an_error_of_its_own_each_time() -> None:
    full = guard(0)

    assert full.shortage("llama", 1) is not full.shortage("llama", 1)


def test_check_where_nothing_tells_passes_whatever_the_size() -> None:
    assert refusal(guard(None).check, "llama", 2**60) is None


def test_shortage_of_a_model_that_fits_is_none() -> None:
    assert guard(1000).shortage("llama", 1000) is None


def test_check_keeps_half_a_gibibyte_free_by_default() -> None:
    usual = HostGuard(FixedHostMemory(GIB))

    assert usual.shortage("llama", GIB // 2) is None
    assert usual.shortage("llama", GIB // 2 + 1) is not None


@pytest.mark.parametrize("free_bytes", [None, 0, 7])
def test_available_bytes_are_what_the_machine_says(free_bytes: int | None) -> None:
    assert guard(free_bytes, reserve_bytes=3).available_bytes() == free_bytes


@pytest.mark.parametrize("reserve_bytes", [-1, float("nan"), float("inf")])
def test_config_with_a_reserve_that_is_none_is_refused_with_its_path(reserve_bytes: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HostGuardConfig(reserve_bytes=reserve_bytes)

    assert caught.value.path == "host_guard.reserve_bytes"
