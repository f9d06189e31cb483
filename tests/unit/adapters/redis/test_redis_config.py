"""How Redis is talked to, before anything is."""

from __future__ import annotations

import pytest

from holdfast.adapters.redis import RedisConfig, RedisServer, RedisStore
from holdfast.ports.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", "{}"])
def test_prefix_that_would_move_keys_between_nodes_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^shared\.prefix: "):
        RedisConfig(prefix=prefix)


def test_config_shows_no_password() -> None:
    config = RedisConfig(address=RedisServer(port=7), password="very-secret")  # noqa: S106 - of nobody

    assert "very-secret" not in f"{config!r}{config}"
    assert "port=7" in repr(config)


@pytest.mark.parametrize("name", ["a", "", "a}", "{a}", "a:b"])
def test_keys_of_one_name_are_on_one_node(name: str) -> None:
    keys = [RedisStore().key("kind", name, part) for part in ("x", "y")]

    assert len({key[key.index("{") + 1 : key.index("}")] for key in keys}) == 1
    assert len(set(keys)) == 2


def test_keys_of_different_kinds_and_names_differ() -> None:
    store = RedisStore()

    assert len({store.key("a", "b"), store.key("a", "c"), store.key("b", "b"), store.key("a", "b", "")}) == 4


async def test_opening_connects_to_nothing(anyio_backend_name: str) -> None:
    nowhere = RedisStore(RedisConfig(address=RedisServer(port=1)))
    if anyio_backend_name == "asyncio":
        async with nowhere:
            assert nowhere.name == "redis"
    else:
        with pytest.raises(ConfigurationError, match=r"^shared\.kind: .*asyncio"):
            await nowhere.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_error_that_is_none_of_redis_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        async def execute_command(self, *args: str | bytes | int) -> object:
            raise ValueError("a bug")

        async def aclose(self) -> None:
            pass

    monkeypatch.setattr(RedisServer, "connect", lambda *_: Broken())
    async with RedisStore() as store:
        with pytest.raises(ValueError, match="a bug"):
            await store.epoch()
