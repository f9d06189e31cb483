from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.application.settings import Settings
from tests.fakes.gateway import CHAT, Gateway, opened_gateway, question
from tests.fakes.service import ONCE, Answering, unavailable

pytestmark = pytest.mark.anyio

EVERYTHING = Settings.model_validate(
    {
        "guard": {"hedge": {}, "rate_limit": {"requests_per_minute": 600}},
        "routing": {"strategy": "fastest"},
        "validators": {"number": {"kind": "required_fields", "fields": ["a"], "action": "mark"}},
    }
)


async def figures(gateway: Gateway) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await gateway.client.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_are_what_the_service_counts() -> None:
    async with opened_gateway({"good": Answering(), "bad": Answering(failing=unavailable)}) as gateway:
        await gateway.client.post(CHAT, question())
        await gateway.client.post(CHAT, question())
        found = await figures(gateway)

    assert found["holdfast_requests_total", (("ending", "answered"),)] == 2
    assert found["holdfast_deduplication_total", (("disposition", "cached"),)] == 1
    assert found["holdfast_breaker_calls_total", (("backend", "good"), ("ending", "succeeded"))] == 1
    assert found["holdfast_breaker_state", (("backend", "bad"), ("state", "closed"))] == 1
    assert found["holdfast_ready", ()] == 1
    assert found["holdfast_events_total", (("event", "request_answered"),)] == 2


async def test_metrics_before_any_request_have_no_latency_that_nobody_knows() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        before = await figures(gateway)
        await gateway.client.post(CHAT, question())
        after = await figures(gateway)

    quantile = ("holdfast_request_latency_seconds", (("quantile", "0.5"),))
    assert quantile not in before
    assert quantile in after


async def test_metrics_of_what_is_off_by_default_are_there_when_it_is_on() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        off = {name for name, _ in await figures(gateway)}
    async with opened_gateway({"a": Answering()}, EVERYTHING) as gateway:
        await gateway.client.post(CHAT, question())
        on = {name for name, _ in await figures(gateway)}

    assert on - off >= {
        *("holdfast_hedges_total", "holdfast_backend_limits_total", "holdfast_answers_checked_total"),
        "holdfast_backend_cost_seconds",
    }


async def test_metrics_show_that_a_breaker_is_open() -> None:
    async with opened_gateway({"a": Answering(failing=unavailable)}, Settings(guard=ONCE)) as gateway:
        for number in range(6):
            await gateway.client.post(CHAT, question(f"question {number}"))
        found = await figures(gateway)

    assert found["holdfast_breaker_state", (("backend", "a"), ("state", "open"))] == 1
    assert found["holdfast_breaker_opened_total", (("backend", "a"),)] == 1


async def test_metrics_come_in_openmetrics_where_that_is_asked_for() -> None:
    async with opened_gateway({"a": Answering()}) as gateway:
        plain = await gateway.client.get("/metrics")
        newer = await gateway.client.get("/metrics", accept="application/openmetrics-text; version=1.0.0")

    assert plain.headers["content-type"].startswith("text/plain")
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert newer.text.endswith("# EOF\n")


async def test_metrics_of_two_services_register_nothing_globally() -> None:
    before = list(prometheus_client.REGISTRY.collect())
    async with opened_gateway({"a": Answering()}) as one, opened_gateway({"b": Answering()}) as two:
        first, second = await figures(one), await figures(two)

    assert [family.name for family in prometheus_client.REGISTRY.collect()] == [family.name for family in before]
    assert ("holdfast_pool_waiting", (("backend", "a"),)) in first
    assert ("holdfast_pool_waiting", (("backend", "a"),)) not in second


async def test_metrics_have_units_in_their_names_and_one_help_each() -> None:
    async with opened_gateway({"a": Answering(), "b": Answering()}, EVERYTHING) as gateway:
        text = (await gateway.client.get("/metrics")).text

    names = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(names) == len(set(names))
    assert all(name.startswith("holdfast_") for name in names)
