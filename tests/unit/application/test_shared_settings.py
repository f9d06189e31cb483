"""The section ``shared``: what it makes, and what is wrong with it, in one line."""

from __future__ import annotations

import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers

from holdfast.adapters.system.clock import SystemClock
from holdfast.application.container import Container
from holdfast.application.diagnosis import diagnose
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.shared_settings import RedisSettings, host_and_port
from holdfast.application.shared_stores import open_shared_stores
from holdfast.ports.breaker_store import Opening
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.statistics import BreakerState
from holdfast.testing import ManualClock

URL = "redis://127.0.0.1:6379/0"
PASSWORD = "very-secret-0123"  # noqa: S105 - of nobody


def load(tmp_path: Path, shared: dict[str, Any]) -> LoadedSettings:
    return load_settings(tmp_path, {"shared": shared})


def test_shared_by_default_is_nothing(tmp_path: Path) -> None:
    assert load_settings(tmp_path).settings.shared is None


@pytest.mark.parametrize(
    "where",
    [
        {"url": URL},
        {"url": "rediss://redis.example"},
        {"url": "redis://[::1]:7000"},
        {"url": "unix:///run/redis.sock"},
        {"sentinels": ["a:26379", "b"], "service": "primary", "database": 2},
        {"cluster": ["a:6379", "[::1]:6380"], "tls": True, "ca_file": "ca.pem"},
        {"url": "rediss://redis.example", "ca_file": "ca.pem"},
        {"url": "redis://redis.example", "tls": True, "ca_file": "ca.pem"},
    ],
)
def test_shared_in_redis_wherever_it_is_is_taken(where: dict[str, Any], tmp_path: Path) -> None:
    shared = load(tmp_path, {"kind": "redis", **where}).settings.shared

    assert isinstance(shared, RedisSettings)
    assert "breakers" in shared.share


