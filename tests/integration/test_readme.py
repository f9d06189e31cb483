"""Every command and every Python example in a README runs, in order, in a copy of the committed files.

A block that cannot be executed here stands under a comment that says why: `<!-- not executed: reason -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import ROOT, committed_files

DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("holdfast/*/README.md")] if "```" in path.read_text()
)
BLOCK = re.compile(
    r"(?P<excuse>^<!-- not executed: \S.*? -->\n+)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
EXECUTED = {"console", "python", "sh"}
NOT_CODE = {"json", "jsonl", "mermaid", "text", "toml"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # a dozen processes one after the other


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what a fresh clone would."""
    folder = tmp_path_factory.mktemp("clone")
    for path in committed_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def _blocks(document: Path) -> Iterator[re.Match[str]]:
    return BLOCK.finditer(document.read_text())


def _command(language: str, body: str, folder: Path) -> list[str]:
    """Return what runs the block; Python goes into a file outside the copy, so that the installed package is used."""
    if language == "python":
        is_test = re.search(r"^(async def|def|class) [Tt]est", body, re.MULTILINE)
        script = folder / ("test_example.py" if is_test else "example.py")
        script.write_text(body)
        return [sys.executable, *(["-m", "pytest", "-q", "--rootdir", str(folder)] if is_test else []), str(script)]
    if language == "console":
        body = "".join(line.removeprefix("$ ") for line in body.splitlines(keepends=True) if line.startswith("$ "))
    return ["sh", "-euxc", body]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_a_document_run(document: Path, copy: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    for block in _blocks(document):
        if block["excuse"] or block["language"] not in EXECUTED:
            continue
        command = _command(block["language"], block["body"], tmp_path)
        outcome = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=100, check=False)

        assert outcome.returncode == 0, f"{block['body']}\n{outcome.stdout}\n{outcome.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_document_say_what_language_they_are(document: Path) -> None:
    unknown = {block["language"] for block in _blocks(document)} - EXECUTED - NOT_CODE

    assert unknown == set()


def test_readme_shows_commands_and_python() -> None:
    executed = {block["language"] for block in _blocks(ROOT / "README.md") if not block["excuse"]}

    assert "python" in executed
    assert executed & {"console", "sh"}
