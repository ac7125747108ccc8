"""What a penalty cannot be put on: each refusal says why and what to do instead."""

from __future__ import annotations

from typing import Any, cast

from torch.optim import Optimizer

from shrinkage.constraints import Constraint
from shrinkage.coupling import check_coupling
from shrinkage.errors import ShrinkageError, some_of
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty
from shrinkage.regularizing.optimizers import ESTIMATES, NOT_LAST, hookable, inside
from shrinkage.regularizing.rules import Rule, Selected, for_tensor
from shrinkage.tensors.sharded import split_alike, whole


def unwrap(optimizer: Any) -> Optimizer:
    """Return the optimizer whose step updates the weights, inside any wrappers.

    The hooks of a wrapper, if it has any, see perturbed weights or gradients that are not yet
    projected.
    """
    found = inside(optimizer)
    if found is optimizer and not hookable(optimizer):
        several = isinstance(optimizer, list | tuple)
        raise ShrinkageError(
            f"{type(optimizer).__name__} has no step hooks; pass a torch optimizer: "
            "regularize(model, optimizer, penalty)."
            + (" Call it once for each optimizer, with select= for its tensors." if several else "")
        )
    return cast("Optimizer", found) if found is optimizer else unwrap(found)


def check_optimizer(optimizer: Optimizer, how: str) -> None:
    """Refuse couplings that an optimizer cannot follow."""
    name = type(optimizer).__name__
    kinds = [kind.__name__ for kind in type(optimizer).__mro__]
    reasons = [why for part, why in NOT_LAST.items() if any(part in kind for kind in kinds)]
    for why in reasons if how == "projected" else ():
        raise ShrinkageError(
            f"a constraint under {name}: {why.replace('penalty', 'constraint')}; use another "
            "optimizer, such as Adam, or torch.nn.utils.parametrize, which keeps the constraint "
            "inside the loss."
        )
    for why in reasons if how not in ("", "coupled") else ():
        raise ShrinkageError(f"how={how!r} under {name}: {why}; use how='coupled'.")
    if getattr(optimizer, "_overlap_with_ddp", False):
        raise ShrinkageError(
            f"{name} with overlap_with_ddp=True updates the weights during the backward pass, "
            "before a penalty could act; build it without."
        )
    groups = getattr(optimizer, "param_groups", ())  # a wrapper may leave them to the one inside
    why = f"{name} has none" if any(group.get("lr") is None for group in groups) else ""
    if any(part in kind for part in ESTIMATES for kind in kinds):
        why = f"{name} estimates its own"
    if why and how in ("decoupled", "proximal"):
        raise ShrinkageError(f"how={how!r} needs a learning rate, {why}; use how='coupled'.")


def check_tensor(row: Row, rule: Rule) -> None:
    """Refuse a tensor that the penalty or the constraint does not take."""
    acting = for_tensor(rule.penalty, row)
    try:
        if isinstance(acting, Penalty):
            check_coupling(acting, row.tensor, rule.how)
        elif isinstance(acting, Constraint):
            acting.project(whole(row.tensor.detach()))
    except ShrinkageError as error:
        raise ShrinkageError(f"{row.name}: {error}") from error


def check_gradient(row: Row) -> None:
    """Refuse a gradient that the penalty's cannot be added to: sparse, or split otherwise."""
    gradient = row.tensor.grad
    if gradient is not None and gradient.is_sparse:
        raise ShrinkageError(
            f"{row.name} has a sparse gradient; build its embedding with sparse=False, or leave it "
            "out with select=."
        )
    if gradient is not None and not split_alike(row.tensor, gradient):
        raise ShrinkageError(
            f"{row.name} and its gradient are split over the processes in different ways; before "
            "the step, w.grad = w.grad.redistribute(placements=w.placements)."
        )


def conflict(ours: dict[int, Selected], theirs: dict[int, Selected], same_optimizer: bool) -> str:
    """Say which tensors cannot carry what acts on them already and ours too, and why.

    What acts through another optimizer makes way, if nothing is left of it that ours does not take.
    """
    if not same_optimizer and theirs.keys() <= ours.keys():
        return ""
    for key in ours.keys() & theirs.keys():
        rule, other = ours[key].rule, theirs[key].rule
        shared = [
            row.name
            for same, (row, one) in ours.items()
            if one is rule and same in theirs and theirs[same].rule is other
        ]
        taken = f"{some_of(shared)} already carr{'ies' if len(shared) == 1 else 'y'} {other}"
        if not same_optimizer:
            left = some_of(row.name for key, (row, _) in theirs.items() if key not in ours)
            return (
                f"{taken}, on another optimizer, and so does {left}, which would be left without; "
                "call remove() on that handle first."
            )
        if type(other.penalty) is type(rule.penalty):
            return f"{taken}; call remove() on that handle first, or assign handle.penalty."
        if other.how == rule.how == "proximal":
            return (
                f"{taken}, and two proxes in turn are not the prox of the sum; use one penalty "
                "such as ElasticNet, or how='coupled' for one of the two."
            )
        if other.how == rule.how == "projected":
            return f"{taken}, and two projections in turn may end outside the first; use one."
    return ""
