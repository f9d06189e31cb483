from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.cli.peak_memory import peak_memory_bytes


def test_peak_is_what_linux_tells(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t   61000 kB\nVmRSS:\t   50000 kB\n")

    assert peak_memory_bytes(status) == 61000 * 1024


def test_peak_that_linux_does_not_tell_is_unknown(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tkthreadd\n")

    assert peak_memory_bytes(status) is None


@pytest.mark.parametrize(("platform", "unit_bytes"), [("linux", 1024), ("darwin", 1)])
def test_peak_elsewhere_is_that_of_getrusage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, unit_bytes: int
) -> None:
    monkeypatch.setattr("sys.platform", platform)

    peak = peak_memory_bytes(tmp_path / "absent")

    assert peak is not None
    assert 1024**2 < peak / unit_bytes * 1024 < 1024**4


def test_peak_of_this_process_grows_with_it() -> None:
    before = peak_memory_bytes()
    block = bytearray(64 * 1024**2)
    block[::4096] = b"x" * len(block[::4096])
    after = peak_memory_bytes()

    assert before is not None
    assert after is not None
    assert after >= 64 * 1024**2
