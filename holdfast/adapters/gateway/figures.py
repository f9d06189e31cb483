"""Figures in words, for people.

Responsibility: round, and put the unit behind.
Guarantees: never more digits than mean something.
Not responsible for: which figures are shown.
"""

from __future__ import annotations

from typing import Final

__all__ = ["count", "duration", "rate", "ratio", "seconds", "size"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def count(value: float) -> str:
    """Return a whole number.

    Example:
        >>> count(12345)
        '12,345'
    """
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Return so many per second.

    Example:
        >>> rate(12.345)
        '12.3/s'
    """
    return f"{value:,.1f}/s"


def ratio(value: float) -> str:
    """Return a share as a percentage.

    Example:
        >>> ratio(0.257)
        '26 %'
    """
    return f"{value * 100:.0f} %"


def seconds(value: float | None) -> str:
    """Return a short time.

    Example:
        >>> seconds(0.00512), seconds(2.5), seconds(None)
        ('5.1 ms', '2.50 s', '–')
    """
    if value is None:
        return "–"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def duration(value: float) -> str:
    """Return a long time.

    Example:
        >>> duration(93784.0)
        '1 d 2 h 3 min'
    """
    minutes, _ = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{amount} {unit}" for amount, unit in ((days, "d"), (hours, "h")) if amount]
    return " ".join([*parts, f"{minutes} min"])


def size(value: float) -> str:
    """Return a size.

    Example:
        >>> size(512), size(3_500_000)
        ('512 B', '3.3 MiB')
    """
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"
