"""How much memory is free: the machine's, and what the control groups of a container allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MACHINE = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")

UNKNOWN_MEMORY = 4 << 30


def free_memory() -> int:
    """Return the bytes that can be had now without swapping; a guess where Linux does not say."""
    return max(0, min([_free_in_the_machine(), *_left_to_the_groups()]))


def _free_in_the_machine() -> int:
    try:
        lines = MACHINE.read_text().splitlines()
    except OSError:
        return UNKNOWN_MEMORY
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else UNKNOWN_MEMORY


def _left_to_the_groups() -> Iterator[int]:
    """Yield what every group of this process has left, in both versions of Linux's groups."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if not controllers:
            root, names = GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = GROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        place = root / own.lstrip("/")
        for group in (place, *place.parents):
            if group.is_relative_to(root):
                yield from _left(group, *names)


def _left(group: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Yield the bytes below a group's limit; file contents that can be read again count as free."""
    try:
        bound, used = (int((group / name).read_text()) for name in (limit, usage))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield bound - used + int(stat.get(cached, 0))
    except (OSError, ValueError):
        return  # without a limit, or not this process's to see
