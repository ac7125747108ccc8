"""One training step of one member: loss gradient, penalty, update. No batch axis anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from shrinkage import coupling
from shrinkage.engine.member.knobs import Point, loss_at, penalty_at, update_at
from shrinkage.engine.member.layers import (
    cut,
    dropout,
    mappable_attention,
    narrow_linear,
    normalization,
    replaced,
)
from shrinkage.engine.member.member import Member, Tensors
from shrinkage.engine.member.precision import forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import State, Update
from shrinkage.penalties import Penalty
from shrinkage.tensors.own_thread import Functions


class Batch(NamedTuple):
    """What one step sees, the same for all members of a group.

    Attributes:
        lr: 0-d learning rate.
        factors: Numbers of the optimizer that depend on the step alone.
        number: 0-d int64, 1 at the first step.
        x: (B, ...) rows.
        y: (B, ...) targets.
        weight: (B,) weight of each row in the mean; 0 for padding.
        uniform: (D,) what dropout reads instead of random numbers; D may be 0.
    """

    lr: Tensor
    factors: Tensor
    number: Tensor
    x: Tensor
    y: Tensor
    weight: Tensor
    uniform: Tensor


Step: TypeAlias = Callable[[Member, dict[str, Tensor], Batch], Member]


class Move(NamedTuple):
    """How the tensors of one member move in one step.

    Attributes:
        problem: Which tensors are penalized, and by which coupling.
        update: The optimizer, with the member's own settings.
        penalty: The penalty, with the member's own strength and shape.
        factors: The optimizer's numbers of this step.
        lr: Learning rate.
    """

    problem: Problem
    update: Update
    penalty: Penalty
    factors: Tensor
    lr: Tensor

    def of(self, name: str, w: Tensor, g: Tensor, state: State) -> tuple[Tensor, State]:
        """Return one tensor and its optimizer state after the step, by its data gradient ``g``."""
        if name not in self.problem.selected:
            return self.update.apply(w, g, state, self.factors, self.lr)
        penalty, how = self.penalty.for_tensor(name, w), self.problem.how
        if how == "coupled":
            g = coupling.coupled(penalty, w, g)
        moved, state = self.update.apply(w, g, state, self.factors, self.lr)
        if how == "decoupled":
            moved = moved - coupling.decoupled(penalty, w, self.lr)
        if how == "proximal":
            moved = coupling.proximal(penalty, moved, self.lr)
        return moved, state


def make_step(model: nn.Module, problem: Problem, update: Update) -> Step:
    """Return the step ``(member, point, batch) -> member``.

    A member whose loss was not finite stays as it is from the next step on.

    Args:
        model: The module in training mode; only its code is used.
        problem: Loss, penalty, selection and coupling.
        update: The optimizer.
    """

    def mean_loss(
        params: Tensors, fixed: Tensors, point: Point, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, Tensors]]:
        after = {name: tensor.clone() for name, tensor in fixed.items()}
        with mappable_attention(), replaced(_functions(problem, point, batch)):
            output = forward(model, batch.x, problem.autocast, {**params, **after})
        share = batch.weight / batch.weight.sum()
        reported = (problem.loss(output, batch.y) * share).sum()
        if "label_smoothing" not in point:
            return reported, (reported, after)
        return (loss_at(problem, point)(output, batch.y) * share).sum(), (reported, after)

    def step(member: Member, point: dict[str, Tensor], batch: Batch) -> Member:
        gradient, (_, (loss, fixed)) = grad_and_value(mean_loss, has_aux=True)(
            member.params, member.fixed, point, batch
        )
        moving = member.diverged < 0
        if "epochs" in point:  # those left
            moving = moving & (point["epochs"] > 0)
        move = Move(
            problem,
            update_at(update, point),
            penalty_at(problem, point),
            batch.factors,
            point.get("lr", batch.lr),
        )
        params, slots = {}, {}
        for name, w in member.params.items():
            own = member.slots[name]
            moved, state = move.of(name, w, gradient[name], own)
            params[name] = torch.where(moving, moved, w)
            slots[name] = tuple(
                torch.where(moving, new, old) for new, old in zip(state, own, strict=True)
            )
        return Member(
            params,
            {name: torch.where(moving, fixed[name], old) for name, old in member.fixed.items()},
            slots,
            torch.where(moving & ~loss.isfinite(), batch.number, member.diverged),
            member.total + loss * batch.weight.sum(),
        )

    return step


def _functions(problem: Problem, point: Point, batch: Batch) -> Functions:
    functions = dict(narrow_linear())
    if problem.draws:
        functions |= dropout(cut(batch.uniform, problem.draws), point.get("dropout"))
    if problem.normalizes:
        functions |= normalization(batch.weight > 0)
    return functions
