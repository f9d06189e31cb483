"""Each dependency has a reason, a pin and its hashes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINNED_FILES = ("dev.txt", "image-build.txt", "image.txt", "python-consul.txt", "uv.txt")
UNLOCKED = {"llama": "llama-cpp-python is built from source, for minutes and for one kind of machine"}
"""Extras that are in no lock, and why."""

PIN = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[[^]]+])?==(?P<version>[^ ;]+)(?: ; [^\\\n]*[^\\\s])?(?P<hashes>(?: \\\n    --hash=\S+)*)",
    re.MULTILINE,
)


def _declared(project: dict[str, Any], *, left_out: Collection[str] = ()) -> Iterator[Requirement]:
    extras = project["project"]["optional-dependencies"]
    lines = [
        *project["project"]["dependencies"],
        *(line for extra, lines in extras.items() if extra not in left_out for line in lines),
        *project["dependency-groups"]["dev"],
    ]
    return (requirement for requirement in map(Requirement, lines) if requirement.name != project["project"]["name"])


def _pins(path: Path) -> dict[str, re.Match[str]]:
    return {canonicalize_name(pin["name"]): pin for pin in PIN.finditer(path.read_text())}


def test_every_dependency_is_followed_by_the_reason_for_it(root: Path, project: dict[str, Any]) -> None:
    text = (root / "pyproject.toml").read_text()
    without = [
        str(requirement)
        for requirement in _declared(project)
        if not re.search(rf'^ *"{re.escape(requirement.name)}[^"]*", +# \S.{{9}}', text, re.MULTILINE)
    ]

    assert without == []


def test_every_dependency_is_pinned_to_a_version_that_it_allows(root: Path, project: dict[str, Any]) -> None:
    pins = _pins(root / "requirements" / "dev.txt")
    wrong = [
        str(requirement)
        for requirement in _declared(project, left_out=UNLOCKED)
        if (pin := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(pin["version"])
    ]

    assert wrong == []


def test_direct_pins_are_those_of_declared_dependencies(root: Path, project: dict[str, Any]) -> None:
    sections = re.split(r"\n(?=\w)", (root / "requirements" / "dev.txt").read_text())
    direct = {
        canonicalize_name(pin["name"])
        for section in sections
        if "holdfast (pyproject.toml" in section and (pin := PIN.match(section))
    }

    locked = _declared(project, left_out=UNLOCKED)
    assert direct == {canonicalize_name(requirement.name) for requirement in locked}


@pytest.mark.parametrize("name", PINNED_FILES)
def test_every_pin_is_hashed(root: Path, name: str) -> None:
    path = root / "requirements" / name
    pins = list(PIN.finditer(path.read_text()))  # one package may be pinned for each of two Pythons
    requirements = [line for line in path.read_text().splitlines() if re.match(r"\w", line)]

    assert pins
    assert len(pins) == len(requirements)
    assert [pin["name"] for pin in pins if "--hash=sha256:" not in pin["hashes"]] == []


def test_only_pinned_files_are_in_requirements(root: Path) -> None:
    assert sorted(path.name for path in (root / "requirements").iterdir()) == sorted(PINNED_FILES)
