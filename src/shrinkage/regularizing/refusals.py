"""What a penalty cannot be put on: each refusal says why and what to do instead."""

from __future__ import annotations

from typing import Any, cast

from torch.optim import LBFGS, Optimizer

from shrinkage.constraints import Constraint
from shrinkage.coupling import check_coupling
from shrinkage.errors import ShrinkageError, some_of
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty
from shrinkage.regularizing.rules import Rule, Selected, for_tensor
from shrinkage.tensors.sharded import split_alike, whole

OWN = ("A2Grad", "AccSGD", "DAdaptAdaGrad", "DAdaptSGD", "FTRL", "MADGRAD", "SRMM")
NOT_LAST = {
    **dict.fromkeys(OWN, "it computes the weights from others, which it keeps to itself"),
    "FOCUS": "it pulls the weights back to where they were",
    "Lookahead": "it mixes in slow weights afterwards",
    "Nero": "it brings every unit back to its norm",
    "PruneOptimizer": "it writes weights of its own afterwards",
    "Ranger": "it mixes in slow weights afterwards",
    "ScheduleFree": "it trains on averages of other weights, which it keeps to itself",
    "TRAC": "it moves the weights again afterwards",
}
"""Optimizers, by a part of their names, that undo what acts on the weights after their step."""

ESTIMATES = ("DAdapt", "Prodigy")
"""Parts of the names of optimizers whose rate is ``lr`` times an estimate of their own."""


def unwrap(optimizer: Any) -> Optimizer:
    """Return the optimizer whose step updates the weights, inside any wrappers.

    Wrappers keep it in ``optimizer``, sharpness-aware ones in ``base_optimizer``. Their own hooks,
    if they have any, see perturbed weights or gradients that are not yet projected.
    """
    inner = getattr(optimizer, "base_optimizer", None) or getattr(optimizer, "optimizer", None)
    averages = "ScheduleFree" in type(optimizer).__name__  # inside, the weights are others
    if inner and not averages and (_hookable(inner) or not _hookable(optimizer)):
        return unwrap(inner)
    if not _hookable(optimizer):
        kind = type(optimizer).__name__
        several = isinstance(optimizer, list | tuple)
        raise ShrinkageError(
            f"{kind} has no step hooks; pass a torch optimizer: regularize(model, optimizer, "
            "penalty)."
            + (" Call it once for each optimizer, with select= for its tensors." if several else "")
        )
    return cast("Optimizer", optimizer)


def _hookable(optimizer: object) -> bool:
    return isinstance(getattr(optimizer, "_optimizer_step_pre_hooks", None), dict)


def check_optimizer(optimizer: Optimizer, how: str) -> None:
    """Refuse couplings that an optimizer cannot follow."""
    name = type(optimizer).__name__
    reasons = [why for kind, why in NOT_LAST.items() if kind in name]
    if isinstance(optimizer, LBFGS):
        reasons.append("its line search needs the penalty in the loss it minimizes")
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
    why = f"{name} has none" if any("lr" not in group for group in groups) else ""
    if any(kind in name for kind in ESTIMATES):
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
    """Say which tensors cannot carry what acts on them already and ours too, and why."""
    for key in ours.keys() & theirs.keys():
        rule, other = ours[key].rule, theirs[key].rule
        shared = [
            row.name
            for same, (row, one) in ours.items()
            if one is rule and same in theirs and theirs[same].rule is other
        ]
        taken = f"{some_of(shared)} already carr{'ies' if len(shared) == 1 else 'y'} {other}"
        if not same_optimizer:
            return f"{taken}, on another optimizer; call remove() on that handle first."
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
