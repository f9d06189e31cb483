"""What each folder imports from outside, and what an import does.

What the folders import of each other is held by the contracts in pyproject.toml.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import Module
from tests.architecture.test_dependencies import UNLOCKED

ALLOWED = {
    "": set[str](),
    "__main__": set[str](),
    "ports": set[str](),
    "domain": {"anyio"},
    "application": {"anyio", "pydantic", "pydantic_core", "pydantic_settings", "dependency_injector"},
    "adapters": {"anyio"},
    "testing": {"anyio", "pytest", "trio"},
}
"""Packages for each layer; an adapter may also use those of its extra."""

EXTRAS_OF_FOLDERS = {"claude_agent": "claude", "http": "openai", "llama_cpp": "llama"}
"""Folders of adapters whose extra carries another name."""

OUTSIDE_WORLD = {
    *("asyncio", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "selectors"),
    *("shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib"),
}
"""Parts of the standard library that the domain reaches only through a port."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("holdfast", include_external_packages=True, cache_dir=None)


def _outside_imports(graph: grimp.ImportGraph, module: str) -> set[str]:
    return {
        name.split(".")[0]
        for name in graph.find_modules_directly_imported_by(module)
        if not name.startswith("holdfast.") and name != "holdfast"
    }


def _packages_of_extras(project: dict[str, Any]) -> dict[str, set[str]]:
    """Return the importable packages that each extra brings."""
    installed = packages_distributions()
    return {
        extra: {
            package
            for package, distributions in installed.items()
            if {canonicalize_name(Requirement(line).name) for line in lines}
            & set(map(canonicalize_name, distributions))
        }
        for extra, lines in project["project"]["optional-dependencies"].items()
    }


def test_packages_that_each_folder_imports_are_those_it_may(
    graph: grimp.ImportGraph, modules: tuple[Module, ...], project: dict[str, Any]
) -> None:
    extras = _packages_of_extras(project)
    found: list[str] = []
    for module in modules:
        folders = module.name.split(".")[2:]
        own = set[str]().union(*(extras.get(EXTRAS_OF_FOLDERS.get(part, part), set[str]()) for part in folders))
        allowed = ALLOWED[module.layer] | (own if module.layer == "adapters" else set[str]())
        foreign = _outside_imports(graph, module.name) - sys.stdlib_module_names - allowed
        found += [f"{module.name} imports {name}" for name in sorted(foreign)]

    assert found == []


def test_outside_world_is_imported_by_no_module_of_the_domain(
    graph: grimp.ImportGraph, modules: tuple[Module, ...]
) -> None:
    found = [
        f"{module.name} imports {name}"
        for module in modules
        if module.layer == "domain"
        for name in sorted(_outside_imports(graph, module.name) & OUTSIDE_WORLD)
    ]

    assert found == []


def test_modules_import_each_other_in_no_circle(graph: grimp.ImportGraph) -> None:
    circles = [
        f"{module} ↔ {imported}"
        for module in graph.modules
        if module.startswith("holdfast")
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.startswith("holdfast") and graph.chain_exists(importer=imported, imported=module)
    ]

    assert circles == []


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """Run the code in a process that loads nothing else, in particular no coverage measurement."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def _closure(distribution: str) -> set[str]:
    """Return everything that the distribution needs, itself included, optional parts not."""
    names = {distribution}
    for line in requires(distribution) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names |= _closure(requirement.name)
    return names


_ONLY = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        layer = ".".join(name.split(".")[:2])
        if name.split(".")[0] == "holdfast":
            known = layer in {{"holdfast", "holdfast.ports", "holdfast.domain"}}
        else:
            known = name.split(".")[0] in {allowed} | sys.stdlib_module_names
        if not known:
            raise ModuleNotFoundError(f"refused: {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
for name in {names}:
    importlib.import_module(name)
"""


def test_domain_is_importable_with_nothing_but_anyio_installed(modules: tuple[Module, ...]) -> None:
    closure = _closure("anyio")
    allowed = {package for package, owners in packages_distributions().items() if closure & set(owners)}
    names = [module.name for module in modules if module.layer in {"ports", "domain"}]

    outcome = _run(_ONLY.format(allowed=allowed, names=names))

    assert "anyio" in allowed
    assert outcome.returncode == 0, outcome.stderr


_QUIET = """
import sys, threading
seen = []
sys.addaudithook(lambda event, args: seen.append((event, args)))
import holdfast
assert threading.active_count() == 1, threading.enumerate()
wrong = [
    (event, args) for event, args in seen
    if event.startswith(("socket.", "subprocess.", "sqlite3.", "os.mkdir", "os.putenv", "_thread.start"))
    or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))
]
assert not wrong, wrong
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_import_of_the_package_starts_nothing_and_loads_no_driver(project: dict[str, Any]) -> None:
    heavy = {"pydantic", "pydantic_settings", "dependency_injector", "sqlite3"}.union(
        *_packages_of_extras(project).values()
    )

    outcome = _run(_QUIET)

    assert outcome.returncode == 0, outcome.stderr
    assert set(outcome.stdout.split()) & heavy == set()


_WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
try:
    {statement}
except (ImportError, SystemExit) as error:
    print(error)
"""

STATEMENTS = {
    "claude_agent": "import holdfast.adapters.inference.claude_agent.exchange",
    "cli": "from holdfast.__main__ import main; main()",
    "http": "import holdfast.adapters.inference.http.aiohttp_transport",
    "llama_cpp": "from holdfast.adapters.inference.llama_cpp import require_llama_cpp; require_llama_cpp()",
    "openai": "import holdfast.adapters.inference.http.aiohttp_transport",
}
"""What needs the driver, where it is not the import: the program is started, and models are loaded late."""


def test_adapter_without_its_extra_says_which_one_to_install(root: Path, project: dict[str, Any]) -> None:
    packages = _packages_of_extras(project)
    adapters = {
        path.name: ".".join(path.relative_to(root).parts)
        for path in (root / "holdfast" / "adapters").rglob("*")
        if EXTRAS_OF_FOLDERS.get(path.name, path.name) in packages
    }
    silent: list[str] = []
    for name, module in sorted(adapters.items()):
        extra, statement = EXTRAS_OF_FOLDERS.get(name, name), STATEMENTS.get(name, f"import {module}")
        if f"holdfast[{extra}]" not in _run(_WITHOUT.format(refused=packages[extra], statement=statement)).stdout:
            silent.append(name)

    assert adapters
    assert silent == []


def test_contract_suites_without_pytest_say_which_extra_to_install() -> None:
    outcome = _run(_WITHOUT.format(refused={"pytest"}, statement="import holdfast.testing.contracts"))

    assert "holdfast[testing]" in outcome.stdout


def test_extras_are_those_of_adapters_and_all_of_them(root: Path, project: dict[str, Any]) -> None:
    extras = dict(project["project"]["optional-dependencies"])
    folders = {path.name for path in (root / "holdfast" / "adapters").rglob("*") if path.is_dir()}
    [everything] = extras.pop("all")

    assert Requirement(everything).extras == set(extras) - set(UNLOCKED)
    assert set(extras) - {"testing"} <= {EXTRAS_OF_FOLDERS.get(folder, folder) for folder in folders}
