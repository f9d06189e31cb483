"""The container image and the compose file, as far as they can be checked where no engine runs.

The Dockerfile is read and its rules are held; its entry point, its environment and its health check are run as they
stand, by the programs of this environment.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped] # brings no types
from packaging.requirements import Requirement

from holdfast.application.consistency import check_consistency
from holdfast.application.settings_sources import load_settings
from tests.servers import free_port

KEY: Final = "k" * 32
PATIENCE_S: Final = 60.0


@pytest.fixture(scope="module")
def instructions(root: Path) -> list[tuple[str, str]]:
    """Return each instruction of the Dockerfile with what follows it, lines that go on joined."""
    lines = [line for line in (root / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in parts]


@pytest.fixture(scope="module")
def last_stage(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = max(number for number, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text())
    return document


def all_of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for found, rest in instructions if found == name]


def the(instructions: list[tuple[str, str]], name: str) -> str:
    [only] = all_of(instructions, name)
    return only


def variables(instructions: list[tuple[str, str]]) -> dict[str, str]:
    pairs = [pair for rest in all_of(instructions, "ENV") for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def health_command(instructions: list[tuple[str, str]]) -> list[str]:
    command: list[str] = json.loads(the(instructions, "HEALTHCHECK").partition("CMD")[2])
    return command


def test_image_is_built_in_stages_and_only_the_outcome_is_shipped(
    instructions: list[tuple[str, str]], last_stage: list[tuple[str, str]]
) -> None:
    assert len(all_of(instructions, "FROM")) == 2
    assert all_of(last_stage, "COPY") == ["--from=build /app /app"]
    assert not any("pip" in command for command in all_of(last_stage, "RUN"))


def test_base_images_are_of_a_version(instructions: list[tuple[str, str]]) -> None:
    bases = [base.split()[0] for base in all_of(instructions, "FROM")]

    assert [base for base in bases if not re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", base)] == []
    assert len(set(bases)) == 1  # or what was built for one would not run on the other


def test_python_of_the_image_is_one_that_the_project_names(
    instructions: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    [version] = re.findall(r"python:(\d+\.\d+)", all_of(instructions, "FROM")[0])

    assert f"Programming Language :: Python :: {version}" in project["project"]["classifiers"]


def test_image_runs_as_nobody_in_particular(last_stage: list[tuple[str, str]]) -> None:
    user, group = the(last_stage, "USER").split(":")
    [creating] = all_of(last_stage, "RUN")
    positions = [name for name, _ in last_stage]

    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert f"--uid {user}" in creating
    assert f"--gid {group}" in creating
    assert positions.index("USER") < positions.index("ENTRYPOINT")


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD"])
def test_program_is_started_without_a_shell_in_front(last_stage: list[tuple[str, str]], name: str) -> None:
    command = json.loads(the(last_stage, name))

    assert command
    assert all(isinstance(word, str) for word in command)


def test_health_is_checked_without_a_shell_and_within_its_time(last_stage: list[tuple[str, str]]) -> None:
    check = the(last_stage, "HEALTHCHECK")

    assert health_command(last_stage)[0] == "python"
    assert {"--interval=10s", "--timeout=3s", "--start-period=20s", "--retries=3"} <= set(check.split())
    assert "timeout=2" in check  # gives up by itself, before it is killed


def test_image_is_stopped_by_the_signal_that_drains(last_stage: list[tuple[str, str]]) -> None:
    assert the(last_stage, "STOPSIGNAL") == "SIGTERM"


def test_port_that_is_exposed_is_the_one_that_is_listened_on(last_stage: list[tuple[str, str]]) -> None:
    assert the(last_stage, "EXPOSE") == variables(last_stage)["HOLDFAST_GATEWAY__PORT"]


def test_what_is_installed_is_pinned_by_its_hash_or_built_here(instructions: list[tuple[str, str]]) -> None:
    commands = [part for rest in all_of(instructions, "RUN") for part in rest.split("&&") if "pip install" in part]

    assert len(commands) == 3
    assert [part for part in commands if "--require-hashes" not in part and "--no-deps" not in part] == []


def test_no_secret_is_built_into_the_image(instructions: list[tuple[str, str]]) -> None:
    given = [*all_of(instructions, "ENV"), *all_of(instructions, "ARG")]

    assert [rest for rest in given if re.search(r"KEY|TOKEN|PASSWORD|SECRET", rest)] == []
    assert all_of(instructions, "ADD") == []


def test_requirements_of_the_image_are_those_of_its_extras_in_the_versions_of_the_lock(
    root: Path, project: dict[str, Any]
) -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", (root / "requirements" / name).read_text(), re.MULTILINE))

    image, locked = pins("image.txt"), pins("dev.txt")
    extras = ("cli", "gateway", "identity", "jsonschema", "openai", "redis", "consul", "otel")
    needed = [
        *project["project"]["dependencies"],
        *(line for extra in extras for line in project["project"]["optional-dependencies"][extra]),
    ]

    assert {Requirement(line).name for line in needed} <= set(image)
    assert {name: version for name, version in image.items() if locked.get(name) != version} == {}
    assert not {"pytest", "mypy", "ruff", "claude-agent-sdk"} & set(image)


def test_everything_that_is_copied_is_there_and_not_kept_out(
    root: Path, instructions: list[tuple[str, str]], committed: tuple[Path, ...]
) -> None:
    rules = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = {rule.removeprefix("!/") for rule in rules if rule.startswith("!")}
    copied = [
        source for rest in all_of(instructions, "COPY") if not rest.startswith("--from") for source in rest.split()[:-1]
    ]
    known = {path.relative_to(root).as_posix() for path in committed}

    assert rules[0] == "*"
    assert set(copied) == let_in
    assert [
        source for source in copied if not any(path == source or path.startswith(f"{source}/") for path in known)
    ] == []
    assert not any(fnmatch.fnmatch(path, rule) for rule in rules if rule.startswith("**") for path in known)


@contextmanager
def started(folder: Path, last_stage: list[tuple[str, str]], **changes: str) -> Iterator[Any]:
    """Run what the image runs, with its environment but for the port, and give the process and that environment."""
    programs = Path(sys.executable).parent
    own = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env = own | variables(last_stage) | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"} | changes
    command = [*json.loads(the(last_stage, "ENTRYPOINT")), *json.loads(the(last_stage, "CMD"))]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, env
    finally:
        process.kill()
        process.communicate()


def is_healthy(last_stage: list[tuple[str, str]], env: dict[str, str]) -> bool:
    return subprocess.run(health_command(last_stage), env=env, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_entry_point_serves_until_the_signal_and_the_health_check_sees_it(
    tmp_path: Path, last_stage: list[tuple[str, str]]
) -> None:
    changes = {
        "HOLDFAST_GATEWAY__PORT": str(free_port()),
        "HOLDFAST_GATEWAY__HOST": "127.0.0.1",  # so that no test is reached from outside
        "HOLDFAST_GATEWAY__API_KEYS__ME": KEY,
    }
    with started(tmp_path, last_stage, **changes) as (process, env):
        healthy_before = is_healthy(last_stage, env | {"HOLDFAST_GATEWAY__PORT": str(free_port())})
        until_s = time.monotonic() + PATIENCE_S
        while not (healthy := is_healthy(last_stage, env)) and process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.1)
        process.send_signal(getattr(signal, the(last_stage, "STOPSIGNAL")))
        _, said = process.communicate(timeout=PATIENCE_S)

    assert not healthy_before
    assert healthy, said
    assert process.returncode == 0, said


@pytest.mark.slow
def test_entry_point_refuses_to_be_reached_by_everybody_without_a_key(
    tmp_path: Path, last_stage: list[tuple[str, str]]
) -> None:
    with started(tmp_path, last_stage, HOLDFAST_GATEWAY__PORT=str(free_port())) as (process, _):
        _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert "gateway.api_keys" in said
    assert len(said.strip().splitlines()) == 1


def test_services_are_the_gateway_and_what_it_shares(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"holdfast", "redis", "consul"}


def test_images_of_services_are_of_a_version_or_built_here(compose: dict[str, Any]) -> None:
    images = {name: service.get("image") for name, service in compose["services"].items() if "build" not in service}

    assert images
    assert [name for name, image in images.items() if not re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", image)] == []


def test_gateway_waits_until_what_it_depends_on_is_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waited_for = services["holdfast"]["depends_on"]

    assert {name: waited["condition"] for name, waited in waited_for.items()} == {
        "redis": "service_healthy",
        "consul": "service_healthy",
    }
    assert all(services[name]["healthcheck"]["test"][0] == "CMD" for name in waited_for)


def test_gateway_may_do_no_more_than_it_has_to(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["holdfast"]

    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in gateway
    assert "user" not in gateway  # that of the image


def test_only_the_gateway_is_reached_from_outside_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}

    assert published == {"holdfast": ["127.0.0.1:8000:8000"]}


def test_volumes_that_are_used_are_those_that_are_declared(compose: dict[str, Any]) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", ())}

    assert used == set(compose["volumes"])


def test_settings_of_the_compose_file_are_settings_that_hold_together(
    compose: dict[str, Any], tmp_path: Path, last_stage: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = variables(last_stage) | compose["services"]["holdfast"]["environment"]
    for name, value in given.items():
        if name.startswith("HOLDFAST_"):
            monkeypatch.setenv(name, re.sub(r"\$\{HOLDFAST_API_KEY:\?[^}]*}", KEY, value))
    settings = load_settings(tmp_path).settings
    check_consistency(settings)

    assert settings.shared is not None
    assert settings.registry is not None
    assert settings.telemetry.json_logs
    assert settings.gateway.api_keys["default"].get_secret_value() == KEY


def test_time_to_stop_is_longer_than_the_gateway_takes_to_drain(compose: dict[str, Any], tmp_path: Path) -> None:
    grace_s = float(compose["services"]["holdfast"]["stop_grace_period"].removesuffix("s"))

    assert grace_s >= load_settings(tmp_path).settings.gateway.drain_timeout_s + 5
