"""Which members train together: as many as fit into a core's cache, and into memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from shrinkage.engine.member.member import MemberBytes
from shrinkage.engine.plan.memory import free_memory
from shrinkage.engine.plan.plan import Plan
from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import Group

CACHE_BYTES = 1_000_000
"""Bytes of parameters and optimizer state that one core trains fast."""

FEWEST_MEMBERS = 4


@dataclass(frozen=True)
class Chunk:
    """Members that are one stacked run: one (fold, seed) and some of its strengths.

    Attributes:
        group: The fold and seed.
        strengths: Indices of the strengths; the last one is repeated to fill the common shape.
        members: How many of them are not repeats.
    """

    group: Group
    strengths: tuple[int, ...]
    members: int

    @property
    def own_strengths(self) -> list[int]:
        """Return the indices without repeats."""
        return list(self.strengths[: self.members])


@dataclass(frozen=True)
class Limits:
    """What bounds a chunk.

    Attributes:
        workers: How many chunks train at once.
        members: Members a chunk, or None to choose.
        width: Members of an earlier run's chunks, kept where they fit, to reuse its compiled step.
        max_memory: Bytes for all that trains at once, or None for half of what is free.
    """

    workers: int
    members: int | None = None
    width: int | None = None
    max_memory: int | None = None


def make_chunks(plan: Plan, member: MemberBytes, limits: Limits) -> list[Chunk]:
    """Cut the plan into chunks of one shape, the longest first.

    Raises:
        ShrinkageError: Not even one member a worker fits.
    """
    workers, members, width = limits.workers, limits.members, limits.width
    allowed = free_memory() // 2 if limits.max_memory is None else limits.max_memory
    fitting = allowed // (member.training * workers)
    if fitting < 1:
        raise ShrinkageError(
            f"one member needs {member.training / 1e6:.0f} MB, {workers} train at once, and "
            f"{allowed / 1e6:.0f} MB are allowed; raise max_memory or use a smaller model."
        )
    favored = max(FEWEST_MEMBERS, CACHE_BYTES // member.state) if members is None else members
    strengths = list(range(len(plan.strengths)))
    most = max(1, min(favored, fitting, len(strengths)))
    wide = math.ceil(len(strengths) / math.ceil(len(strengths) / most))
    if members is None and width is not None and width <= fitting:
        wide = width
    blocks = [strengths[i : i + wide] for i in range(0, len(strengths), wide)]
    groups = sorted(plan.groups(), key=plan.steps, reverse=True)
    return [
        Chunk(group, tuple(block + block[-1:] * (wide - len(block))), len(block))
        for group in groups
        for block in blocks
    ]


def split_by_progress(
    chunks: list[Chunk], steps_done: Callable[[Group, int], int | None]
) -> list[Chunk]:
    """Split the chunks whose members have not all done the same number of steps.

    Args:
        chunks: All chunks of the plan.
        steps_done: The steps that a member has behind it, or None if it needs no more.
    """
    parts = []
    for chunk in chunks:
        done = {k: steps_done(chunk.group, k) for k in chunk.own_strengths}
        for steps in dict.fromkeys(s for s in done.values() if s is not None):
            own = [k for k in done if done[k] == steps]
            repeats = own[-1:] * (len(chunk.strengths) - len(own))
            parts.append(Chunk(chunk.group, (*own, *repeats), len(own)))
    return parts
