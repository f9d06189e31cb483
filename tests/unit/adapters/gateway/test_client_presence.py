"""Work that ends when its client leaves, told by a server that knows or by the next event."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast.adapters.gateway.client_presence import PRESENCE, ClientPresence, while_connected

pytestmark = pytest.mark.anyio


class Client:
    """One that sends the end of its body, and can leave; `told_by_server` says how that is heard of."""

    def __init__(self, *, told_by_server: bool) -> None:
        self.listens = 0
        self.presence = ClientPresence(self._listen)
        self.scope: dict[str, Any] = {"state": {PRESENCE: self.presence}} if told_by_server else {}
        self._left = anyio.Event()
        self._has_sent = False

    def _listen(self) -> None:
        self.listens += 1

    def leave(self) -> None:
        self.presence.leave()
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        if not self._has_sent:
            self._has_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(params=[True, False], ids=["told", "watched"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(told_by_server=request.param)


async def test_work_whose_client_stays_is_done(client: Client) -> None:
    async def work() -> str:
        await anyio.sleep(1.0)
        return "all of it"

    assert await while_connected(client.scope, client.receive, work) == "all of it"


async def test_work_whose_client_leaves_is_cancelled_at_once_and_nothing_raised(client: Client) -> None:
    began_s, ended_s = anyio.current_time(), list[float]()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended_s.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(while_connected, client.scope, client.receive, work)
        await anyio.sleep(0.5)
        client.leave()

    assert ended_s == [pytest.approx(began_s + 0.5)]


async def test_work_whose_client_has_left_already_goes_no_further_than_its_first_wait(client: Client) -> None:
    client.leave()
    reached: list[str] = []

    async def work() -> str:
        await anyio.sleep(1.0)
        reached.append("the end")
        return "done"

    assert await while_connected(client.scope, client.receive, work) is None
    assert reached == []


async def test_work_that_fails_raises_its_own_error_and_no_group(client: Client) -> None:
    async def work() -> None:
        await anyio.sleep(0.1)
        raise LookupError("as it is")

    with pytest.raises(LookupError, match="as it is"):
        await while_connected(client.scope, client.receive, work)


async def test_work_that_is_cancelled_from_without_lets_the_cancellation_through(client: Client) -> None:
    with anyio.move_on_after(0.5) as scope:
        await while_connected(client.scope, client.receive, anyio.sleep_forever)

    assert scope.cancelled_caught


async def test_presence_told_of_a_client_that_leaves_cancels_every_request_of_its_connection() -> None:
    client = Client(told_by_server=True)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(while_connected, client.scope, client.receive, anyio.sleep_forever)
        await anyio.sleep(0.1)
        client.leave()

    assert client.listens == 3


async def test_presence_lets_later_work_alone_once_the_earlier_one_is_done() -> None:
    client = Client(told_by_server=True)
    await while_connected(client.scope, client.receive, anyio.lowlevel.checkpoint)

    with anyio.move_on_after(0.5) as scope:
        client.leave()
        await anyio.sleep(0.1)

    assert not scope.cancelled_caught
