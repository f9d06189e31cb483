"""Telemetry as the settings turn it on, along the wired path."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.application.diagnosis import diagnose
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.wiring import make_container, open_orchestrator
from holdfast.ports.errors import ConfigurationError
from tests.fakes.recorder import Following
from tests.fakes.service import Answering, ask

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


def telling(**telemetry: object) -> Settings:
    return Settings.model_validate({"telemetry": telemetry, "log_events": True})


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    return reader


@pytest.fixture
def without_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("holdfast.adapters.otel")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def answered(settings: Settings) -> None:
    async with open_orchestrator(settings, backends={"a": Answering(text="the secret answer")}) as service:
        await service.submit(ask("the secret question", request_id="r-1", tenant="alice"))


async def test_nothing_is_told_by_default(
    capsys: pytest.CaptureFixture[str], exporter: InMemorySpanExporter, reader: InMemoryMetricReader
) -> None:
    await answered(Settings())

    assert capsys.readouterr().err == ""
    assert exporter.get_finished_spans() == ()
    assert reader.get_metrics_data() is None
    assert list(make_container(Settings()).recorders()) == []


async def test_spans_are_those_of_the_applications_provider(exporter: InMemorySpanExporter) -> None:
    await answered(telling(spans=True))

    assert [span.name for span in exporter.get_finished_spans()] == ["chat", "holdfast.request"]
    scope = exporter.get_finished_spans()[0].instrumentation_scope
    assert scope is not None
    assert (scope.name, bool(scope.version)) == ("holdfast", True)


async def test_events_are_in_the_spans(exporter: InMemorySpanExporter) -> None:
    await answered(telling(spans=True))

    [request] = [span for span in exporter.get_finished_spans() if span.name == "holdfast.request"]
    assert [event.name for event in request.events] == ["holdfast.request_answered"]


async def test_metrics_are_those_of_the_applications_provider(reader: InMemoryMetricReader) -> None:
    await answered(telling(metrics=True))

    data = reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert {metric.name for metric in scope.metrics} == {
        "gen_ai.client.operation.duration",
        "holdfast.request.duration",
        "holdfast.events",
    }


async def test_json_logs_tell_each_event_with_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    await answered(telling(json_logs=True, log_level="debug"))

    [line] = [line for line in lines_of(capsys) if line.get("event") == "request_answered"]
    assert (line["request_id"], line["tenant"], line["backend"], line["level"]) == ("r-1", "alice", "a", "debug")
    assert "trace_id" not in line


async def test_json_logs_name_the_trace_where_there_are_spans(
    capsys: pytest.CaptureFixture[str], exporter: InMemorySpanExporter
) -> None:
    await answered(telling(json_logs=True, log_level="debug", spans=True))

    [line] = [line for line in lines_of(capsys) if line.get("event") == "request_answered"]
    [span] = [span for span in exporter.get_finished_spans() if span.name == "holdfast.request"]
    own = span.get_span_context()
    assert own is not None
    assert (line["trace_id"], line["span_id"]) == (f"{own.trace_id:032x}", f"{own.span_id:016x}")


async def test_json_logs_leave_out_what_is_below_their_level(capsys: pytest.CaptureFixture[str]) -> None:
    await answered(telling(json_logs=True))

    assert [line["event"] for line in lines_of(capsys)] == []


@pytest.mark.parametrize("log_prompts", [False, True])
async def test_prompts_are_logged_only_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], log_prompts: bool
) -> None:
    await answered(telling(json_logs=True, log_level="debug", log_prompts=log_prompts))

    text = capsys.readouterr().err
    assert ("the secret question" in text) is log_prompts
    assert ("the secret answer" in text) is log_prompts


async def test_logging_is_as_it_was_once_the_service_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("holdfast")
    before = (logger.level, list(logger.handlers))
    await answered(telling(json_logs=True))

    assert (logger.level, logger.handlers) == before


async def test_own_recorders_follow_after_those_of_the_settings(exporter: InMemorySpanExporter) -> None:
    follower = Following()
    async with open_orchestrator(telling(spans=True), backends={"a": Answering()}, recorders=[follower]) as service:
        await service.submit(ask())

    [span] = [span for span in exporter.get_finished_spans() if span.name == "holdfast.request"]
    own, followed = span.get_span_context(), follower.requests[0].request.trace
    assert own is not None
    assert followed is not None
    assert followed.trace_id == f"{own.trace_id:032x}"


@pytest.mark.usefixtures("without_otel")
@pytest.mark.parametrize("which", ["spans", "metrics"])
def test_missing_driver_is_refused_in_one_line(which: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^telemetry\.{which}: .*'holdfast\[otel\]'$"):
        make_container(telling(**{which: True})).recorders()


@pytest.mark.usefixtures("without_otel")
async def test_doctor_tells_of_the_missing_driver() -> None:
    settings = telling(spans=True)
    diagnosis = await diagnose(LoadedSettings(settings=settings, sources={}), make_container(settings))

    [check] = [check for check in diagnosis.checks if check.name == "telemetry"]
    assert not check.passed
    assert "holdfast[otel]" in check.detail


async def test_doctor_says_what_is_told() -> None:
    settings = telling(metrics=True)
    diagnosis = await diagnose(LoadedSettings(settings=settings, sources={}), make_container(settings))

    assert [(check.passed, check.detail) for check in diagnosis.checks if check.name == "telemetry"] == [
        (True, "ready: metrics")
    ]


@pytest.mark.slow
def test_driver_is_loaded_only_where_it_is_turned_on() -> None:
    code = (
        "import sys\n"
        "from holdfast.application.settings import Settings\n"
        "from holdfast.application.wiring import make_container\n"
        "make_container(Settings()).recorders()\n"
        "sys.exit('holdfast.adapters.otel' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
