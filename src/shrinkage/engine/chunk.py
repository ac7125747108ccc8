"""Which members train together: as many as memory and caches like, all chunks of one shape."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from shrinkage.engine.plan import Group, Plan
from shrinkage.errors import ShrinkageError

FAVORED_MEMBERS = 80


@dataclass(frozen=True)
class Chunk:
    """Members that are one stacked run.

    Attributes:
        groups: The (fold, seed) pairs; the last one is repeated to fill the common shape.
        real_groups: How many of them are not repeats.
        strengths: Indices of the strengths; the last one is repeated to fill the common shape.
        real_strengths: How many of them are not repeats.
    """

    groups: tuple[Group, ...]
    real_groups: int
    strengths: tuple[int, ...]
    real_strengths: int

    @property
    def members(self) -> int:
        return self.real_groups * self.real_strengths


def make_chunks(
    plan: Plan, bytes_per_member: int, *, members: int | None = None, max_memory: int | None = None
) -> list[Chunk]:
    """Cut the plan into chunks of one shape.

    Groups with as many steps an epoch come together, so that no chunk waits for its longest.

    Args:
        plan: The grid.
        bytes_per_member: What one member needs while it trains.
        members: Members a chunk, or None to choose.
        max_memory: Bytes that all members of a chunk may need, or None for half of what is free.

    Raises:
        ShrinkageError: Not even one member fits.
    """
    allowed = free_memory() // 2 if max_memory is None else max_memory
    fitting = allowed // bytes_per_member
    if fitting < 1:
        raise ShrinkageError(
            f"one member needs {bytes_per_member / 1e6:.0f} MB and {allowed / 1e6:.0f} MB are allowed; "
            "raise max_memory or use a smaller model."
        )
    wanted = max(1, min(members or FAVORED_MEMBERS, fitting))
    by_steps: dict[int, list[Group]] = {}
    for group in plan.groups():
        by_steps.setdefault(plan.steps(group), []).append(group)
    strengths = len(plan.strengths)
    wide = min(strengths, wanted)
    wide = math.ceil(strengths / math.ceil(strengths / wide))
    tall = _least_waste([len(g) for g in by_steps.values()], max(1, wanted // wide))
    return [
        Chunk(_filled(groups[i : i + tall], tall), len(groups[i : i + tall]),
              _filled(indices[j : j + wide], wide), len(indices[j : j + wide]))
        for groups in by_steps.values()
        for i in range(0, len(groups), tall)
        for indices in [list(range(strengths))]
        for j in range(0, strengths, wide)
    ]  # fmt: skip


def free_memory() -> int:
    """Return the bytes of memory that are free now."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _least_waste(sizes: list[int], most: int) -> int:
    """Return the number of groups a chunk, near ``most``, that repeats the fewest groups."""

    def repeats(tall: int) -> int:
        return sum(-size % tall for size in sizes)

    return min(range(max(1, most // 2), most + 1), key=lambda tall: (repeats(tall), -tall))


def _filled(items: list, size: int) -> tuple:  # type: ignore[type-arg]
    return tuple(items + items[-1:] * (size - len(items)))
