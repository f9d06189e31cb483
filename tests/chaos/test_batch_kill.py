from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

SCRIPT = Path(__file__).with_name("batch_under_fire.py")
QUESTIONS = {f"q{number}" for number in range(600)}


@pytest.mark.parametrize(("backend", "kills"), [("asyncio", 50), ("trio", 20)])
def test_batch_killed_at_random_moments_records_every_item_once(tmp_path: Path, backend: str, kills: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)

    fired = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, tmp_path, backend, str(kills), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert fired.returncode == 0, fired.stderr
    told: dict[str, Any] = json.loads(fired.stdout)
    assert told["killed_while_scanning"] >= 1
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in results) == sorted(QUESTIONS)
    assert all(row["text"] == f"answer to {row['id']}" for row in results)
    assert Counter(row["kind"] for row in failures) == {"blank_line": 2400}
    _check_calls((tmp_path / "calls.log").read_text(), [set(names) for names in told["recorded"]])


def _check_calls(log: str, recorded: list[set[str]]) -> None:
    """A call is repeated only if the process died between it and its save, and always with the same key."""
    keys: dict[str, set[str]] = {}
    calls: Counter[tuple[int, str]] = Counter()
    for line in log.splitlines():
        life, name, key = line.split()
        calls[int(life), name] += 1
        keys.setdefault(name, set()).add(key)
    assert max(calls.values()) == 1
    assert [(life, name) for life, name in calls if name in recorded[life]] == []
    assert {len(each) for each in keys.values()} == {1}
    assert len(set.union(*keys.values())) == len(QUESTIONS)
