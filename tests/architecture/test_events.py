"""Each event is told by the product, and shown by a test of the whole service and not of its mechanism alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from holdfast.ports import events
from tests.architecture.source import Module

WHOLE: Final = ("unit/application", "unit/adapters/gateway", "chaos", "integration", "regression")
"""Folders of the tests in which a service is opened, with whatever it is made of."""

EVENTS: Final = {
    name
    for name in events.__all__
    if issubclass(getattr(events, name), events.Event) and getattr(events, name) is not events.Event
}


def _named(trees: Iterable[ast.AST]) -> set[str]:
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_every_event_is_told_somewhere_in_the_product(modules: tuple[Module, ...]) -> None:
    told = _named(module.tree for module in modules if module.layer in {"domain", "application"})

    assert sorted(EVENTS - told) == []


def test_every_event_is_shown_by_a_test_of_the_whole_service(root: Path) -> None:
    paths = [path for folder in WHOLE for path in (root / "tests" / folder).rglob("test_*.py")]

    assert sorted(EVENTS - _named(ast.parse(path.read_text()) for path in paths)) == []
