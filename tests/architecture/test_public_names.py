"""Every module says what it offers, and every package offers exactly what its `__all__` lists."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import types

import pytest

import holdfast
from tests.architecture.source import Module

PACKAGES = ["holdfast"] + [
    module.name for module in pkgutil.walk_packages(holdfast.__path__, prefix="holdfast.") if module.ispkg
]


def _listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return list(ast.literal_eval(value))
            case _:
                continue
    return None


def test_all_in_every_module_is_there_and_names_nothing_twice(modules: tuple[Module, ...]) -> None:
    listed = {module.name: _listed(module.tree) for module in modules}

    assert [name for name, names in listed.items() if names is None] == []
    assert [name for name, names in listed.items() if names is not None and len(names) != len(set(names))] == []


def test_all_in_every_module_names_what_the_module_defines_publicly(modules: tuple[Module, ...]) -> None:
    wrong: list[str] = []
    for module in modules:
        if module.path.name in {"__init__.py", "__main__.py"}:
            continue
        defined = {
            node.name
            for node in module.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        public = {name for name in defined if not name.startswith("_")}
        wrong += [f"{module.name}: {name}" for name in sorted(public - set(_listed(module.tree) or []))]

    assert wrong == []


@pytest.mark.parametrize("name", PACKAGES)
def test_all_of_a_package_is_its_public_names(name: str) -> None:
    package = importlib.import_module(name)
    public = {
        attribute
        for attribute in dir(package)
        if not attribute.startswith("_")
        and not isinstance(getattr(package, attribute), types.ModuleType)
        and attribute != "annotations"
    }

    assert sorted(package.__all__) == sorted(public)
    assert [listed for listed in package.__all__ if not hasattr(package, listed)] == []
