"""The scripts that the gate rests on judge as they say."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from scripts.audit import verdict
from scripts.ratio import code_lines

SOUND = {"name": "anyio", "version": "4.16.0", "vulns": []}
FLAWED = {"name": "rich", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "trio", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([SOUND], 0, "1 pins looked up, 0 known vulnerabilities"),
        ([SOUND, FLAWED], 1, "rich 1.0: CVE-1, mended in 1.1"),
        ([SOUND, UNKNOWN], 1, "trio: not in the database"),
        ([UNKNOWN], 0, "skipped"),
    ],
)
def test_audit_of_a_report_says_what_was_found(packages: list[dict[str, object]], code: int, words: str) -> None:
    found, said = verdict(json.dumps({"dependencies": packages}), "")

    assert found == code
    assert words in said


@pytest.mark.parametrize(
    ("complaint", "code"),
    [("requests.exceptions.ConnectionError: no route", 0), ("ERROR: requirements are not hashed", 1)],
)
def test_audit_without_a_report_passes_only_when_the_database_is_out_of_reach(complaint: str, code: int) -> None:
    assert verdict("", complaint)[0] == code


def test_ratio_counts_neither_blank_lines_nor_comments_nor_docstrings(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        '"""Doc.\n\nMore.\n"""\n\n# why\nX = """a\nb"""\n\n\ndef f():\n    """Doc."""\n    return (\n        1\n    )\n'
    )

    assert code_lines(source) == 6


def _find_python(root: Path, *version: str, path: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(path)}
    command = [str(root / "scripts" / "find-python"), *version]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def _stand_in(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_python_that_does_not_start_is_passed_over_for_one_that_does(root: Path, tmp_path: Path) -> None:
    _stand_in(tmp_path / "python3.13", "exit 127")
    managed = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python"
    _stand_in(managed, f'echo "3.13 {managed}"')

    assert _find_python(root, path=tmp_path).stdout.strip() == str(managed)


def test_python_of_a_shim_is_found_when_home_is_another_one(root: Path, tmp_path: Path) -> None:
    _stand_in(tmp_path / "shims" / "python3", "exit 127")
    managed = tmp_path / "versions" / "3.13.0" / "bin" / "python"
    _stand_in(managed, f'echo "3.13 {managed}"')

    assert _find_python(root, path=tmp_path / "shims").stdout.strip() == str(managed)


def test_python_that_is_not_there_is_an_error_with_its_version(root: Path, tmp_path: Path) -> None:
    outcome = _find_python(root, "3.99", path=tmp_path)

    assert outcome.returncode == 1
    assert "3.99" in outcome.stderr
