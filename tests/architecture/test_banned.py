"""What the library never does, also where a linter's warning was silenced."""

from __future__ import annotations

import ast
import re
from typing import Any

from tests.architecture.source import Module, dotted_uses

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def test_names_banned_in_pyproject_are_nowhere_in_the_product(
    modules: tuple[Module, ...], project: dict[str, Any]
) -> None:
    banned = set(project["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])
    found = [
        f"{module.name}:{line}: {name}"
        for module in modules
        for line, name in dotted_uses(module.tree, module.aliases())
        if name in banned
    ]

    assert banned >= {"asyncio.gather", "asyncio.create_task", "asyncio.run", "asyncio.wait_for", "threading.Lock"}
    assert found == []


def test_blocking_sleep_is_in_no_coroutine(modules: tuple[Module, ...]) -> None:
    found = [
        f"{module.name}:{line}"
        for module in modules
        for function in ast.walk(module.tree)
        if isinstance(function, ast.AsyncFunctionDef)
        for line, name in dotted_uses(function, module.aliases())
        if name == "time.sleep"
    ]

    assert found == []


def test_nothing_is_left_unfinished(modules: tuple[Module, ...]) -> None:
    found = [
        f"{module.name}:{number}: {line.strip()}"
        for module in modules
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]

    assert found == []
