"""Each driven port has one contract suite, and each suite is held by more than one adapter."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Final

from holdfast.testing import contracts
from tests.architecture.source import Module

DRIVING: Final = {
    "Application",
    "Batch",
    "GatewayServer",
    "KeyDesk",
    "ReplyStream",
    "Service",
    "Sessions",
    "StopSignal",
    "TrustDesk",
}
"""What the application offers or asks of whoever drives it: there is one of each."""

TESTED_WITHIN: Final = {
    "AttemptRecord": "Recorder",
    "BatchJournal": "Journal",
    "BatchLedger": "Journal",
    "BatchRun": "Journal",
    "RequestRecord": "Recorder",
    "Signer": "SignerVerifier",
    "StreamingBackend": "InferenceBackend",
    "TrustStore": "TrustList",
    "Verifier": "SignerVerifier",
}
"""Ports that are parts of each other have one suite together."""


def _bases(tree: ast.Module) -> list[str]:
    """Return the names of what the classes of a module derive from, without their parameters."""
    bases = [base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in bases]
    return [base.id for base in plain if isinstance(base, ast.Name)]


def test_every_driven_port_has_one_contract_suite_and_every_suite_a_port(modules: tuple[Module, ...]) -> None:
    ports = {
        node.name
        for module in modules
        if module.layer == "ports"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and "Protocol" in _bases(ast.Module(body=[node], type_ignores=[]))
    }

    assert DRIVING | set(TESTED_WITHIN) <= ports
    assert {f"{TESTED_WITHIN.get(port, port)}Contract" for port in ports - DRIVING} == set(contracts.__all__)


def test_every_contract_suite_is_held_by_two_adapters_at_least(root: Path) -> None:
    held = Counter(base for path in (root / "tests").rglob("*.py") for base in _bases(ast.parse(path.read_text())))

    assert [suite for suite in contracts.__all__ if held[suite] < 2] == []
