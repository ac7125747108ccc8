"""How a penalty enters an update: pure functions that every optimizer path calls."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from shrinkage.constraints import Constraint
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty

Coupling: TypeAlias = Literal["coupled", "decoupled", "proximal"]
COUPLINGS: tuple[Coupling, ...] = get_args(Coupling)


def coupled(
    penalty: Penalty, w: Tensor, gradient: Tensor, scale: float | Tensor | None = None
) -> Tensor:
    """Add the penalty's gradient to the loss's, as if the penalty stood in the loss.

    ``scale`` is the factor that ``gradient`` already contains: a loss scale, or -1 where the
    optimizer maximizes.
    """
    added = penalty.gradient(w)
    return gradient + (added if scale is None else scale * added)


def decoupled(penalty: Penalty, w: Tensor, lr: float | Tensor) -> Tensor:
    """Return what a gradient step on the penalty alone takes off ``w``.

    It is taken off after the optimizer's step, and measured before it, as AdamW does.
    """
    return lr * penalty.gradient(w)


def proximal(penalty: Penalty, w: Tensor, lr: float | Tensor) -> Tensor:
    """Apply the prox with step ``lr`` after the optimizer's step; gives exact zeros.

    The threshold is ``lr * strength`` for every weight, whatever the optimizer: the plain metric.
    An adaptive optimizer normalizes the loss's gradient but not this, so a strength means another
    thing there than under SGD. Under SGD with momentum m the loss moves the weights 1 / (1 - m)
    times as far, so the solution is that of strength (1 - m) times as large.
    """
    return penalty.prox(w, lr)


def projected(constraint: Constraint, w: Tensor) -> Tensor:
    """Move ``w`` into the constraint's set, after the optimizer's step and after a prox."""
    return constraint.project(w)


def resolve_coupling(how: str | None, penalty: Penalty) -> Coupling:
    """Return ``how``, or the default: coupled for smooth penalties, proximal for kinked ones.

    Raises:
        ShrinkageError: ``how`` is not a coupling.
    """
    if how is None:
        return "coupled" if penalty.smooth else "proximal"
    for coupling in COUPLINGS:
        if how == coupling:
            return coupling
    raise ShrinkageError(
        f"how={how!r} is not a coupling; choose from {', '.join(COUPLINGS)}. To put the penalty "
        "into the loss yourself, add penalty(model) to it."
    )


def check_coupling(penalty: Penalty, w: Tensor, how: str) -> None:
    """Refuse, before training begins, a tensor that ``penalty`` cannot be coupled to.

    Raises:
        ShrinkageError: The tensor has the wrong shape, or a sum of penalties has no exact prox.
    """
    like = torch.zeros(w.shape, dtype=w.dtype, device=w.device)
    penalty.value(like)
    if how == "proximal":
        penalty.prox(like, 1.0)
