"""One module of the product, parsed."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Module", "dotted_uses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: Path, root: Path) -> Module:
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        return cls(name=name, path=path, text=text, tree=ast.parse(text))

    @property
    def layer(self) -> str:
        """The folder directly under `holdfast` that it lies in, or its name where it lies in none."""
        return self.name.split(".")[1] if "." in self.name else ""

    def aliases(self) -> dict[str, str]:
        """Return what each imported name stands for, so that renaming hides nothing."""
        aliases: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                aliases |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Import):
                aliases |= {name.asname: name.name for name in node.names if name.asname}
        return aliases


def dotted_uses(tree: ast.AST, aliases: dict[str, str]) -> list[tuple[int, str]]:
    """Return the line and the full dotted name of everything that the tree refers to."""
    return [
        (node.lineno, _dotted(node, aliases)) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)
    ]


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return aliases.get(name, name)
        case ast.Attribute(value=value, attr=attribute):
            return f"{_dotted(value, aliases)}.{attribute}"
        case _:
            return ""
