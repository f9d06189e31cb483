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


def verdict(report: str, complaint: str) -> tuple[int, str]:
    """Return the exit code and the words for what pip-audit wrote to its two outputs."""
    if not report:
        if any(sign in complaint for sign in _UNREACHABLE):
            return 0, "audit: skipped, the vulnerability database cannot be reached from here"
        return 1, f"audit: failed\n{complaint}"
    packages = json.loads(report)["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return 0, f"audit: skipped, the database that can be reached knows none of the {len(packages)} pins"
    vulnerable = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    findings = vulnerable + [f"{name}: not in the database" for name in unknown]
    summary = f"audit: {len(packages) - len(unknown)} pins looked up, {len(vulnerable)} known vulnerabilities"
    return 1 if findings else 0, "\n  ".join([summary, *findings])


def main() -> int:
    """Print the verdict and return the exit code."""
    requirements = Path(__file__).parent.parent / "requirements" / "dev.txt"
    command = [sys.executable, "-m", "pip_audit", *_OPTIONS, str(requirements)]
    audit = subprocess.run(command, capture_output=True, text=True, check=False)
    code, words = verdict(audit.stdout, audit.stderr)
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
