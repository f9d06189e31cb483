"""What the documents promise exists: each guarantee has its test, each decision its evidence and its confirmation."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from holdfast import AdmissionConfig, BreakerConfig, BufferConfig, DeduplicationConfig, PoolConfig, RetryPolicy
from holdfast.application.batch_config import BatchConfig
from holdfast.domain import (
    AuthenticationConfig,
    DiscoveryConfig,
    EventConfig,
    HedgeConfig,
    HostGuardConfig,
    ModelSlotConfig,
    RateLimitConfig,
    RegistrationConfig,
    RoutingConfig,
    SessionConfig,
    StreamingConfig,
)

LAYERS = ("ports", "domain", "adapters", "application")
SECTIONS = ["Context", "Drivers", "Options", "Outcome", "Evidence", "Consequences", "Confirmation", "Revisit"]
REFERENCE = re.compile(r"`(?P<path>(?:tests|benchmarks|holdfast|scripts|examples|adr)/[\w./-]+)(?:::(?P<test>\w+))?`")
DEFAULT = re.compile(r"`(?P<name>\w+)=(?P<value>[\d.]+)`")
CONFIGS: dict[tuple[str, str], Callable[[], object]] = {
    ("domain", "MemorySafeBuffer"): BufferConfig,
    ("domain", "AsyncResourcePool"): PoolConfig,
    ("domain", "RetryPolicy"): RetryPolicy,
    ("domain", "Hedge"): HedgeConfig,
    ("domain", "RouteChoice"): RoutingConfig,
    ("domain", "CircuitBreaker"): BreakerConfig,
    ("domain", "Registration"): RegistrationConfig,
    ("domain", "Discovery"): DiscoveryConfig,
    ("domain", "Deduplicator"): DeduplicationConfig,
    ("domain", "SharedStreams"): StreamingConfig,
    ("domain", "AdmissionQueue"): AdmissionConfig,
    ("domain", "RateLimit"): partial(RateLimitConfig, requests_per_minute=1.0),
    ("domain", "EventHub"): EventConfig,
    ("domain", "SessionKeeper"): SessionConfig,
    ("domain", "HostGuard"): HostGuardConfig,
    ("domain", "ModelSlots"): ModelSlotConfig,
    ("domain", "Handshakes and envelopes"): partial(AuthenticationConfig, audience="-"),
    ("application", "A batch"): BatchConfig,
}
LINK = re.compile(r"\]\((?!https?:|#)(?P<path>[^)#]+)")


def _section(text: str, heading: str) -> str:
    """Return what stands under a level-two heading."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return next((part for part in parts if part.startswith(heading)), "")


def _defines(path: Path, name: str) -> bool:
    return any(
        (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name)
        or (isinstance(node, ast.Assign) and name in {getattr(target, "id", None) for target in node.targets})
        for node in ast.walk(ast.parse(path.read_text()))
    )


def _decisions(root: Path) -> list[Path]:
    return sorted((root / "adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("layer", LAYERS)
def test_each_guarantee_of_a_layer_names_a_test(layer: str, root: Path) -> None:
    text = (root / "holdfast" / layer / "README.md").read_text()
    items = re.split(r"^- ", _section(text, "Guarantees"), flags=re.MULTILINE)[1:]

    assert items
    assert [item for item in items if not any(match["test"] for match in REFERENCE.finditer(item))] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_readme_of_a_layer_says_what_it_is_for_and_what_not(layer: str, root: Path) -> None:
    headings = re.findall(r"^## (.+)$", (root / "holdfast" / layer / "README.md").read_text(), flags=re.MULTILINE)

    assert headings[:3] == ["Responsibility", "Guarantees", "Not responsible for"]


@pytest.mark.parametrize(("layer", "heading"), CONFIGS)
def test_defaults_that_a_layer_tells_are_those_of_the_code(layer: str, heading: str, root: Path) -> None:
    text = (root / "holdfast" / layer / "README.md").read_text()
    part = re.split(rf"^### `?{heading}`?$", text, flags=re.MULTILINE)[1].partition("\n#")[0]
    told = {match["name"]: float(match["value"]) for match in DEFAULT.finditer(part)}

    assert told
    assert told == {name: getattr(CONFIGS[layer, heading](), name) for name in told}


def test_everything_that_a_document_refers_to_exists(root: Path, committed: tuple[Path, ...]) -> None:
    missing = [
        f"{document.relative_to(root)}: {match[0]}"
        for document in committed
        if document.suffix == ".md"
        for match in REFERENCE.finditer(document.read_text())
        if not (path := root / match["path"]).exists() or (match["test"] and not _defines(path, match["test"]))
    ]

    assert missing == []


def test_every_link_of_a_document_leads_somewhere(root: Path, committed: tuple[Path, ...]) -> None:
    broken = [
        f"{document.relative_to(root)}: {match['path']}"
        for document in committed
        if document.suffix == ".md"
        for match in LINK.finditer(document.read_text())
        if not (document.parent / match["path"]).exists()
    ]

    assert broken == []


def test_each_decision_has_its_sections_in_order(root: Path) -> None:
    headings = {path.name: re.findall(r"^## (\w+)", path.read_text(), re.MULTILINE) for path in _decisions(root)}

    assert {name: found for name, found in headings.items() if found != SECTIONS} == {}


def test_each_decision_opens_with_number_title_status_and_date(root: Path) -> None:
    wrong = [
        path.name
        for path in _decisions(root)
        if not re.match(rf"# {path.name[:4]}\. .+\n\nStatus: \w+, \d{{4}}-\d\d-\d\d\n\n## ", path.read_text())
    ]

    assert wrong == []


def test_each_decision_says_what_confirms_it(root: Path) -> None:
    silent = [
        path.name
        for path in _decisions(root)
        if not re.search(r"`tests/[\w/.]+(::\w+)?`|`make \w+`", _section(path.read_text(), "Confirmation"))
    ]

    assert silent == []


def test_each_decision_is_listed_once_with_its_title(root: Path) -> None:
    listed = re.findall(r"\[(\d{4})\. ([^\]]+)\]\((\S+\.md)\)", (root / "adr" / "README.md").read_text())
    titles = [
        (path.name[:4], path.read_text().splitlines()[0].partition(". ")[2], path.name) for path in _decisions(root)
    ]

    assert titles
    assert listed == titles
