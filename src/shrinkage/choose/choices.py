"""Rules: from a path to one strength.

Where the strengths are crossed with other knobs, the best point is sought among all points. The
standard-error rules and the verdict then stay on the path that has its knobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from shrinkage.choose.held_out import (
    Curve,
    check_path,
    curve,
    fold_rows,
    looks,
    loss_sign,
    mean_and_error,
    need_folds,
)
from shrinkage.errors import ShrinkageError, warn
from shrinkage.metrics import Metric
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import alike, knobs_at

SAME = 0.1
"""Means closer than this part of a standard error count as the same."""


@dataclass(frozen=True)
class Choice:
    """One strength of a path, and the rule that chose it.

    Args:
        rule: The name of the function.
        index: Its place in ``result.strengths``.
        strength: Its value.
        at_edge: Whether it is the smallest nonzero or the largest strength of the grid, so that a
            better one may lie outside. Strength 0 is no edge: it says that no penalty is best. Nor
            is the smallest where strength 0 is as good, to a tenth of a standard error, or the
            largest where every penalized weight is zero already.
        knobs: What else the point has, such as ``{"dropout": 0.2}``; ``result.slice(**knobs)`` is
            the path it lies on.
    """

    rule: str
    index: int
    strength: float
    at_edge: bool
    knobs: dict[str, float] = field(default_factory=dict)


def minimum(result: PathResult, metric: Metric = "loss") -> Choice:
    """Return the largest strength that attains the best mean (the smallest loss).

    Args:
        result: The path.
        metric: ``"loss"``, or a metric of which more is better, as in `PathResult.metric`.

    Raises:
        ShrinkageError: At every strength some member diverged.

    Warns:
        ShrinkageWarning: The choice is at an edge of the grid; so do the other rules.
    """
    return _warned(choice_by("minimum", result, metric))


def one_standard_error(result: PathResult, metric: Metric = "loss") -> Choice:
    """Return the largest strength within one standard error of the best mean.

    The standard error is that of the best strength, and the bound is included, as in glmnet's
    ``lambda.1se``. Arguments and errors as in `minimum`; there must be two folds.
    """
    need_folds(result, "the one-standard-error rule")
    return _warned(choice_by("one_standard_error", result, metric))


def paired_one_standard_error(result: PathResult, metric: Metric = "loss") -> Choice:
    """Return the largest strength whose paired difference to the best is within its own error.

    The difference is taken inside each fold, where all strengths share rows, initial weights and
    batches. What they have in common cancels, so this rule stays closer to the minimum. Arguments
    and errors as in `minimum`; there must be two folds.
    """
    need_folds(result, "the paired one-standard-error rule")
    return _warned(choice_by("paired_one_standard_error", result, metric))


def best_path(result: PathResult, metric: Metric = "loss") -> PathResult:
    """Return the path of strengths through the best point of all; the first if none is known."""
    check_path(result)
    if not result.knobs:
        return result
    try:
        return result.slice(**choice_by("minimum", result, metric).knobs)
    except ShrinkageError:
        return result.slice(**knobs_at(result.knobs, 0))


def _at_minimum(losses: Tensor, rows: Tensor, looks: float, best: int) -> Tensor:
    mean, _ = mean_and_error(losses, rows, looks)
    return mean <= mean[best]


def _within_error(losses: Tensor, rows: Tensor, looks: float, best: int) -> Tensor:
    mean, error = mean_and_error(losses, rows, looks)
    return mean <= mean[best] + error[best].nan_to_num()


def _within_paired_error(losses: Tensor, rows: Tensor, looks: float, best: int) -> Tensor:
    mean, error = mean_and_error(losses - losses[best], rows, looks)
    return mean <= error.nan_to_num()


@dataclass(frozen=True)
class Rule:
    """One way to choose.

    Attributes:
        choose: The function for users.
        allows: Which points it allows, from losses (K, F), rows per fold, looks per row, best
            point.
        words: What figures and pages call it.
        short: The same where there is little room.
    """

    choose: Callable[..., Choice]
    allows: Callable[[Tensor, Tensor, float, int], Tensor]
    words: str
    short: str


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "minimum": Rule(minimum, _at_minimum, "minimum", "min"),
        "one_standard_error": Rule(one_standard_error, _within_error, "one standard error", "1 SE"),
        "paired_one_standard_error": Rule(
            paired_one_standard_error, _within_paired_error, "paired one standard error", "paired"
        ),
    }
)
SHOWN = ("minimum", "one_standard_error")
"""The rules whose choices screens, figures and pages show."""


def choices_of(result: PathResult, metric: Metric = "loss") -> dict[str, Choice]:
    """Return the choices that are shown, by rule; of a single fold the minimum alone.

    Raises:
        ShrinkageError: At every strength some member diverged.
    """
    rules = SHOWN if result.n_folds > 1 else SHOWN[:1]
    return {rule: choice_by(rule, result, metric) for rule in rules}


def index_kept(rule: str, losses: Tensor, rows: Tensor, looks: float, result: PathResult) -> int:
    """Return the point that a rule keeps: the largest strength that it allows.

    Of tied means the best is that of the largest strength, as in glmnet. One fold has no standard
    error, and every rule is the minimum there.

    Args:
        rule: A name in `RULES`.
        losses: Less is better; NaN never wins.
        rows: Rows of each fold.
        looks: How often a row is held out.
        result: Strengths and knobs of the points.

    Shape:
        losses: (K, F). rows: (F,).
    """
    mean, _ = mean_and_error(losses, rows)
    least = mean.nan_to_num(nan=math.inf).min()
    best = int(result.strengths.masked_fill(mean != least, -1).argmax())
    allowed = RULES[rule].allows(losses, rows, looks, best)
    if rule != "minimum":
        allowed &= alike(result.knobs, best, len(mean))
    return int(result.strengths.masked_fill(~allowed, -1).argmax())


def choice_by(rule: str, result: PathResult, metric: Metric = "loss") -> Choice:
    """Return the choice by the rule of this name, without a warning if it lies at an edge."""
    values = curve(result, metric)
    losses = loss_sign(metric) * values.per_fold
    if losses.isnan().any(1).all():
        raise ShrinkageError(
            f"no strength can be chosen: at every strength from 0 to {result.strengths.max():g} "
            "a member diverged. Lower the learning rate, or standardize the inputs, and run "
            "again."
        )
    index = index_kept(rule, losses, fold_rows(result), looks(result), result)
    path = alike(result.knobs, index, len(losses)).nonzero().flatten().tolist()
    at_edge, knobs = _at_edge(result, values, path, index), knobs_at(result.knobs, index)
    return Choice(rule, index, result.strengths[index].item(), at_edge, knobs)


def _at_edge(result: PathResult, values: Curve, path: list[int], index: int) -> bool:
    if index == path[0]:
        return False
    if index == path[-1]:
        return not bool((result.sparsity[index] == 1).all())
    gap = float((values.mean[path[0]] - values.mean[index]).abs())
    return index == path[1] and not gap <= SAME * float(values.standard_error[index])


def _warned(choice: Choice) -> Choice:
    """Return the choice, with a warning if it lies at an edge of the grid."""
    if choice.at_edge:
        warn(
            "edge of the grid",
            f"{choice.rule} keeps {choice.strength:.2g}, an end of the grid, "
            "and a better strength may lie beyond it; use refine=8 or other strengths=[...].",
        )
    return choice
