"""Compares lines of test code with lines of product code; exits 1 when there are too few of the first.

Counted are lines that hold code: no blank lines, no comments, no docstrings.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from pathlib import Path

LEAST = 1.5
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def code_lines(path: Path) -> int:
    """Return how many lines of the file hold code."""
    with path.open("rb") as source:
        lines = {
            line
            for token in tokenize.tokenize(source.readline)
            if token.type not in _NO_CODE
            for line in range(token.start[0], token.end[0] + 1)
        }
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def main() -> int:
    """Print the figure and return the exit code."""
    root = Path(__file__).parent.parent
    product, tests = (sum(map(code_lines, (root / folder).rglob("*.py"))) for folder in ("holdfast", "tests"))
    ratio = tests / product
    print(f"test lines {tests} : product lines {product} = {ratio:.2f} (at least {LEAST})")
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
