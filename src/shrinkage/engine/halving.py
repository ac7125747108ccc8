"""Successive halving: all points train a part of the epochs, the best of them go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.outcome import Outcome, empty_outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.refine import cross_validated
from shrinkage.errors import ShrinkageError
from shrinkage.result.points import alike


def halved(problem: Problem, plan: Plan, factor: int, train: Callable[[Plan], Outcome]) -> Outcome:
    """Train all points for a third of the epochs, the best for two thirds, the best again for all.

    A point goes on or stops in all folds and seeds at once, by its mean held-out loss. A point that
    goes on has the same numbers as without halving: learning rates are those of the whole run.

    Args:
        problem: What to train.
        plan: The grid.
        factor: One of this many points goes on.
        train: Trains a plan, going on from where an earlier one with fewer epochs left its members.
    """
    whole = empty_outcome(problem, plan)
    points, left = torch.arange(len(plan.strengths)), len(plan.strengths)
    for epochs in rungs(plan.epochs, factor):
        part = replace(
            plan,
            strengths=plan.strengths[points],
            knobs={name: values[points] for name, values in plan.knobs.items()},
            epochs=epochs,
        )
        outcome = train(part)
        _write(whole, outcome, points, epochs)
        if epochs < plan.epochs:
            left = math.ceil(left / factor)
            stays = survivors(part, cross_validated(part, outcome), left)
            whole.dropped[points[~stays]] = epochs
            points = points[stays]
    _write_end(whole, outcome, points)
    return whole


def rungs(epochs: int, factor: int) -> list[int]:
    """Return the epochs after which points are dropped, and the last one.

    Thirds rather than powers of the factor: what a penalty does shows late.

    Raises:
        ShrinkageError: There are fewer than three epochs, or the factor is below 2.

    Example:
        >>> rungs(40, 2)
        [13, 26, 40]
    """
    if factor < 2 or epochs < 3:
        raise ShrinkageError(
            f"halving={factor} with epochs={epochs}: give 2 or more, and at least 3 epochs."
        )
    return [epochs // 3, 2 * epochs // 3, epochs]


def survivors(plan: Plan, losses: Tensor, count: int) -> Tensor:
    """Return which points go on: the best, and strength 0 with the same knobs as one of them.

    Shape:
        losses, returned: (K,).
    """
    stays = torch.zeros(len(losses), dtype=torch.bool)
    stays[losses.argsort(stable=True)[:count]] = True
    for point in stays.nonzero().flatten().tolist():
        stays |= alike(plan.knobs, point, len(losses)) & (plan.strengths == 0)
    return stays


def _write(whole: Outcome, part: Outcome, points: Tensor, epochs: int) -> None:
    whole.train_loss[points, :, :epochs] = part.train_loss
    whole.held_loss[points, :, :epochs] = part.held_loss
    whole.diverged[points] = part.diverged


def _write_end(whole: Outcome, part: Outcome, points: Tensor) -> None:
    whole.fit_loss[points], whole.epochs_done[points] = part.fit_loss, part.epochs_done
    whole.norms[points], whole.sparsity[points] = part.norms, part.sparsity
    for group, outputs in part.outputs.items():
        whole.outputs[group][points] = outputs
    for group, weights in part.weights.items():
        for name, tensor in weights.items():
            whole.weights[group][name][points] = tensor
