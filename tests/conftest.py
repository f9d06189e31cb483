"""Every async test runs on asyncio and on trio, in virtual time unless it asks for real time."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from holdfast.testing import virtual_backend
from tests.fakes.consul_agent import consul_agent, running_consul_agent, start_consul
from tests.fakes.llama_server import llama_server, start_llama
from tests.fakes.redis_server import redis_server, running_redis_server, start_redis
from tests.servers import GIVEN

__all__ = [
    "anyio_backend",
    "consul_agent",
    "llama_server",
    "redis_server",
    "running_consul_agent",
    "running_redis_server",
    "start_consul",
    "start_llama",
    "start_redis",
]

settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def _environment_without_tests() -> None:
    for name in GIVEN:
        os.environ.pop(name, None)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]] | str:
    """Give virtual time; a test marked ``real_time`` uses threads, sockets or processes and gets the real loops."""
    name: str = request.param
    return name if request.node.get_closest_marker("real_time") else virtual_backend(name)
