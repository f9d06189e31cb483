"""Looks up known vulnerabilities of the pinned requirements; exits 1 when there are any.

Where the database cannot be reached, or knows none of the pins, it says so in one line and exits 0: an answer that
was never given is not a pass, and no reason to stop work offline either.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_OPTIONS = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--requirement"]
_UNREACHABLE = ("requests.exceptions.", "your network may be blocking")


def main() -> int:
    """Print the verdict and return the exit code."""
    requirements = Path(__file__).parent.parent / "requirements" / "dev.txt"
    audit = subprocess.run(
        [sys.executable, "-m", "pip_audit", *_OPTIONS, str(requirements)], capture_output=True, text=True, check=False
    )
    if not audit.stdout:
        if not any(sign in audit.stderr for sign in _UNREACHABLE):
            print(audit.stderr, file=sys.stderr)
            return 1
        print("audit: skipped, the vulnerability database cannot be reached from here")
        return 0
    packages = json.loads(audit.stdout)["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        print(f"audit: skipped, the vulnerability database that can be reached knows none of the {len(packages)} pins")
        return 0
    vulnerable = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    print(f"audit: {len(packages) - len(unknown)} pins looked up, {len(vulnerable)} known vulnerabilities")
    print("".join(f"  {line}\n" for line in vulnerable + [f"{name}: not in the database" for name in unknown]), end="")
    return 1 if vulnerable or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
