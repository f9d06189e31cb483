from __future__ import annotations

import pytest

from holdfast.adapters.cli.settings_option import parse_settings
from holdfast.ports.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('["a", "b"]', ["a", "b"]),
        ('{"kind": "scripted"}', {"kind": "scripted"}),
        ('"10"', "10"),
        ("scripted", "scripted"),
        ("", ""),
        ("a=b", "a=b"),
        ("9" * 5000, "9" * 5000),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_value_is_json_where_it_can_be_and_text_otherwise(text: str, value: object) -> None:
    assert parse_settings([f"one={text}"]) == {"one": value}


def test_paths_nest() -> None:
    assert parse_settings(["a.b.c=1", "a.b.d=2", "a.e=3"]) == {"a": {"b": {"c": 1, "d": 2}, "e": 3}}


def test_later_option_wins() -> None:
    assert parse_settings(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}
    assert parse_settings(["a.b=1", "a=2"]) == {"a": 2}


def test_option_goes_on_below_an_object() -> None:
    assert parse_settings(['a={"b": 1}', "a.c=2"]) == {"a": {"b": 1, "c": 2}}


def test_option_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^--set a\.b: 'a' was already given a value"):
        parse_settings(["a=1", "a.b=2"])


@pytest.mark.parametrize(
    ("option", "path"), [("", ""), ("a", "a"), ("=1", ""), ("a.=1", "a."), (".a=1", ".a"), ("a..b=1", "a..b")]
)
def test_option_that_is_no_path_and_value_is_refused_without_its_value(option: str, path: str) -> None:
    with pytest.raises(ConfigurationError, match="PATH=VALUE") as caught:
        parse_settings([option])

    assert caught.value.path == f"--set {path}"
