"""Every module says what it offers, and every package offers exactly what its `__all__` lists."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

from tests.architecture.source import Module


def _listed(module: Module) -> list[str] | None:
    for node in module.tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return list(ast.literal_eval(value))
            case _:
                continue
    return None


def _is_package(module: Module) -> bool:
    return module.path.name == "__init__.py"


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names of functions and classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _reexported(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that are imported from the product itself, those for type checkers included."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _reexported(node.body)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "holdfast":
            yield from (alias.asname or alias.name for alias in node.names)


def _public(names: Iterator[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_every_module_lists_its_names_once(modules: tuple[Module, ...]) -> None:
    listed = {module.name: _listed(module) for module in modules}

    assert [name for name, names in listed.items() if names is None] == []
    assert [name for name, names in listed.items() if names is not None and len(names) != len(set(names))] == []


def test_every_module_lists_the_public_functions_and_classes_that_it_defines(modules: tuple[Module, ...]) -> None:
    unlisted = {
        module.name: missing
        for module in modules
        if (missing := _public(_defined(module.tree.body)) - set(_listed(module) or []))
    }

    assert unlisted == {}


def test_every_package_lists_exactly_what_it_imports_from_its_modules(modules: tuple[Module, ...]) -> None:
    different = {
        module.name: sorted(different)
        for module in modules
        if _is_package(module)
        and (
            different := set(_listed(module) or [])
            ^ (_public(_reexported(module.tree.body)) | _public(_defined(module.tree.body)))
        )
    }

    assert different == {}


def test_every_listed_name_is_there(modules: tuple[Module, ...]) -> None:
    missing = [
        f"{module.name}.{name}"
        for module in modules
        for name in _listed(module) or []
        if not hasattr(importlib.import_module(module.name), name)
    ]

    assert missing == []


def _checked(module: Module) -> dict[str, str]:
    """Return the names that a package imports for type checkers only, with the module of each."""
    return {
        alias.name: node.module
        for block in module.tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def test_every_name_that_is_loaded_late_is_what_type_checkers_take_it_for(modules: tuple[Module, ...]) -> None:
    loaded_late = {module.name: checked for module in modules if _is_package(module) and (checked := _checked(module))}
    different = [
        f"{package}.{name}"
        for package, checked in loaded_late.items()
        for name, module in checked.items()
        if getattr(importlib.import_module(package), name) is not getattr(importlib.import_module(module), name)
    ]

    assert sorted(loaded_late) == ["holdfast", "holdfast.domain", "holdfast.ports"]
    assert different == []


def test_every_name_that_is_loaded_late_is_told_before_it_is_loaded(modules: tuple[Module, ...]) -> None:
    hidden = [
        f"{module.name}.{name}"
        for module in modules
        if _is_package(module) and _checked(module)
        for name in _listed(module) or []
        if name not in dir(importlib.import_module(module.name))
    ]

    assert hidden == []
