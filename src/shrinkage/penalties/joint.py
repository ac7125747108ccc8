"""The prox of a sum, where it is exact: completed squares, and thresholds of nested groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties.base import Penalty
from shrinkage.penalties.group_lasso import GroupLasso
from shrinkage.penalties.l1 import L1
from shrinkage.penalties.l2 import L2
from shrinkage.tensors.norms import group_axes

Number: TypeAlias = float | Tensor
Part: TypeAlias = tuple[Number, Penalty]

HALVINGS = 60


def joint_prox(parts: Sequence[Part], w: Tensor, step: Number) -> Tensor:
    r"""Return the prox of the sum of ``parts``.

    L2 goes into the square of the distance to ``w``, which leaves the prox of the rest:

    .. math::
        \operatorname{prox}_{t (f + c \lVert \cdot - r \rVert^2)}(w)
        = \operatorname{prox}_{t f / (1 + 2 t c)} \Bigl( \frac{w + 2 t c \, r}{1 + 2 t c} \Bigr)

    Thresholds of nested groups are taken one after the other, from single entries (L1) to the
    largest groups.

    Raises:
        ShrinkageError: The rest has no exact prox.

    References:
        Jenatton, Mairal, Obozinski & Bach (2011), Proximal Methods for Hierarchical Sparse
        Coding, JMLR 12, 2297-2334.
    """
    total: Number = 1.0
    pulled = w
    for factor, penalty in parts:
        if isinstance(penalty, L2):
            pull = 2 * step * factor * penalty.strength
            total = total + pull
            if penalty.toward is not None:
                pulled = pulled + pull * penalty.center(w)
    moved = pulled / total
    for factor, penalty in _in_order(parts, w):
        moved = penalty.prox(moved, step / total * factor)
    return moved


def joint_strength_max(parts: Sequence[Part], gradient: Tensor) -> Tensor:
    """Return the smallest common factor of ``parts`` at which zero is a minimizer, by bisection.

    L2 is flat at zero and changes nothing.

    Raises:
        ShrinkageError: The references differ, or a penalty is not linear in its strength.
    """
    rest = _in_order(parts, gradient)
    if len({_reference(penalty) for _, penalty in parts}) > 1:
        raise ShrinkageError(
            f"{shown(parts)}: no strength_max, because its terms pull to different references; "
            "give the strengths yourself, strengths=[...]."
        )
    if not all(penalty.linear for _, penalty in rest):
        raise ShrinkageError(
            f"{shown(parts)}: no strength_max, because MCP and SCAD are not linear in their "
            "strength; give the strengths yourself, strengths=[...]."
        )
    if not rest:
        return torch.where(gradient.any(), torch.inf, 0.0)
    high = torch.stack([_alone(part, gradient) for part in rest]).min()
    if len(rest) == 1:
        return high
    low, top = torch.zeros_like(high), high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        left = gradient
        for factor, penalty in rest:
            left = penalty.around_zero().prox(left, middle * factor)
        zero = ~left.any()
        low, high = torch.where(zero, low, middle), torch.where(zero, middle, high)
    return torch.where(top.isfinite(), high, top)


def shown(parts: Sequence[Part]) -> str:
    """Return the sum as text."""
    return " + ".join(repr(penalty) for _, penalty in parts)


def _in_order(parts: Sequence[Part], w: Tensor) -> list[Part]:
    """Return ``parts`` without L2, in an order in which one prox after the other is exact."""
    rest = _merged([part for part in parts if not isinstance(part[1], L2)])
    if len(rest) < 2:
        return rest
    grouped = all(isinstance(penalty, L1 | GroupLasso) for _, penalty in rest)
    if grouped and len({_reference(penalty) for _, penalty in rest}) == 1:
        rest.sort(key=lambda part: -len(_axes(part[1], w)))
        axes = [_axes(penalty, w) for _, penalty in rest]
        if all(fine >= coarse for fine, coarse in pairwise(axes)):
            return rest
    raise ShrinkageError(
        f"{shown(parts)} has no exact prox. The prox is exact for L2 beside one other penalty, "
        "for penalties of one kind, and for L1 and GroupLasso of nested groups around one "
        "reference. Use how='coupled', or add it to the loss."
    )


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Add the strengths of parts that differ in nothing else."""
    merged: dict[tuple[object, ...], Part] = {}
    for factor, penalty in parts:
        if penalty.linear:
            shape = [getattr(penalty, f.name) for f in fields(penalty)[2:]]
            kind = (type(penalty), _reference(penalty), *shape)
            _, before = merged.get(kind, (1.0, penalty.at(0.0)))
            merged[kind] = 1.0, penalty.at(before.strength + factor * penalty.strength)
        else:
            merged[(id(penalty),)] = factor, penalty
    return list(merged.values())


def _axes(penalty: Penalty, w: Tensor) -> set[int]:
    """Return the axes that number the groups: all of them for L1."""
    if isinstance(penalty, GroupLasso):
        return set(group_axes(w, penalty.dim, type(penalty).__name__))
    return set(range(w.dim()))


def _reference(penalty: Penalty) -> object:
    """Return a key of the reference, equal for the same tensors."""
    if not isinstance(penalty.toward, Mapping):
        return None
    return tuple((name, id(w)) for name, w in penalty.toward.items())


def _alone(part: Part, gradient: Tensor) -> Tensor:
    """Return the factor at which zero is a minimizer if there is only this part."""
    factor, penalty = part
    top = penalty.strength_max(gradient)
    return torch.where(top > 0, top / (factor * penalty.strength), 0.0)
