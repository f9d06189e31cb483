"""Checks for constructors' arguments, so that every mechanism refuses the same things in the same words.

Responsibility: raise `ConfigurationError` naming the argument, its value and the remedy.
Guarantees: NaN, infinities and whole numbers beyond any float are refused wherever a number is expected.
Not responsible for: values that arrive while running; those are trusted once they are typed.
"""

from __future__ import annotations

import sys

from holdfast.ports.errors import ConfigurationError

__all__ = ["require", "require_at_least", "require_between", "require_not_below", "require_positive", "require_ratio"]


def require(condition: bool, message: str, *, path: str) -> None:  # noqa: FBT001 - reads as a sentence, like assert
    """Raise unless `condition` holds.

    Raises:
        ConfigurationError: with `message`, which says what to do.
    """
    if not condition:
        raise ConfigurationError(message, path=path)


def _is_finite(value: float) -> bool:
    return abs(value) <= sys.float_info.max  # math.isfinite raises for a whole number beyond that


def require_positive(path: str, value: float) -> None:
    """Raise unless `value` is finite and above zero.

    Raises:
        ConfigurationError: naming the path and the value.
    """
    require(_is_finite(value) and value > 0, f"must be a finite number above 0, not {value!r}", path=path)


def require_at_least(path: str, value: float, minimum: float) -> None:
    """Raise unless `value` is finite and at least `minimum`.

    Raises:
        ConfigurationError: naming the path, the value and the minimum.
    """
    require(
        _is_finite(value) and value >= minimum,
        f"must be a finite number of at least {minimum!r}, not {value!r}",
        path=path,
    )


def require_between(path: str, value: float, least: float, most: float) -> None:
    """Raise unless `value` is at least `least` and at most `most`.

    Raises:
        ConfigurationError: naming the path, the value and both bounds.
    """
    require(least <= value <= most, f"must be from {least!r} to {most!r}, not {value!r}", path=path)


def require_not_below(path: str, value: float, other_path: str, other: float) -> None:
    """Raise unless `value` is finite and at least that of another setting.

    Raises:
        ConfigurationError: naming both paths and both values.
    """
    require(_is_finite(value) and value >= other, f"must be at least {other_path}, {other!r}, not {value!r}", path=path)


def require_ratio(path: str, value: float) -> None:
    """Raise unless `value` is a ratio above 0 and up to 1.

    Raises:
        ConfigurationError: naming the path and the value.
    """
    require(0 < value <= 1, f"must be above 0 and at most 1, not {value!r}", path=path)
