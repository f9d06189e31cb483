"""Numbers as people read them.

Responsibility: durations, sizes, rates, counts.
Guarantees: three figures, or all before the point; what is not known is a dash.
Not responsible for: JSON, which keeps full precision.
"""

from __future__ import annotations

__all__ = ["UNKNOWN", "clock_time", "count", "duration", "rate", "share", "size"]

UNKNOWN = "–"


def count(number: int) -> str:
    """Return a count with its thousands apart.

    Example:
        >>> count(1234567)
        '1,234,567'
    """
    return f"{number:,}"


def duration(seconds: float | None) -> str:
    """Return a duration with the unit that suits it.

    Example:
        >>> duration(0.0123), duration(9.5), duration(3661.0), duration(None)
        ('12.3 ms', '9.50 s', '1:01:01', '–')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:  # beyond, three figures are a second
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 60 else clock_time(seconds)


def clock_time(seconds: float) -> str:
    """Return minutes and seconds, and hours where there are any.

    Example:
        >>> clock_time(5.0), clock_time(3661.0)
        ('0:05', '1:01:01')
    """
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def rate(per_s: float | None) -> str:
    """Return a number per second.

    Example:
        >>> rate(0.25), rate(170.3), rate(None)
        ('0.25/s', '170/s', '–')
    """
    if per_s is None:
        return UNKNOWN
    return f"{per_s:,.0f}/s" if per_s >= 100 else f"{per_s:.3g}/s"


def share(part: int, whole: int) -> str:
    """Return a count and what part of `whole` it is.

    Example:
        >>> share(80, 200), share(0, 0)
        ('80 (40.0 %)', '0')
    """
    return f"{count(part)} ({100 * part / whole:.1f} %)" if whole else count(part)


def size(size_bytes: int | None) -> str:
    """Return a number of bytes in MiB.

    Example:
        >>> size(64 * 1024**2), size(None)
        ('64.0 MiB', '–')
    """
    return UNKNOWN if size_bytes is None else f"{size_bytes / 1024**2:,.1f} MiB"
