"""Small charts, as SVG and in words.

Responsibility: the points of each line, and a sentence that says the same to whoever does not see it.
Guarantees: a line stays inside of its picture; what is not known is left out, not drawn as 0.
Not responsible for: where the figures come from: see `holdfast.adapters.gateway.history`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.adapters.gateway.figures import count, rate, seconds
from holdfast.adapters.gateway.history import Moment

__all__ = ["CHARTS", "HEIGHT", "WIDTH", "Chart", "Line"]

WIDTH: Final = 320
HEIGHT: Final = 80
_LEAST_SPAN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Args:
        name: as it is shown.
        value: its figure at one moment; None where it is not known.
    """

    name: str
    value: Callable[[Moment], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of what is known, a minute at least.

    Args:
        key: tells it apart from the others.
        title: what it shows.
        lines: from the lower to the upper one, all of the same unit.
        unit: turns a figure into words.
    """

    key: str
    title: str
    lines: tuple[Line, ...]
    unit: Callable[[float], str]

    def points(self, moments: Sequence[Moment]) -> list[str]:
        """Return the points of each line, as SVG's ``polyline`` takes them."""
        top = max((value for line in self.lines for value in _known(line, moments)), default=0.0) or 1.0
        return [_points(line, moments, top) for line in self.lines]

    def words(self, moments: Sequence[Moment]) -> str:
        """Return what the lines show."""
        told = [self._told(line, _known(line, moments)) for line in self.lines]
        return "; ".join(told)

    def _told(self, line: Line, values: list[float]) -> str:
        if not values:
            return f"{line.name}: nothing yet"
        return f"{line.name}: now {self.unit(values[-1])}, highest {self.unit(max(values))}"


def _known(line: Line, moments: Sequence[Moment]) -> list[float]:
    return [value for moment in moments if (value := line.value(moment)) is not None]


def _points(line: Line, moments: Sequence[Moment], top: float) -> str:
    if not moments:
        return ""
    end_s = moments[-1].uptime_s
    span_s = max(_LEAST_SPAN_S, end_s - moments[0].uptime_s)
    places = [
        (WIDTH - (end_s - moment.uptime_s) / span_s * WIDTH, HEIGHT - 2 - value / top * (HEIGHT - 4))
        for moment in moments
        if (value := line.value(moment)) is not None
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


CHARTS: Final = (
    Chart(
        key="latency",
        title="Latency",
        lines=(
            Line(name="median", value=lambda moment: moment.p50_s),
            Line(name="99th percentile", value=lambda moment: moment.p99_s),
        ),
        unit=seconds,
    ),
    Chart(
        key="rate",
        title="Answers per second",
        lines=(Line(name="answered", value=lambda moment: moment.answered_per_s),),
        unit=rate,
    ),
    Chart(
        key="load",
        title="Requests inside",
        lines=(
            Line(name="in flight", value=lambda moment: float(moment.in_flight)),
            Line(name="waiting for a slot", value=lambda moment: float(moment.waiting)),
        ),
        unit=count,
    ),
)
"""What the status page shows over time."""
