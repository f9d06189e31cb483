"""The status page.

Responsibility: one HTML page that shows how things are and keeps itself up to date.
Guarantees: nothing is loaded from anywhere else, and the browser is told to hold it to that; what comes from outside is
    escaped; without scripts it shows the same, as of its loading; updating can be paused.
Not responsible for: what is shown: see `holdfast.adapters.gateway.status_values`.
Source: WCAG 2.2, levels A and AA; W3C, Content Security Policy 3.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from typing import Final

from fastapi import Response

from holdfast.adapters.gateway.charts import CHARTS, HEIGHT, WIDTH, Chart
from holdfast.adapters.gateway.figures import duration
from holdfast.adapters.gateway.history import History
from holdfast.adapters.gateway.json_text import JsonObject
from holdfast.adapters.gateway.status_values import Card, cards_of
from holdfast.ports.service import Service
from holdfast.ports.statistics import Health, ServiceState

__all__ = ["StatusPage"]


class StatusPage:
    """Shows one service.

    Args:
        service: asked for a snapshot each time.
        history: what the charts show.
    """

    def __init__(self, service: Service, history: History) -> None:
        self._service = service
        self._history = history
        self._style, self._script = _read("status.css"), _read("status.js")
        self._policy = (
            f"default-src 'none'; style-src {_hash(self._style)}; script-src {_hash(self._script)}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def response(self) -> Response:
        """Return the page."""
        headers = {
            "content-security-policy": self._policy,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Response(self._render(self._observed()), media_type="text/html; charset=utf-8", headers=headers)

    def values(self) -> JsonObject:
        """Return what changes on the page: texts, states and lines, by their places; and what it consists of."""
        health = self._observed()
        cards = list(cards_of(health))
        texts = {
            f"{place}.{row}": value for place, card in enumerate(cards) for row, (_, value) in enumerate(card.rows)
        }
        states = {str(place): (card.state, card.is_fine) for place, card in enumerate(cards) if card.state is not None}
        lines: dict[str, str] = {}
        for chart in CHARTS:
            texts[chart.key] = chart.words(self._history.moments)
            lines |= {
                f"{chart.key}.{index}": points for index, points in enumerate(chart.points(self._history.moments))
            }
        texts["uptime"] = duration(health.uptime_s)
        states["service"] = (health.state.value, health.state is ServiceState.READY)
        return {"shape": _shape(cards), "texts": texts, "states": states, "lines": lines}

    def _observed(self) -> Health:
        health = self._service.health()
        self._history.observe(health)
        return health

    def _render(self, health: Health) -> str:
        cards = list(cards_of(health))
        figures = "".join(self._render_chart(chart) for chart in CHARTS)
        sections = "".join(_render_card(place, card) for place, card in enumerate(cards))
        service = _render_state("service", health.state.value, is_fine=health.state is ServiceState.READY)
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Holdfast status</title>
<link rel="icon" href="data:,">
<style>{self._style}</style>
</head>
<body data-shape="{_shape(cards)}">
<header>
<h1>Holdfast {service}</h1>
<p>Up for <span data-text="uptime">{duration(health.uptime_s)}</span>.
<span id="freshness">As of the loading of this page.</span></p>
<button id="pause" type="button" aria-pressed="false" hidden>Pause updates</button>
<p id="trouble" role="status"></p>
</header>
<main>
<h2>Over the last minutes, ten at most</h2>
<div class="cards">{figures}</div>
<h2>Now</h2>
<div class="cards">{sections}</div>
</main>
<script>{self._script}</script>
</body>
</html>
"""

    def _render_chart(self, chart: Chart) -> str:
        moments = self._history.moments
        title, words = f"{chart.key}-title", f"{chart.key}-words"
        lines = "".join(
            f'<polyline class="line-{index}" data-line="{chart.key}.{index}" points="{points}"/>'
            for index, points in enumerate(chart.points(moments))
        )
        legend = "".join(
            f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="line-{index}" d="M0 4h24"/></svg>'
            f"{line.name}</li>"
            for index, line in enumerate(chart.lines)
        )
        return (
            f'<figure><figcaption id="{title}"><h3>{chart.title}</h3></figcaption>'
            f'<svg class="chart" role="img" aria-labelledby="{title}" aria-describedby="{words}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">{lines}</svg>'
            f'<ul class="legend">{legend}</ul>'
            f'<p id="{words}" data-text="{chart.key}">{escape(chart.words(moments))}</p></figure>'
        )


def _render_card(place: int, card: Card) -> str:
    state = "" if card.state is None else _render_state(str(place), card.state, is_fine=card.is_fine)
    rows = "".join(
        f'<div><dt>{escape(name)}</dt><dd data-text="{place}.{row}">{escape(value)}</dd></div>'
        for row, (name, value) in enumerate(card.rows)
    )
    return f"<section><h3>{escape(card.title)} {state}</h3><dl>{rows}</dl></section>"


def _render_state(place: str, state: str, *, is_fine: bool) -> str:
    return f'<span class="state" data-state="{place}" data-fine="{str(is_fine).lower()}">{escape(state)}</span>'


def _shape(cards: list[Card]) -> str:
    """Return what tells this page from one with other rows, which a script cannot fill in."""
    names = repr([(card.title, [name for name, _ in card.rows]) for card in cards])
    return hashlib.sha256(names.encode()).hexdigest()[:_SHAPE_CHARS]


_SHAPE_CHARS: Final = 16


def _read(name: str) -> str:
    return files("holdfast.adapters.gateway").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