def test_shared_password_from_the_environment_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SHARED__KIND", "redis")
    monkeypatch.setenv("HOLDFAST_SHARED__URL", URL)
    monkeypatch.setenv("HOLDFAST_SHARED__PASSWORD", PASSWORD)

    loaded = load_settings(tmp_path)

    assert isinstance(loaded.settings.shared, RedisSettings)
    assert loaded.settings.shared.password is not None
    assert loaded.settings.shared.password.get_secret_value() == PASSWORD
    assert PASSWORD not in f"{loaded}{loaded.settings.model_dump()}{loaded.settings.model_dump_json()}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "memcached"}, r"shared\.kind: must be 'redis' or 'sqlite'"),
    "no kind": ({"url": URL}, r"shared\.kind: is missing; set it to 'redis' or 'sqlite'"),
    "nowhere": ({"kind": "redis"}, r"shared\.url: give one of url, sentinels and cluster, not none"),
    "two places": (
        {"kind": "redis", "url": URL, "cluster": ["a"]},
        r"shared\.url: give one of url, sentinels and cluster, not url and cluster",
    ),
    "sentinels of no service": ({"kind": "redis", "sentinels": ["a"]}, r"shared\.service: goes with sentinels"),
    "a service without sentinels": ({"kind": "redis", "url": URL, "service": "x"}, r"shared\.service: goes with"),
    "a password twice": (
        {"kind": "redis", "url": URL, "password": PASSWORD, "password_file": "x"},
        r"shared\.password_file: is given besides password",
    ),
    "another scheme": ({"kind": "redis", "url": "http://a"}, r"shared\.url: must begin with redis://"),
    "no scheme": ({"kind": "redis", "url": "127.0.0.1:6379"}, r"shared\.url: must begin with redis://"),
    "a password in the url": (
        {"kind": "redis", "url": f"redis://:{PASSWORD}@127.0.0.1"},
        r"shared\.url: holds a password or a user",
    ),
    "options in the url": ({"kind": "redis", "url": f"{URL}?db=1"}, r"shared\.url: has options behind"),
    "no host": ({"kind": "redis", "url": "redis:///0"}, r"shared\.url: names no HOST:PORT between // and /"),
    "a port of letters": ({"kind": "redis", "url": "redis://a:b"}, r"shared\.url: names no HOST:PORT"),
    "a database beside the url": (
        {"kind": "redis", "url": URL, "database": 3},
        r"shared\.database: is for sentinels; a url ends with its own, and a cluster has one only",
    ),
    "a database of a cluster": (
        {"kind": "redis", "cluster": ["a"], "database": 3},
        r"shared\.database: is for sentinels",
    ),
    "tls through a socket": ({"kind": "redis", "url": "unix:///s", "tls": True}, r"shared\.tls: there is none through"),
    "a certificate that nobody checks": (
        {"kind": "redis", "url": URL, "ca_file": "ca.pem"},
        r"shared\.ca_file: checks no certificate without tls; leave it out, or use rediss:// or tls",
    ),
    "a database of letters": ({"kind": "redis", "url": "redis://a/b"}, r"shared\.url: must end with /DATABASE"),
    "a socket that is none": ({"kind": "redis", "url": "unix://a/b"}, r"shared\.url: must be unix:///PATH"),
    "a sentinel that is none": (
        {"kind": "redis", "sentinels": ["a:0"], "service": "x"},
        r"shared\.sentinels: each must be HOST:PORT",
    ),
    "a node that is a url": ({"kind": "redis", "cluster": [URL]}, r"shared\.cluster: each must be HOST:PORT"),
    "a prefix with braces": ({"kind": "redis", "url": URL, "prefix": "a{b}"}, r"shared\.prefix: "),
    "an empty prefix": ({"kind": "redis", "url": URL, "prefix": ""}, r"shared\.prefix: "),
    "no time": ({"kind": "redis", "url": URL, "command_timeout_s": 0}, r"shared\.command_timeout_s: "),
    "no connection": ({"kind": "redis", "url": URL, "max_connections": 0}, r"shared\.max_connections: "),
    "nothing to share that there is": ({"kind": "redis", "url": URL, "share": ["secrets"]}, r"shared\.share\.0: "),
    "a claim without time": (
        {"kind": "redis", "url": URL, "breakers": {"claim_timeout_s": 0}},
        r"shared\.breakers\.claim_timeout_s: must be a finite number above 0",
    ),
    "a lease too short for its claims": (
        {"kind": "redis", "url": URL, "answers": {"lease_s": 0.5}},
        r"shared\.answers\.lease_s: must be at least 3 times shared\.answers\.claim_timeout_s, 0\.75, not 0\.5",
    ),
    "answers that are too small": (
        {"kind": "sqlite", "database": "x", "answers": {"max_answer_bytes": 1000}},
        r"shared\.answers\.max_answer_bytes: must be a finite number of at least 16384",
    ),
    "rounds without a pause": (
        {"kind": "redis", "url": URL, "link": {"refresh_s": 0}},
        r"shared\.link\.refresh_s: must be a finite number above 0",
    ),
    "unknown key": ({"kind": "redis", "urls": URL}, r"shared\.urls: .*did you mean 'shared\.url'"),
    "unknown key below": (
        {"kind": "redis", "url": URL, "link": {"refresh": 1}},
        r"shared\.link\.refresh: .*did you mean 'shared\.link\.refresh_s'",
    ),
    "key of the other kind": ({"kind": "sqlite", "data_base": "x"}, r"did you mean 'shared\.database'"),
    "no file": ({"kind": "sqlite"}, r"shared\.database: is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_shared_that_is_wrong_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    given, said = REFUSED[case]

    with pytest.raises(ConfigurationError, match=said) as caught:
        load(tmp_path, given)

    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        {"url": f"redis://me:{PASSWORD}"},
        {"url": f"me:{PASSWORD}@a"},
        {"url": f"redis://[me:{PASSWORD}@a"},
        {"url": f"redis://me:{PASSWORD}@\N{CARE OF}a"},
        {"url": [f"redis://me:{PASSWORD}@a"]},
        {"cluster": [f"[me:{PASSWORD}@a"]},
        {"cluster": f"me:{PASSWORD}@a"},
        {"sentinels": [f"me:{PASSWORD}@a"], "service": "x"},
        {"sentinels": f"me:{PASSWORD}@a", "service": "x"},
    ],
)
def test_shared_address_that_is_wrong_is_not_repeated(where: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^shared\.(url|cluster|sentinels): ") as caught:
        load(tmp_path, {"kind": "redis", "password": PASSWORD, **where})

    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_shared_that_is_no_section_is_refused_without_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^shared: ") as caught:
        load_settings(tmp_path, {"shared": [{"kind": "redis", "password": PASSWORD}]})

    assert PASSWORD not in str(caught.value)


def test_shared_password_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^shared\.password: ") as caught:
        load(tmp_path, {"kind": "redis", "url": URL, "password": [PASSWORD]})

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"), [("a", ("a", 7)), ("a:1", ("a", 1)), ("[::1]:2", ("::1", 2)), ("[::1]", ("::1", 7))]
)
def test_address_without_a_port_has_the_usual_one(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address, path="x", default_port=7) == expected


