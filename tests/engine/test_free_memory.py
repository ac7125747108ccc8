"""What is free is what the machine has and the limits of a container leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from shrinkage.engine.plan import memory
from shrinkage.engine.plan.memory import UNKNOWN_MEMORY, free_memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Linux with 8 MB free, whose files lie in a directory of the test."""
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    put(tmp_path / "meminfo", "MemTotal: 99 kB\nMemAvailable:    8000 kB\n")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def limited(group: Path, limit: str, used: int, cached: int = 0) -> None:
    """A group of version 2."""
    put(group / "memory.max", f"{limit}\n")
    put(group / "memory.current", f"{used}\n")
    put(group / "memory.stat", f"anon 5\ninactive_file {cached}\nactive_file 7\n")


def test_the_machine_alone(system: Path) -> None:
    assert free_memory() == 8000 * 1024


def test_a_system_that_does_not_say(system: Path) -> None:
    (system / "meminfo").unlink()
    assert free_memory() == UNKNOWN_MEMORY


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [
        ("1000000", 400_000, 100_000, 700_000),
        ("1000000", 1_200_000, 0, 0),
        ("99000000", 0, 0, 8000 * 1024),
        ("max", 400_000, 0, 8000 * 1024),
    ],
)
def test_a_container(system: Path, limit: str, used: int, cached: int, free: int) -> None:
    put(system / "own", "0::/\n")
    limited(system / "groups", limit, used, cached)
    assert free_memory() == free


def test_the_tightest_of_nested_groups_counts(system: Path) -> None:
    put(system / "own", "1:cpu,memoryless:/elsewhere\n0::/jobs/mine\n")
    limited(system / "groups" / "jobs" / "mine", "max", 0)
    limited(system / "groups" / "jobs", "3000000", 1_000_000)
    limited(system / "groups" / "jobs" / "other", "10", 0)
    assert free_memory() == 2_000_000


def test_groups_of_version_1(system: Path) -> None:
    put(system / "own", "7:cpu:/docker/abc\n4:hugetlb,memory:/docker/abc\n0::/\n")
    group = system / "groups" / "memory"
    put(group / "memory.limit_in_bytes", "5000000\n")
    put(group / "memory.usage_in_bytes", "2000000\n")
    put(group / "memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n")
    assert free_memory() == 3_500_000
