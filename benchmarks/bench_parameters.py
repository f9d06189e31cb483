"""What one change in the store of parameters costs a running service: it is worked in while requests wait.

No budget: a change comes a few times a day.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from harness import Row, measure, report

from holdfast.application.consistency import check_consistency
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.domain.gcra import Gcra
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.tenant_limits import TenantLimits
from holdfast.testing import ManualClock

TENANTS = 10_000


def rebuild(parameters: dict[str, Any], label: str) -> Row:
    """Merge, validate and compare all settings."""
    before = load_settings(Path(__file__).parent)
    numbers = itertools.count(1)

    def change() -> LoadedSettings:
        after = before.with_parameters({**parameters, "timeout_s": str(next(numbers))})
        check_consistency(after.settings)
        after.paths_changed_since(before)
        return after

    return measure(label, change, calls=20, rounds=15)


def retune_tenants() -> Row:
    """Hand another rate to every tenant that is known."""
    clock = ManualClock()
    limits = TenantLimits(RateLimitConfig(requests_per_minute=60), {}, clock=clock)
    for number in range(TENANTS):
        limits.get(f"tenant {number}")
    rates = itertools.count(1)

    def change() -> None:
        limits.reconfigure(RateLimitConfig(requests_per_minute=next(rates)), {})

    return measure(f"another rate for {TENANTS} tenants", change, calls=2, rounds=15)


def retune_one() -> Row:
    """Hand another rate to one quantity."""
    quantity = Gcra(per_s=1.0, burst=10.0, max_debt_s=60.0, now_s=0.0)
    return measure("Gcra.retune", lambda: quantity.retune(per_s=2.0, burst=10.0, max_debt_s=60.0, now_s=1.0))


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    backends = {f"b{number}": {"kind": "scripted", "guard": {"breaker": {"open_s": "7"}}} for number in range(10)}
    tenants = {f"t{number}": {"rate_limit": {"requests_per_minute": "60"}} for number in range(1000)}
    rows = [
        rebuild({}, "rebuild the settings, one parameter"),
        rebuild({"backends": backends}, "the same with 10 backends"),
        rebuild({"tenants": tenants}, "the same with 1000 tenants"),
        retune_tenants(),
        retune_one(),
    ]
    return report("A change of the settings", rows, packages=("pydantic",))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
