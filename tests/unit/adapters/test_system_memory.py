from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.system.memory import available_memory_bytes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def write_host(root: Path, available_kib: int) -> None:
    (root / "proc/meminfo").write_text(f"MemTotal: 9999 kB\nMemAvailable:   {available_kib} kB\nSwapTotal: 0 kB\n")


def write_cgroup(root: Path, limit: str, used: int) -> None:
    (root / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    (root / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")


def test_available_memory_without_cgroup_is_what_the_host_has(root: Path) -> None:
    write_host(root, 2048)

    assert available_memory_bytes(root) == 2048 * 1024


def test_available_memory_in_a_cgroup_is_never_more_than_it_allows(root: Path) -> None:
    write_host(root, 2048)
    write_cgroup(root, "1000", 400)

    assert available_memory_bytes(root) == 600


def test_available_memory_in_a_cgroup_that_is_over_its_limit_is_none_left(root: Path) -> None:
    write_host(root, 2048)
    write_cgroup(root, "1000", 1500)

    assert available_memory_bytes(root) == 0


def test_available_memory_in_an_unlimited_cgroup_is_what_the_host_has(root: Path) -> None:
    write_host(root, 2048)
    write_cgroup(root, "max", 400)

    assert available_memory_bytes(root) == 2048 * 1024


def test_available_memory_where_nothing_tells_is_unknown(root: Path) -> None:
    assert available_memory_bytes(root) is None


def test_available_memory_where_the_host_does_not_say_is_unknown(root: Path) -> None:
    (root / "proc/meminfo").write_text("MemTotal: 9999 kB\n")

    assert available_memory_bytes(root) is None
