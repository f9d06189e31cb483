from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.system.memory import SystemMemory

V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / V1).mkdir(parents=True)
    return tmp_path


def write_host(root: Path, available_kib: int) -> None:
    (root / "proc/meminfo").write_text(f"MemTotal: 9999 kB\nMemAvailable:   {available_kib} kB\n\nSwapTotal: 0 kB\n")


def write_v2(folder: Path, limit: str, used: int, *, high: str = "max", inactive_file: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.high").write_text(f"{high}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    if inactive_file is not None:
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\nactive_file 5000\n")


def write_v1(folder: Path, limit: int, used: int, *, inactive_file: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {inactive_file}\n")


def write_own_group(root: Path, *lines: str) -> None:
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def test_available_without_cgroup_is_what_the_host_has(root: Path) -> None:
    write_host(root, 2048)

    assert SystemMemory(root).available_bytes() == 2048 * 1024


def test_available_in_a_group_is_never_more_than_it_allows(root: Path) -> None:
    write_host(root, 2048)
    write_v2(root / V2, "1000", 400)

    assert SystemMemory(root).available_bytes() == 600


def test_available_in_a_group_larger_than_the_host_is_what_the_host_has(root: Path) -> None:
    write_host(root, 1)
    write_v2(root / V2, "9000", 400)

    assert SystemMemory(root).available_bytes() == 1024


def test_available_in_a_group_that_is_over_its_limit_is_none_left(root: Path) -> None:
    write_host(root, 2048)
    write_v2(root / V2, "1000", 1500)

    assert SystemMemory(root).available_bytes() == 0


def test_available_in_an_unlimited_group_is_what_the_host_has(root: Path) -> None:
    write_host(root, 2048)
    write_v2(root / V2, "max", 400)

    assert SystemMemory(root).available_bytes() == 2048 * 1024


def test_available_in_a_group_counts_inactive_file_cache_as_free(root: Path) -> None:
    write_v2(root / V2, "1000", 900, inactive_file=700)

    assert SystemMemory(root).available_bytes() == 800


def test_available_in_a_group_with_more_cache_than_usage_is_no_more_than_the_limit(root: Path) -> None:
    write_v2(root / V2, "1000", 100, inactive_file=300)  # the two files are read one after the other

    assert SystemMemory(root).available_bytes() == 1000


def test_available_in_a_group_that_throttles_before_its_limit_ends_there(root: Path) -> None:
    write_v2(root / V2, "1000", 100, high="500")

    assert SystemMemory(root).available_bytes() == 400


def test_available_in_a_nested_group_is_that_of_the_tightest_level(root: Path) -> None:
    write_own_group(root, "0::/app.slice/worker.service")
    write_v2(root / V2 / "app.slice/worker.service", "1000", 100)
    write_v2(root / V2 / "app.slice", "2000", 1800)
    write_v2(root / V2, "max", 5000)

    assert SystemMemory(root).available_bytes() == 200


def test_available_in_a_nested_group_counts_its_own_limit(root: Path) -> None:
    write_own_group(root, "0::/app.slice/worker.service")
    write_v2(root / V2 / "app.slice/worker.service", "1000", 900)
    write_v2(root / V2 / "app.slice", "2000", 1000)

    assert SystemMemory(root).available_bytes() == 100


@pytest.mark.parametrize("path", ["/docker/not-mounted-here", "/../../escaped", "/"])
def test_available_in_a_container_that_cannot_see_its_path_is_that_of_the_mount(root: Path, path: str) -> None:
    write_own_group(root, f"0::{path}")
    write_v2(root / V2, "1000", 300)

    assert SystemMemory(root).available_bytes() == 700


def test_available_in_a_group_of_version_1_is_never_more_than_it_allows(root: Path) -> None:
    write_host(root, 2048)
    write_own_group(root, "9:name=systemd:/", "4:cpu,memory:/docker/abc", "0::/")
    write_v1(root / V1 / "docker/abc", 1000, 900, inactive_file=200)
    write_v1(root / V1, 2**63 - 4096, 5000)

    assert SystemMemory(root).available_bytes() == 300


def test_available_in_an_unlimited_group_of_version_1_is_what_the_host_has(root: Path) -> None:
    write_host(root, 2048)
    write_v1(root / V1, 2**63 - 4096, 5000)

    assert SystemMemory(root).available_bytes() == 2048 * 1024


def test_available_in_an_unlimited_group_of_version_1_on_a_silent_host_is_unknown(root: Path) -> None:
    write_v1(root / V1, 2**63 - 4096, 5000)

    assert SystemMemory(root).available_bytes() is None


def test_available_where_nothing_tells_is_unknown(root: Path) -> None:
    assert SystemMemory(root).available_bytes() is None


@pytest.mark.parametrize("told", ["MemTotal: 9999 kB\n", "MemAvailable:\n", "MemAvailable: plenty kB\n"])
def test_available_where_the_host_does_not_say_is_unknown(root: Path, told: str) -> None:
    (root / "proc/meminfo").write_text(told)

    assert SystemMemory(root).available_bytes() is None


def test_available_with_a_group_of_a_name_that_is_no_text_is_told_all_the_same(root: Path) -> None:
    (root / "proc/self/cgroup").write_bytes(b"0::/\xff\xfe\nno colons here\n")
    write_v2(root / V2, "1000", 300)

    assert SystemMemory(root).available_bytes() == 700


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells")
def test_available_on_this_machine_is_more_than_nothing() -> None:
    assert (SystemMemory().available_bytes() or 0) > 0
