"""What a server in somebody's own program leaves alone."""

from __future__ import annotations

import gc

import pytest

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