@pytest.mark.anyio
async def test_shared_nothing_opens_nothing() -> None:
    async with open_shared_stores(None, ManualClock()) as stores:
        assert stores is None


@pytest.mark.anyio
@pytest.mark.real_time
async def test_shared_in_sqlite_is_kept_in_the_file_that_is_set(tmp_path: Path) -> None:
    shared = load(tmp_path, {"kind": "sqlite", "database": str(tmp_path / "new" / "shared.sqlite")}).settings.shared
    for expected in (BreakerState.CLOSED, BreakerState.OPEN):
        async with open_shared_stores(shared, SystemClock()) as stores:
            assert stores is not None
            assert stores.breakers is not None
            assert (await stores.breakers.look("a")).state is expected
            await stores.breakers.open("a", Opening(lasts_s=60.0, earlier=1))


@pytest.mark.anyio
@pytest.mark.real_time
async def test_doctor_says_that_the_store_answers(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"kind": "sqlite", "database": str(tmp_path / "shared.sqlite")})
    async with open_shared_stores(loaded.settings.shared, SystemClock()) as stores:
        assert stores is not None
        await stores.store.epoch()

    diagnosis = await diagnose(loaded, Container(settings=providers.Object(loaded.settings)))

    [check] = [check for check in diagnosis.checks if check.name == "shared"]
    assert (check.passed, check.detail) == (True, "ready: sqlite")


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "redis", "url": "redis://127.0.0.1:1"}, "redis: Error 111"),
        (
            {"kind": "redis", "url": URL, "password_file": "missing"},
            "shared.password_file: missing: No such file or directory",
        ),
        ({"kind": "sqlite", "database": "."}, "sqlite: "),
    ],
)
async def test_doctor_says_why_the_store_cannot_be_asked(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, given)

    diagnosis = await diagnose(loaded, Container(settings=providers.Object(loaded.settings)))

    [check] = [check for check in diagnosis.checks if check.name == "shared"]
    assert not check.passed
    assert said in check.detail


@pytest.mark.anyio
@pytest.mark.real_time
async def test_doctor_of_a_store_that_somebody_replaced_by_none_says_so(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"kind": "sqlite", "database": str(tmp_path / "shared.sqlite")})
    container = Container(settings=providers.Object(loaded.settings))
    container.shared_stores.override(providers.Object(nullcontext()))

    diagnosis = await diagnose(loaded, container)

    assert [check.detail for check in diagnosis.checks if check.name == "shared"] == ["nothing is shared"]


@pytest.mark.anyio
async def test_shared_in_redis_on_another_loop_than_asyncios_is_refused(anyio_backend_name: str) -> None:
    opening = open_shared_stores(RedisSettings(kind="redis", url=URL), ManualClock())
    if anyio_backend_name == "asyncio":
        async with opening as stores:
            assert stores is not None
            assert stores.store.name == "redis"
    else:
        with pytest.raises(ConfigurationError, match=r"^shared\.kind: .*asyncio"):
            async with opening:
                pass


@pytest.mark.anyio
async def test_shared_in_redis_with_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o644)

    with pytest.raises(ConfigurationError, match=r"^shared\.password_file: .*chmod 600") as caught:
        async with open_shared_stores(RedisSettings(kind="redis", url=URL, password_file=file), ManualClock()):
            pass

    assert PASSWORD not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file or directory"), ("no certificate", "NO_CERTIFICATE_OR_CRL_FOUND")]
)
async def test_shared_in_redis_with_a_ca_file_that_holds_none_is_refused(
    content: str | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigurationError, match=rf"^shared\.ca_file: .*ca\.pem' cannot be used: .*{said}"):
        async with open_shared_stores(RedisSettings(kind="redis", url=URL, tls=True, ca_file=file), ManualClock()):
            pass


@pytest.mark.anyio
async def test_shared_in_redis_without_its_extra_names_the_setting_and_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [loaded for loaded in sys.modules if loaded.startswith(("holdfast.adapters.redis", "redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"^shared\.kind: .*holdfast\[redis\]"):
        async with open_shared_stores(RedisSettings(kind="redis", url=URL), ManualClock()):
            pass
