"""What asking the container costs, next to a plain attribute: the reason why no request asks it (adr/0008)."""

from __future__ import annotations

import subprocess
import sys

from dependency_injector import providers
from harness import measure, report

from holdfast import Container, Settings


class _Plain:
    def __init__(self, clock: object) -> None:
        self.clock = clock


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    container = Container(settings=providers.Object(Settings()))
    plain = _Plain(container.clock())
    rows = [
        measure("plain attribute", lambda: plain.clock),
        measure("container, singleton (clock)", container.clock),
        measure("container, factory (backends)", container.backends, calls=500),
        measure("making the container", lambda: Container(settings=providers.Object(Settings())), calls=100),
    ]
    kept = report("Asking the container", rows, packages=("dependency-injector", "pydantic"))
    loaded = "import sys, holdfast; print(sorted({'dependency_injector', 'pydantic'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.strip()
    print(f"loaded of them by `import holdfast`: {told}")
    return kept


if __name__ == "__main__":
    sys.exit(not main())
