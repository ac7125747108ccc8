"""The points of a path: strengths, crossed with the values of other knobs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def alike(knobs: Mapping[str, Tensor], index: int, points: int) -> Tensor:
    """Return which points have the same knobs as one of them: the path it lies on.

    Args:
        knobs: Name and values, each (K,).
        index: The point.
        points: How many there are, K.

    Shape:
        (K,) bool.
    """
    same = torch.ones(points, dtype=torch.bool)
    for values in knobs.values():
        same &= values == values[index]
    return same


def matching(knobs: Mapping[str, Tensor], wanted: Mapping[str, float], points: int) -> Tensor:
    """Return which points have the wanted knobs.

    Args:
        knobs: Name and values, each (K,).
        wanted: Name and value of some of them.
        points: How many there are, K.

    Shape:
        (K,) bool.

    Raises:
        ShrinkageError: A knob or a value that no point has; the message lists those there are.
    """
    found = torch.ones(points, dtype=torch.bool)
    for name, value in wanted.items():
        if name not in knobs:
            there = ", ".join(knobs) or "none: it has strengths only"
            raise ShrinkageError(f"{name!r} is no knob of this path; its knobs: {there}.")
        hit = torch.isclose(
            knobs[name], torch.tensor(value, dtype=torch.float64), rtol=1e-9, atol=0
        )
        if not hit.any():
            values = ", ".join(f"{v:g}" for v in sorted(set(knobs[name].tolist())))
            raise ShrinkageError(f"no point has {name}={value!r}; its values: {values}.")
        found &= hit
    if not found.any():
        said = ", ".join(f"{name}={value:g}" for name, value in wanted.items())
        raise ShrinkageError(f"no point has {said} together; each occurs, but with other values.")
    return found


def combinations(knobs: Mapping[str, Tensor], points: int) -> list[Tensor]:
    """Return the points of every combination of knobs: indices, in the order they first occur."""
    left, found = torch.ones(points, dtype=torch.bool), []
    while left.any():
        own = alike(knobs, int(left.nonzero()[0]), points)
        found.append(own.nonzero().flatten())
        left &= ~own
    return found
