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
from contextlib import nullcontext
from pathlib import Path

import pytest
from dependency_injector import providers

from holdfast import Container, Message, Request, Role, Settings, open_container
from holdfast.adapters import memory
from holdfast.application import Registry, memory_stores
from holdfast.testing import VirtualClock
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


SWAPS = re.findall(r"^\|.*`(container\.\w+\.override\(.*\))` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.anyio
@pytest.mark.parametrize("line", SWAPS)
async def test_line_that_swaps_an_adapter_opens_a_service_with_it(line: str) -> None:
    container, clock = Container(settings=providers.Object(Settings())), VirtualClock()
    if "clock.override" not in line:
        container.clock.override(providers.Object(clock))
    names = {name: getattr(memory, name) for name in memory.__all__} | {
        "Registry": Registry,
        "clock": clock,
        "container": container,
        "memory_stores": memory_stores,
        "nullcontext": nullcontext,
        "providers": providers,
        "shelf": memory.MemoryRetriever([]),
    }

    exec(line, names)  # noqa: S102 - a line of ours
    async with open_container(container) as service:
        reply = await service.submit(Request(messages=(Message(role=Role.USER, content="anybody there?"),)))

    assert getattr(container, line.split(".")[1]).overridden
    assert reply.backend == "extractive"


def test_lines_that_swap_adapters_are_there() -> None:
    assert len(SWAPS) == 6
