"""Knobs: what may differ between members besides the strength, and what each of them changes.

A point is a strength with its knobs, by name: tensors inside the mapped step, where a new value
never compiles again, and plain numbers for a member alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor

from shrinkage.engine.member.layers import drawn, dropout, replaced
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import MakeOptimizer, Update, unmoving, with_decay
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty
from shrinkage.result.points import arguments, with_arguments
from shrinkage.rows.groups import Group
from shrinkage.rows.loss import CrossEntropy, RowLoss

Point: TypeAlias = Mapping[str, float | Tensor]


def penalty_at(problem: Problem, point: Point) -> Penalty:
    """Return the penalty with the point's strength and shape."""
    return with_arguments(problem.penalty.at(point["strength"]), point, checked=False)


def update_at(update: Update, point: Point) -> Update:
    """Return the optimizer with the point's decay."""
    return with_decay(update, point["weight_decay"]) if "weight_decay" in point else update


def loss_at(problem: Problem, point: Point) -> RowLoss:
    """Return the loss to train on, with the point's label smoothing."""
    if "label_smoothing" not in point:
        return problem.loss
    assert isinstance(problem.loss, CrossEntropy)
    return replace(problem.loss, smoothing=point["label_smoothing"])


def rate_at(problem: Problem, lr: Tensor, epoch: int) -> Tensor:
    """Return the learning rates of one epoch: the schedule, scaled to start from ``lr``."""
    own: float = unmoving(problem.optimizer).defaults["lr"]
    return lr * (problem.lrs[epoch] / own)


def optimizer_at(problem: Problem, point: Point) -> MakeOptimizer:
    """Return the optimizer with the point's own settings."""
    own = {name: point[name] for name in ("lr", "weight_decay") if name in point}
    return functools.partial(problem.optimizer, **own) if own else problem.optimizer


def dropout_alone(
    problem: Problem, point: Point, group: Group, step: int
) -> AbstractContextManager[None]:
    """Make a member that trains alone drop what it would drop among the others."""
    functions = dropout(drawn(group, step), point.get("dropout"))
    return replaced(functions if problem.draws else {})


def check_lacking(problem: Problem, name: str) -> None:
    """Refuse a knob that this problem lacks, such as a dropout rate where nothing is dropped."""
    lacking = None if name in arguments(problem.penalty) else _lacking(problem, name)
    if lacking:
        raise ShrinkageError(f"grid: {name} is not a knob here: {lacking}.")


def _lacking(problem: Problem, name: str) -> str | None:
    if name == "epochs":
        return None
    if name == "dropout":
        return None if problem.draws else "the model calls no dropout; put nn.Dropout() into it"
    if name == "label_smoothing":
        if not isinstance(problem.loss, CrossEntropy):
            return f"the loss is {problem.loss_name}, not 'cross_entropy' or nn.CrossEntropyLoss"
        return "the loss has a label_smoothing of its own" if problem.loss.smoothing else None
    kind = problem.optimizer
    kind = kind.func if isinstance(kind, functools.partial) else kind
    if not isinstance(kind, type):
        return "the optimizer is a function; give its class, or a functools.partial of it"
    if name not in unmoving(problem.optimizer).defaults:
        return f"{kind.__name__} has no {name}"
    return None
