"""The mutation score counts what it says: changes to what runs, and whether a test notices them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutants import mutants

MODULE = '''"""A module."""


def larger(left: int, right: int) -> int:
    """Return the larger number."""
    return right if left <= right else left
'''
NOTICED_BY = """from holdfast.domain.order import larger


def test_larger_of_two_is_the_larger():
    assert larger(1, 2) == 2
    assert larger(2, 1) == 2
"""


def _changed(source: str) -> list[str]:
    return [mutant.apply(source.encode()).decode() for mutant in mutants(source.encode())]


def _in_function(line: str) -> str:
    return f"async def f():\n    {line}"


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("x = a < b", ["x = (a <= b)"]),
        ("x = a < b == c", ["x = (a <= b == c)", "x = (a < b != c)"]),
        ("x = a is not b", ["x = (a is b)"]),
        ("x = a in b", ["x = (a not in b)"]),
        ("x = a + b", ["x = (a - b)"]),
        ("x = a | b", ["x = (a & b)"]),
        ("x = a and b", ["x = (a or b)"]),
        ("x = not a", ["x = (a)"]),
        ("x = -a", ["x = (a)"]),
        ("x = 1", ["x = (2)"]),
        ("x = 0.5", ["x = (1.5)"]),
        ("x = True", ["x = (False)"]),
        ("x = a if b else c", ["x = a if (not b) else c"]),
        ("x = [a for a in b if c]", ["x = [a for a in b if (not c)]"]),
        ("x += a", ["x -= a", "pass"]),
        ("self.x = a", ["pass"]),
        ("x[a] = b", ["pass"]),
        ("del x[a]", ["pass"]),
        ("a()", ["pass"]),
        ("await a()", ["pass"]),
        ("raise a", ["pass"]),
        ("return a", ["return None"]),
        ("x = é + a", ["x = (é - a)"]),
    ],
)
def test_change_of_a_line_in_a_function_is_each_that_a_test_should_notice(line: str, changed: list[str]) -> None:
    assert _changed(_in_function(line)) == [_in_function(other) for other in changed]


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x: Final = 3", ["x: Final = (4)"]),
        ("def f(x=3): ...", ["def f(x=(4)): ..."]),
        ("class C:\n    x: float = 3", ["class C:\n    x: float = (4)"]),
        ("def f():\n    if a: b()", ["def f():\n    if (not a): b()", "def f():\n    if a: pass"]),
        ("def f():\n    while True: break", ["def f():\n    while (False): break", "def f():\n    while True: pass"]),
    ],
)
def test_change_outside_a_line_is_found_too(source: str, changed: list[str]) -> None:
    assert _changed(source) == changed


@pytest.mark.parametrize(
    "source",
    [
        '"""Doc of 1 + 1."""',
        "x: Literal[1] | None",
        "Kind: TypeAlias = A | B",
        "def f(x: Literal[1] | None) -> Literal[2] | None: ...",
        "@dataclass(frozen=True, slots=True)\nclass C:\n    x: int",
        _in_function('return "text"'),
        _in_function('x = f"{a + 1:3} of {b}"'),
        _in_function("assert_never(a)"),
        _in_function("return None"),
    ],
)
def test_change_that_only_people_or_type_checkers_notice_is_not_made(source: str) -> None:
    assert _changed(source) == []


def test_change_of_any_line_of_a_module_leaves_it_valid(root: Path) -> None:
    source = (root / "holdfast" / "domain" / "retry_budget.py").read_bytes()
    changed = [mutant.apply(source) for mutant in mutants(source)]

    assert changed
    assert source not in changed
    for other in changed:
        ast.parse(other)


def test_change_in_a_function_is_in_the_lines_from_its_statement_on_and_others_run_at_import() -> None:
    source = b"X = 1\n\n\ndef f():\n    a(\n        2,\n    )\n    return (\n        3\n    ) + b\n"

    assert [mutant.lines for mutant in mutants(source)] == [
        None,
        range(5, 8),
        range(5, 7),
        range(8, 11),
        range(8, 11),
        range(8, 10),
    ]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for folder in ("holdfast/domain", "tests/unit/domain", "tests/property", "tests/regression"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "holdfast" / "__init__.py").touch()
    (tmp_path / "holdfast" / "domain" / "order.py").write_text(MODULE)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def _score(root: Path, small: Path, tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (small / "tests" / "unit" / "domain" / "test_order.py").write_text(tests)
    command = [sys.executable, "-m", "scripts.mutation", *arguments]
    env = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=small, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_score_of_a_module_is_what_its_tests_notice_and_survivors_are_shown(root: Path, small: Path) -> None:
    outcome = _score(root, small, NOTICED_BY)

    assert outcome.returncode == 1
    assert "   1 of    2  holdfast/domain/order.py" in outcome.stdout
    assert "+    return right if (left < right) else left" in outcome.stdout
    assert "+    return None" not in outcome.stdout
    assert "noticed: 1 of 2 = 50.0% (at least 85%); sampled from 2 with seed 1" in outcome.stdout


@pytest.mark.slow
def test_score_leaves_out_a_test_that_fails_without_any_change(root: Path, small: Path) -> None:
    outcome = _score(root, small, f"{NOTICED_BY}    assert larger(2, 1) == 3\n")

    assert "noticed: 0 of 2" in outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [([], "the tests do not run"), (["no_such_module"], "nothing to change in ['no_such_module']")],
)
def test_score_of_nothing_is_refused(root: Path, small: Path, arguments: list[str], complaint: str) -> None:
    outcome = _score(root, small, "import no_such_module\n", *arguments)

    assert outcome.returncode != 0
    assert complaint in outcome.stderr
