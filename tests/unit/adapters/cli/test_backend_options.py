from __future__ import annotations

from typing import Any

import pytest

from holdfast.adapters.cli.backend_options import choose_backend
from holdfast.ports.errors import ConfigurationError

URL = "http://127.0.0.1:8080/v1"


def chosen(settings: dict[str, Any] | None = None, **options: str) -> dict[str, Any]:
    given: dict[str, Any] = {"backend": None, "base_url": None, "model": None} | options
    return choose_backend(settings or {}, **given)


def test_choose_nothing_changes_nothing() -> None:
    settings = {"timeout_s": 1, "backends": {"a": {"kind": "scripted"}}}

    assert chosen(settings) == settings


def test_choose_a_backend_that_the_settings_have_leaves_the_others_out() -> None:
    assert chosen({"timeout_s": 1}, backend="local") == {"timeout_s": 1, "only_backend": "local"}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_choose_a_kind_and_an_address_makes_a_backend_of_it(kind: str) -> None:
    assert chosen(backend=kind, base_url=URL, model="m") == {
        "backends": {kind: {"kind": kind, "base_url": URL, "model": "m"}},
        "only_backend": kind,
    }


def test_choose_an_address_for_a_name_of_ones_own_leaves_its_kind_to_the_settings() -> None:
    assert chosen(backend="local", base_url=URL)["backends"] == {"local": {"base_url": URL}}


def test_choose_a_model_alone_is_for_the_backend_as_it_is_set() -> None:
    assert chosen(backend="openai", model="m")["backends"] == {"openai": {"model": "m"}}


def test_choose_wins_over_single_settings_and_keeps_the_others() -> None:
    settings = {"backends": {"openai": {"base_url": "http://other", "max_tokens": 16}, "b": {"kind": "scripted"}}}

    backends = chosen(settings, backend="openai", base_url=URL)["backends"]

    assert backends == {
        "openai": {"kind": "openai", "base_url": URL, "max_tokens": 16},
        "b": {"kind": "scripted"},
    }


@pytest.mark.parametrize(("option", "name"), [("base_url", "--base-url"), ("model", "--model")])
def test_choose_something_for_no_backend_is_refused(option: str, name: str) -> None:
    options = {"base_url": None, "model": None, option: "x"}

    with pytest.raises(ConfigurationError, match=f"^{name}: needs --backend"):
        choose_backend({}, backend=None, **options)
