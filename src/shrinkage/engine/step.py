"""One training step of one member: loss gradient, penalty, update. No batch axis anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from shrinkage import coupling
from shrinkage.engine.problem import Problem
from shrinkage.engine.update import State, Update

Tensors: TypeAlias = dict[str, Tensor]


class Member(NamedTuple):
    """Everything that a step changes.

    Attributes:
        params: Trained tensors by name.
        fixed: Buffers and frozen parameters by name.
        slots: The optimizer's state of each trained tensor.
        count: 0-d float64, steps taken.
        diverged: 0-d int64, the step whose loss was not finite, or -1.
        total: 0-d, sum of the row losses seen since it was last set to zero.
    """

    params: Tensors
    fixed: Tensors
    slots: dict[str, State]
    count: Tensor
    diverged: Tensor
    total: Tensor


Step: TypeAlias = Callable[[Member, Tensor, Tensor, Tensor, Tensor, Tensor], Member]


def trained_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that training changes."""
    return tuple(name for name, p in model.named_parameters() if p.requires_grad)


def make_step(model: nn.Module, problem: Problem, update: Update) -> Step:
    """Return the step ``(member, strength, lr, x, y, weight) -> member``.

    A member whose loss was not finite stays as it is from the next step on. So does one whose
    batch weighs nothing: its epoch has fewer steps than its neighbors'.

    Args:
        model: The module in training mode; only its code is used.
        problem: Loss, penalty, selection and coupling.
        update: The optimizer.
    """

    def objective_gradient(
        params: Tensors, fixed: Tensors, x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensors, tuple[Tensor, Tensors]]:
        def mean_loss(params: Tensors) -> tuple[Tensor, Tensors]:
            after = {name: tensor.clone() for name, tensor in fixed.items()}
            output = functional_call(model, {**params, **after}, (x,))
            return (problem.loss(output, y) * weight).sum(), after

        gradient, (loss, after) = grad_and_value(mean_loss, has_aux=True)(params)
        return gradient, (loss, after)

    def step(
        member: Member, strength: Tensor, lr: Tensor, x: Tensor, y: Tensor, weight: Tensor
    ) -> Member:
        gradient, (loss, fixed) = objective_gradient(member.params, member.fixed, x, y, weight)
        rows = (weight > 0).sum()
        moving = (member.diverged < 0) & (rows > 0)
        count = member.count + (rows > 0)
        penalty = problem.penalty.at(strength)
        params, slots = {}, {}
        for name, w in member.params.items():
            g, start = gradient[name], w
            chosen = name in problem.selected
            if chosen and problem.how == "coupled":
                g = coupling.coupled(penalty, w, g)
            if chosen and problem.how == "decoupled":
                start = coupling.decoupled(penalty, w, lr)
            moved, state = update.apply(start, g, member.slots[name], count, lr)
            if chosen and problem.how == "proximal":
                moved = coupling.proximal(penalty, moved, lr)
            params[name] = torch.where(moving, moved, w)
            slots[name] = tuple(
                torch.where(moving, new, old)
                for new, old in zip(state, member.slots[name], strict=True)
            )
        return Member(
            params,
            {name: torch.where(moving, fixed[name], old) for name, old in member.fixed.items()},
            slots,
            count,
            torch.where(moving & ~loss.isfinite(), count.long(), member.diverged),
            member.total + torch.where(moving, loss * rows, 0),
        )

    return step
