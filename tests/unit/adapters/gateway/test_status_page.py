"""The status page as it is written; how it looks and behaves is tests/integration/test_status_page_in_browser.py's."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import anyio
import pytest

from holdfast.adapters.gateway import History
from holdfast.adapters.gateway.charts import CHARTS, HEIGHT, WIDTH
from holdfast.adapters.gateway.history import Moment
from holdfast.application.settings import Settings
from tests.fakes.gateway import CHAT, opened_gateway, question
from tests.fakes.service import ONCE, Answering, opened, unavailable

pytestmark = pytest.mark.anyio


class Outline(HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places |= {
            f"{kind}:{found[f'data-{kind}']}" for kind in ("text", "state", "line") if f"data-{kind}" in found
        }
        self.addresses += [value for name in ("href", "src") if (value := found.get(name)) is not None]
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_status_page_has_a_place_for_each_value_and_no_other() -> None:
    async with opened_gateway({"a": Answering(), "b": Answering()}) as gateway:
        outline = Outline((await gateway.client.get("/status")).text)
        values = (await gateway.client.get("/status.json")).document

    kinds = {"texts": "text", "states": "state", "lines": "line"}
    assert outline.places == {f"{kind}:{place}" for key, kind in kinds.items() for place in values[key]}
    assert outline.open == []


async def test_status_page_refers_to_nothing_outside() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.get("/status")

    policy = answer.headers["content-security-policy"]
    assert Outline(answer.text).addresses == ["data:,"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("tag", ["style", "script"])
async def test_status_page_policy_allows_its_own_style_and_script_by_their_hash(tag: str) -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        answer = await gateway.client.get("/status")

    [inside] = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


async def test_status_page_escapes_the_names_of_backends() -> None:
    async with opened_gateway({"<script>alert(1)</script>": Answering()}) as gateway:
        page = (await gateway.client.get("/status")).text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


async def test_status_values_follow_what_happens() -> None:
    async with opened_gateway({"a": Answering(failing=unavailable)}, Settings(guard=ONCE)) as gateway:
        before = (await gateway.client.get("/status.json")).document
        for number in range(6):
            await gateway.client.post(CHAT, question(f"question {number}"))
        after = (await gateway.client.get("/status.json")).document
        await gateway.service.drain(0.0)
        drained = (await gateway.client.get("/status.json")).document

    assert before["states"] == {"service": ["ready", True], "2": ["breaker closed", True]}
    assert after["states"]["2"] == ["breaker open", False]
    assert drained["states"]["service"] == ["closed", False]
    assert before["texts"] != after["texts"]
    assert before["shape"] == after["shape"]


async def test_status_shape_changes_with_the_backends() -> None:
    async with opened_gateway({"a": Answering()}) as one, opened_gateway({"b": Answering()}) as two:
        shapes = [(await gateway.client.get("/status.json")).document["shape"] for gateway in (one, two)]

    assert shapes[0] != shapes[1]


async def test_status_cards_tell_of_limits_and_costs_where_there_are_any() -> None:
    settings = Settings.model_validate(
        {"guard": {"rate_limit": {"requests_per_minute": 600}}, "routing": {"strategy": "fastest"}}
    )
    async with opened_gateway({"a": Answering()}, settings) as gateway:
        await gateway.client.post(CHAT, question())
        page = (await gateway.client.get("/status")).text

    assert "Refused by a&#x27;s limit" in page
    assert "Cost by which it is chosen" in page


async def test_history_keeps_one_moment_for_every_five_seconds_and_ten_minutes_of_them() -> None:
    history = History()
    async with opened({"a": Answering()}) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(history.follow, service.health)
        await anyio.sleep(1202)
        tasks.cancel_scope.cancel()

    times = [moment.uptime_s for moment in history.moments]
    assert len(times) == 120
    assert times[-1] - times[0] == pytest.approx(595, abs=1)


async def test_history_that_is_looked_at_more_often_keeps_no_more() -> None:
    history = History()
    async with opened({"a": Answering()}) as service:
        for _ in range(20):
            history.observe(service.health())
            await anyio.sleep(1)

    assert len(history.moments) == 4


async def test_history_goes_on_when_the_service_is_another_one_whose_time_begins_anew() -> None:
    history = History()
    async with opened({"a": Answering()}) as service:
        await anyio.sleep(100)
        history.observe(service.health())
    async with opened({"a": Answering()}) as another:
        history.observe(another.health())

    assert len(history.moments) == 2


def moment(uptime_s: float, p50_s: float | None = None) -> Moment:
    return Moment(uptime_s=uptime_s, p50_s=p50_s, p99_s=p50_s, answered_per_s=1.0, in_flight=1, waiting=0)


LATENCY = CHARTS[0]


def test_chart_lines_stay_inside_of_the_picture_and_end_at_its_right() -> None:
    moments = [moment(float(second), p50_s=second / 100) for second in range(0, 600, 5)]

    [median, _] = LATENCY.points(moments)
    places = [tuple(map(float, place.split(","))) for place in median.split()]

    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places[0][0] == 0
    assert places[-1] == (WIDTH, 2)


def test_chart_of_a_short_time_takes_no_more_than_its_part_of_a_minute() -> None:
    [median, _] = LATENCY.points([moment(0, 1.0), moment(30, 1.0)])

    assert median == f"{WIDTH / 2:.1f},2.0 {WIDTH:.1f},2.0"


def test_chart_leaves_out_what_is_not_known() -> None:
    [median, _] = LATENCY.points([moment(0), moment(30, 1.0)])

    assert median == f"{WIDTH:.1f},2.0"


def test_chart_of_nothing_says_so_and_has_no_line() -> None:
    assert LATENCY.points([]) == ["", ""]
    assert LATENCY.words([]) == "median: nothing yet; 99th percentile: nothing yet"


def test_chart_of_zeros_lies_on_the_ground() -> None:
    waiting = CHARTS[2].points([moment(0), moment(60)])[1]

    assert waiting == f"0.0,{HEIGHT - 2:.1f} {WIDTH:.1f},{HEIGHT - 2:.1f}"


def test_chart_words_tell_the_latest_and_the_highest() -> None:
    words = LATENCY.words([moment(0, 2.0), moment(5, 0.5)])

    assert words.startswith("median: now 500.0 ms, highest 2.00 s")
