"""Whoever brought an event sink or a recorder of their own lost the telemetry that parameters had turned on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast import Settings, open_orchestrator
from holdfast.application.parameter_settings import TomlParameterSettings
from tests.fakes.events import Listener
from tests.fakes.recorder import Following
from tests.fakes.service import Answering, ask

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

PARAMETERS = 'log_events = true\n[telemetry]\njson_logs = true\nlog_level = "debug"\n'


@pytest.mark.parametrize("brought", [{"event_sinks"}, {"recorders"}, set()])
async def test_log_that_parameters_turn_on_names_the_request_whatever_is_brought_beside_it(
    brought: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text(PARAMETERS)
    settings = Settings(parameters=TomlParameterSettings(kind="toml", path=path))
    listener, following = Listener(), Following()
    every: dict[str, Any] = {"event_sinks": [listener], "recorders": [following]}
    own = {name: every[name] for name in brought}

    async with open_orchestrator(settings, backends={"a": Answering()}, **own) as service:
        await service.submit(ask(request_id="r-1"))

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert "r-1" in {line.get("request_id") for line in lines}
    assert bool(listener.heard) == ("event_sinks" in brought)
    assert bool(following.requests) == ("recorders" in brought)
