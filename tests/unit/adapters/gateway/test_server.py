"""What a server in somebody's own program leaves alone, and where it cannot listen."""

from __future__ import annotations

import gc

import anyio
import pytest

from holdfast.adapters.gateway.server import serve_gateway
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import GatewayOptions
from tests.fakes.gateway import served
from tests.fakes.service import Answering, opened

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn runs on nothing else


async def test_server_that_is_embedded_leaves_the_garbage_collection_of_its_program_as_it_is() -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    async with opened({"a": Answering()}) as service, served(service):
        meanwhile = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()

    assert meanwhile == before


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1", "nobody..invalid", f"{'x' * 64}.invalid"])
async def test_server_on_a_host_that_this_machine_is_not_is_refused_by_the_host(host: str) -> None:
    options = GatewayOptions(host=host, port=0)
    async with opened({"a": Answering()}) as service:
        with pytest.raises(ConfigurationError) as caught:
            await serve_gateway(service, options, stop=anyio.Event(), on_listening=pytest.fail)

    assert caught.value.path == "gateway.host"
    assert str(caught.value).count(host) == 1
    assert str(caught.value).endswith("; choose another")
