"""The error tree is what its docstring prints, and each error in it is raised and tested."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

from holdfast.ports import errors
from tests.architecture.source import Module

CLASSES = {name: getattr(errors, name) for name in errors.__all__}
BRANCH = re.compile(r"^ {4}(?P<indent>[│ ]*)[├└]── (?P<name>\w+)(?: \((?P<builtin>\w+)\))?")


def _printed() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each name of the printed tree with the names of its bases."""
    path = ["HoldfastError"]
    for line in (errors.__doc__ or "").splitlines():
        if branch := BRANCH.match(line):
            depth = len(branch["indent"]) // 4 + 1
            path[depth:] = [branch["name"]]
            yield branch["name"], (path[depth - 1], *([branch["builtin"]] if branch["builtin"] else []))


def _leaves() -> set[str]:
    """Return the errors that no other derives from: those that are raised."""
    return {name for name, error in CLASSES.items() if not error.__subclasses__()}


def test_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    bases = {name: tuple(base.__name__ for base in error.__bases__) for name, error in CLASSES.items()}

    assert dict(_printed()) | {"HoldfastError": ("Exception",)} == bases


def test_every_error_of_the_module_is_in_the_tree() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and not hasattr(builtins, name)
    }

    assert defined == set(CLASSES)


def test_every_leaf_of_the_tree_is_made_somewhere_in_the_product(modules: tuple[Module, ...]) -> None:
    made = {
        node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        for module in modules
        if module.name != "holdfast.ports.errors"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    }

    assert sorted(_leaves() - made) == []


def test_every_leaf_of_the_tree_is_named_in_a_test(root: Path) -> None:
    named = {
        node.id if isinstance(node, ast.Name) else node.attr
        for path in (root / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
    }

    assert sorted(_leaves() - named) == []
