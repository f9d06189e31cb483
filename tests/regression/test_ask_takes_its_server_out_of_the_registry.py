"""A question or a batch with the settings of a server registered as that server, and took it out when it ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint

from holdfast.adapters.files import FileRegistry
from holdfast.adapters.system import SystemClock
from holdfast.application.program import Program
from holdfast.application.settings_sources import LoadedSettings, load_settings
from tests.fakes.service import ask

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


def with_registry(folder: Path) -> LoadedSettings:
    registration = {"service": "asks", "host": "10.0.0.7", "port": 8080}
    return load_settings(folder, {"registry": {"kind": "file", "path": str(folder), "registration": registration}})


async def listed(folder: Path, *, after_s: float = 0.0) -> list[str]:
    """Return who is listed now, or after a change within so many seconds."""
    registry = FileRegistry(folder, clock=SystemClock(), poll_s=0.01)
    index, instances = await registry.instances("asks", index=0, wait_s=0.0)
    if not instances and after_s:
        _, instances = await registry.instances("asks", index=index or 1, wait_s=after_s)
    return [instance.instance_id for instance in instances]


async def test_open_service_that_nobody_reaches_leaves_the_one_that_is_registered_in_its_place(tmp_path: Path) -> None:
    program = Program(with_registry(tmp_path))
    async with program.open_service(notify=print, reachable=checkpoint):
        before = await listed(tmp_path, after_s=20.0)
        async with program.open_service(notify=print) as asking:
            await asking.submit(ask("anybody there?"))
            registry = asking.health().registry
        after = await listed(tmp_path)

    assert registry is not None
    assert registry.registration is None
    assert before == after == ["asks-10.0.0.7-8080"]


@pytest.mark.slow
async def test_open_batch_registers_nothing(tmp_path: Path) -> None:
    async with Program(with_registry(tmp_path)).open_batch(tmp_path / "out", notify=print):
        assert await listed(tmp_path, after_s=0.3) == []
